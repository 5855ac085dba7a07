/* SPDX-License-Identifier: Apache-2.0 */
/* blas.c: the BLAS, one thread of it (blas.h), and what it says of itself. Products without rows, columns or terms are legal.
 */
#include "blas.h"

#include "config.h"
#include "tiles.h"
#include "vmath.h"

#include <cblas.h>
#include <stdio.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define ON_X86 1
#else
#define ON_X86 0
#endif

nf_status nf_cpu_blas_attach(int threads)
{
    if (threads > nf_cpu_threads_most())
        return nf_fail(NF_EDEVICE,
                       "%d threads a rank were asked for, OpenMP gives this process %d\n"
                       "  Hint: set backend.threads = 1, or see OMP_THREAD_LIMIT and configure's line about OpenMP",
                       threads, nf_cpu_threads_most());
#ifdef HAVE_OPENBLAS_SET_NUM_THREADS
    if (threads > 1 && openblas_get_parallel() == 0)
        return nf_fail(
            NF_EDEVICE,
            "%d threads a rank need an OpenBLAS that may be called from several threads; this one is the serial build\n"
            "  Hint: install libopenblas0-pthread or -openmp, or set backend.threads = 1",
            threads);
    openblas_set_num_threads(1);
    if (openblas_get_num_threads() != 1)
        return nf_fail(NF_EDEVICE, "OpenBLAS was told to use 1 thread a call and uses %d", openblas_get_num_threads());
#endif
    return NF_OK;
}

static const char *loops(void)
{
#if ON_X86 && NF_HAVE_CLONES
    if (__builtin_cpu_supports("x86-64-v4"))
        return "avx512";
    if (__builtin_cpu_supports("x86-64-v3"))
        return "avx2";
    return "sse2";
#elif defined(__AVX512F__)
    return "avx512";
#elif defined(__AVX2__)
    return "avx2";
#elif ON_X86
    return "sse2";
#else
    return "as compiled";
#endif
}

const char *nf_cpu_describe(const nf_device *device, char out[160])
{
    const char *core = "other than OpenBLAS";
    int threads = nf_device_threads(device);

#ifdef HAVE_OPENBLAS_GET_CORENAME
    core = openblas_get_corename();
    snprintf(out, 160, "OpenBLAS %s, loops %s, %d thread%s", core, loops(), threads, threads == 1 ? "" : "s");
#else
    snprintf(out, 160, "BLAS %s, loops %s, %d thread%s", core, loops(), threads, threads == 1 ? "" : "s");
#endif
    return out;
}

void nf_cpu_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                 int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) { /* leading dimensions of empty operands need not please the BLAS */
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                c[i * ldc + j] = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
        return;
    }
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, alpha, a,
                (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* Tiles of at most 512 x 512: from there on the BLAS runs within some percent of its full rate. */
struct shared {
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float *c;
    struct nf_cut rows, cols;
};

static void shared_tile(void *ctx, int64_t tile)
{
    const struct shared *s = ctx;
    int64_t i = tile % s->rows.count, j = tile / s->rows.count;
    int64_t i0 = nf_cut_at(&s->rows, i), j0 = nf_cut_at(&s->cols, j);

    nf_cpu_gemm(s->ta, s->tb, nf_cut_at(&s->rows, i + 1) - i0, nf_cut_at(&s->cols, j + 1) - j0, s->k, s->alpha,
                s->a + (s->ta ? i0 : i0 * s->lda), s->lda, s->b + (s->tb ? j0 * s->ldb : j0), s->ldb, s->beta,
                s->c + i0 * s->ldc + j0, s->ldc);
}

void nf_cpu_gemm_shared(nf_queue *q, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                        int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    struct shared s = {ta, tb, m, n, k, lda, ldb, ldc, alpha, beta, a, b, c, {0}, {0}};

    nf_cut_gemm(m, n, k, &s.rows, &s.cols);
    nf_cpu_tiles(q, s.rows.count * s.cols.count, shared_tile, &s);
}
