/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_flat.c: rows of t_cuda: cast, add, fill, mismatch, sumsq. */
#include "cuda_rows.h"

static nf_status call_cast(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_cast(q, CUDA_T(t, 0), CUDA_T(t, 1));
}

void cuda_test_cast(struct cuda_rig *r)
{
    static const nf_dtype types[] = {NF_F32, NF_BF16, NF_F16};
    static const int64_t shape[][3] = {{1, 1, 0},          {3, 37, 41}, {64, 128, 0},    {33, 256, 320},
                                       {1000, 2688, 2696}, {0, 5, 0},   {4096, 10304, 0}};

    CUDA_EACH(k, r, shape, 1)
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++) {
            const int64_t *s = shape[k];
            struct cuda_trial t = cuda_trial_new(r, call_cast, NULL, "cast %s to %s [%lld, %lld]", nf_dtype_name(types[from]),
                                                 nf_dtype_name(types[to]), (long long)s[0], (long long)s[1]);
            cuda_same_types(&t);
            cuda_real(&t, "y", CUDA_OUT, 0, types[to], s[0], s[1], s[2], 0);
            cuda_real(&t, "x", CUDA_IN, 0, types[from], s[0], s[1], 0, 3);
            cuda_try(&t);
        }
}

static nf_status call_add(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_add(q, CUDA_T(t, 0), t->opt ? CUDA_T(t, 0) : CUDA_T(t, 2), CUDA_T(t, 1));
}

void cuda_test_add(struct cuda_rig *r)
{
    static const int64_t shape[][3] = {{1, 1, 0}, {7, 33, 40}, {300, 2688, 0}, {0, 16, 0}, {4096, 10304, 0}};

    CUDA_EACH(k, r, shape, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++)
        for (int in_place = 0; in_place < 2; in_place++) {
            const int64_t *s = shape[k];
            struct cuda_trial t =
                cuda_trial_new(r, call_add, in_place ? r : NULL, "add %s [%lld, %lld]%s", nf_dtype_name(cuda_reals[d]),
                               (long long)s[0], (long long)s[1], in_place ? " in place" : "");
            cuda_real(&t, "y", in_place ? CUDA_INOUT : CUDA_OUT, 0, cuda_reals[d], s[0], s[1], s[2], 1);
            cuda_real(&t, "b", CUDA_IN, 0, cuda_reals[d], s[0], s[1], 0, 1);
            cuda_real(&t, "a", CUDA_IN, 0, cuda_reals[d], s[0], s[1], 0, 1);
            cuda_try(&t);
        }
}

static nf_status call_fill(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_fill(q, CUDA_T(t, 0), 0.3f);
}

void cuda_test_fill(struct cuda_rig *r)
{
    static const int64_t shape[][3] = {{5, 1, 0}, {5, 17, 18}, {5, 2024, 0}, {300, 2688, 2696}, {0, 7, 0}, {4096, 10304, 0}};

    for (int d = CUDA_FIRST(r); d < 2; d++)
        CUDA_EACH(k, r, shape, 1)
        {
            const int64_t *s = shape[k];
            struct cuda_trial t = cuda_trial_new(r, call_fill, NULL, "fill %s [%lld, %lld]", nf_dtype_name(cuda_reals[d]),
                                                 (long long)s[0], (long long)s[1]);
            cuda_real(&t, "y", CUDA_OUT, 0, cuda_reals[d], s[0], s[1], s[2], 0);
            cuda_try(&t);
        }
}

static nf_status call_mismatch(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_mismatch(q, CUDA_P(t, 0), CUDA_T(t, 1), CUDA_T(t, 2));
}

/* b is a but for every 97th element, the last among them */
void cuda_test_mismatch(struct cuda_rig *r)
{
    static const nf_dtype types[] = {NF_F32, NF_BF16, NF_F64, NF_I32, NF_U8};
    static const int64_t n[] = {0, 1, 7, 97, 4099, 1000003, 100000000};
    static const int64_t before = 11;

    CUDA_EACH(k, r, n, 1)
    for (size_t d = 0; d < sizeof types / sizeof *types; d++) {
        struct cuda_trial t =
            cuda_trial_new(r, call_mismatch, NULL, "mismatch %s [%lld]", nf_dtype_name(types[d]), (long long)n[k]);
        cuda_same_types(&t);
        cuda_flat(&t, "count", CUDA_INOUT, 0, NF_I64, 1, &before);
        unsigned char *a = t.arg[cuda_flat(&t, "a", CUDA_IN, 0, types[d], n[k], NULL)].init;
        unsigned char *b = t.arg[cuda_flat(&t, "b", CUDA_IN, 0, types[d], n[k], NULL)].init;
        const int64_t size = (int64_t)nf_dtype_size(types[d]);
        for (int64_t i = 0; i < n[k] * size; i++)
            a[i] = b[i] = (unsigned char)(i * 31 % 127);
        for (int64_t i = n[k] - 1; i >= 0; i -= 97)
            b[i * size + i % size] ^= (unsigned char)(1 << i % 7);
        cuda_try(&t);
    }
}

static nf_status call_sumsq(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_sumsq(q, CUDA_P(t, 0), CUDA_T(t, 1));
}

void cuda_test_sumsq(struct cuda_rig *r)
{
    static const int64_t n[] = {0, 1, 7, 4096, 4097, 1000003, 200000000};
    static const double before = 2.5;

    CUDA_EACH(k, r, n, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++) {
        struct cuda_trial t =
            cuda_trial_new(r, call_sumsq, NULL, "sumsq %s [%lld]", nf_dtype_name(cuda_reals[d]), (long long)n[k]);
        cuda_flat(&t, "sum", CUDA_INOUT, 1e-14, NF_F64, 1, &before);
        cuda_as_vector(&t, cuda_real(&t, "x", CUDA_IN, 0, cuda_reals[d], 1, n[k], 0, 1));
        cuda_try(&t);
    }
}
