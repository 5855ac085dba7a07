/* SPDX-License-Identifier: Apache-2.0 */
/* mats.c: products by panels (mats.h). */
#include "mats.h"

#include "blas.h"
#include "lanes.h"
#include "vmath.h"

NF_CLONES static void scaled(float *dst, const float *src, float by, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i] * by;
}

/* Rows [0, m) and columns [0, k) of an operand, as they are stored, without gaps. */
static struct nf_mat pack(struct nf_mat a, int64_t m, int64_t k, float *buffer)
{
    const int64_t rows = a.t ? k : m, cols = a.t ? m : k;

    for (int64_t r = 0; r < rows; r++) {
        const void *src = (const char *)a.at + (size_t)(r * a.ld) * nf_dtype_size(a.type);
        float *dst = buffer + r * cols;
        if (a.type == NF_F32) {
            scaled(dst, src, a.scale[r], cols);
            continue;
        }
        nf_widen_row(dst, src, a.type, cols);
        if (a.scale)
            scaled(dst, dst, a.scale[r], cols);
    }
    return (struct nf_mat){buffer, NF_F32, cols, a.t, NULL};
}

void nf_cpu_gemm_mats(int64_t m, int64_t n, int64_t k, struct nf_mat a, struct nf_mat b, float beta, float *c, int64_t ldc,
                      float *buffer)
{
    const bool pack_a = nf_mat_packed(&a), pack_b = nf_mat_packed(&b);
    float *at_b = buffer + (pack_a ? m * NF_PANEL : 0);
    int64_t step = pack_a || pack_b ? NF_PANEL : k;

    if (k == 0) {
        nf_cpu_gemm(a.t, b.t, m, n, 0, 1.0f, a.at, a.ld, b.at, b.ld, beta, c, ldc);
        return;
    }
    for (int64_t p = 0; p < k; p += step) {
        int64_t terms = k - p < step ? k - p : step;
        struct nf_mat pa = nf_mat_from(a, 0, p), pb = nf_mat_from(b, p, 0);
        if (pack_a)
            pa = pack(pa, m, terms, buffer);
        if (pack_b)
            pb = pack(pb, terms, n, at_b);
        nf_cpu_gemm(pa.t, pb.t, m, n, terms, 1.0f, pa.at, pa.ld, pb.at, pb.ld, p ? 1.0f : beta, c, ldc);
    }
}
