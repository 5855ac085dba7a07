/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_norms.c: rows of t_cuda: add_norm, gated_norm and their gradients. */
#include "cuda_rows.h"

struct norm {
    bool branch, in_place, accumulate, frozen;
    enum nf_norm_rounding rounding;
    int groups;
    bool again;
};

static const int64_t shape[][3] = {{1, 1, 0},         {5, 33, 37},    {3, 64, 96}, {130, 200, 0},
                                   {257, 2688, 2720}, {1025, 768, 0}, {0, 64, 0},  {4096, 2688, 0}};

static nf_status call_add_norm(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct norm *o = t->opt;
    return nf_add_norm(q,
                       !o->branch    ? NULL
                       : o->in_place ? CUDA_T(t, 3)
                                     : CUDA_T(t, 0),
                       CUDA_T(t, 1), CUDA_P(t, 2), CUDA_T(t, 3), o->branch ? CUDA_T(t, 4) : NULL, CUDA_T(t, 5), 1e-5,
                       o->rounding);
}

void cuda_test_add_norm(struct cuda_rig *r)
{
    CUDA_EACH(k, r, shape, 1)
    for (int v = CUDA_FIRST(r); v < 8; v += 1 + CUDA_FIRST(r)) {
        const nf_dtype type = cuda_reals[v % 2], wtype = v / 2 == 3 ? NF_F32 : type;
        const struct norm o = {.branch = v / 2 != 0, .in_place = v / 2 == 2, .rounding = v / 4 ? NF_ROUND_ONCE : NF_ROUND_XHAT};
        const int64_t T = shape[k][0], H = shape[k][1];
        struct cuda_trial t = cuda_trial_new(r, call_add_norm, &o, "add_norm %s, w %s [%lld, %lld]%s%s", nf_dtype_name(type),
                                             nf_dtype_name(wtype), (long long)T, (long long)H, o.branch ? " branch" : "",
                                             o.in_place ? " in place" : "");
        cuda_same_types(&t); /* the norm is of the stored sum, and the normalised row is rounded, by definition */
        cuda_real(&t, "stream", CUDA_OUT, 0, type, o.branch && !o.in_place ? T : 0, H, shape[k][2], 0);
        const int y = cuda_real(&t, "y", CUDA_OUT, cuda_sum(H), type, T, H, 0, 0);
        if (type == NF_BF16 && o.rounding == NF_ROUND_XHAT)
            cuda_rounded(&t, y, 2, 1, 0); /* the row's rounding may go the other way, by up to two units of the result */
        cuda_flat(&t, "rstd", CUDA_OUT, cuda_sum(H), NF_F32, T, NULL);
        cuda_real(&t, "prev", o.in_place ? CUDA_INOUT : CUDA_IN, 0, type, T, H, shape[k][2], 2);
        cuda_real(&t, "branch", CUDA_IN, 0, type, T, H, 0, 1);
        cuda_as_vector(&t, cuda_real(&t, "w", CUDA_IN, 0, wtype, 1, H, 0, 1.5));
        cuda_try(&t);
    }
}

static nf_status call_add_norm_bwd(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct norm *o = t->opt;
    const nf_grad dw = {o->frozen ? (nf_tensor){0} : *CUDA_T(t, 1), o->accumulate};
    return nf_add_norm_bwd(q, CUDA_T(t, 0), o->accumulate, dw, CUDA_T(t, 2), CUDA_T(t, 3), CUDA_P(t, 4), CUDA_T(t, 5));
}

void cuda_test_add_norm_bwd(struct cuda_rig *r)
{
    CUDA_EACH(k, r, shape, 1)
    for (int v = CUDA_FIRST(r); v < 8; v += 1 + CUDA_FIRST(r)) {
        const nf_dtype type = cuda_reals[v % 2], gtype = v / 2 == 1 ? NF_F32 : type, wtype = v / 2 == 2 ? NF_F32 : type;
        const struct norm o = {.accumulate = v / 2 % 2, .frozen = v / 2 == 3};
        const int64_t T = shape[k][0], H = shape[k][1];
        float *rstd = calloc((size_t)T + 1, sizeof *rstd);
        struct cuda_trial t = cuda_trial_new(r, call_add_norm_bwd, &o, "add_norm_bwd %s, dw %s [%lld, %lld]%s%s",
                                             nf_dtype_name(type), nf_dtype_name(gtype), (long long)T, (long long)H,
                                             o.accumulate ? " +=" : "", o.frozen ? " frozen" : "");
        for (int64_t i = 0; i < T; i++)
            rstd[i] = 0.7f + 0.001f * (float)(i % 100);
        cuda_real(&t, "dstream", o.accumulate ? CUDA_INOUT : CUDA_OUT, cuda_sum(H), type, T, H, shape[k][2], 1);
        cuda_as_vector(
            &t, cuda_real(&t, "dw", o.accumulate ? CUDA_INOUT : CUDA_OUT, cuda_sum(T), gtype, o.frozen ? 0 : 1, H, 0, 1));
        cuda_real(&t, "dy", CUDA_IN, 0, type, T, H, 0, 1);
        cuda_real(&t, "stream", CUDA_IN, 0, type, T, H, shape[k][2], 2);
        cuda_flat(&t, "rstd", CUDA_IN, 0, NF_F32, T, rstd);
        cuda_as_vector(&t, cuda_real(&t, "w", CUDA_IN, 0, wtype, 1, H, 0, 1.5));
        cuda_try(&t);
        free(rstd);
    }
}

static nf_status call_gated_norm(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct norm *o = t->opt;
    return nf_gated_norm(q, CUDA_T(t, 0), CUDA_P(t, 1), CUDA_T(t, 2), CUDA_T(t, 3), CUDA_T(t, 4), o->groups, 1e-5);
}

static const int64_t gated[][3] = {{1, 2, 2},     {7, 66, 2}, {33, 96, 3},    {67, 4096, 8},
                                   {300, 512, 1}, {0, 64, 2}, {4096, 4096, 8}};

void cuda_test_gated_norm(struct cuda_rig *r)
{
    CUDA_EACH(k, r, gated, 1)
    for (int v = CUDA_FIRST(r); v < 2; v++) {
        const nf_dtype type = cuda_reals[v];
        const struct norm o = {.groups = (int)gated[k][2]};
        const int64_t T = gated[k][0], I = gated[k][1];
        struct cuda_trial t = cuda_trial_new(r, call_gated_norm, &o, "gated_norm %s [%lld, %lld] %d groups",
                                             nf_dtype_name(type), (long long)T, (long long)I, o.groups);
        cuda_real(&t, "o", CUDA_OUT, cuda_sum(I / o.groups), type, T, I, 0, 0);
        cuda_flat(&t, "rstd", CUDA_OUT, cuda_sum(I / o.groups), NF_F32, T * o.groups, NULL);
        cuda_real(&t, "y", CUDA_IN, 0, type, T, I, 0, 2);
        cuda_real(&t, "z", CUDA_IN, 0, type, T, I, I + 8 * (I % 8 == 0) + 3 * (I % 8 != 0), 4);
        cuda_as_vector(&t, cuda_real(&t, "w", CUDA_IN, 0, v ? NF_BF16 : NF_F32, 1, I, 0, 1.5));
        cuda_try(&t);
    }
}

static nf_status call_gated_norm_bwd(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct norm *o = t->opt;
    const nf_grad dw = {o->frozen ? (nf_tensor){0} : *CUDA_T(t, 3), o->accumulate};
    return nf_gated_norm_bwd(q, CUDA_T(t, 0), CUDA_T(t, 1), o->again ? CUDA_T(t, 2) : NULL, dw, CUDA_T(t, 4), CUDA_T(t, 5),
                             CUDA_T(t, 6), CUDA_P(t, 7), CUDA_T(t, 8), o->groups);
}

void cuda_test_gated_norm_bwd(struct cuda_rig *r)
{
    CUDA_EACH(k, r, gated, 1)
    for (int v = CUDA_FIRST(r); v < 6; v += 1 + CUDA_FIRST(r)) {
        const nf_dtype type = cuda_reals[v % 2];
        const struct norm o = {.groups = (int)gated[k][2], .again = v / 2 != 1, .accumulate = v / 2 == 1, .frozen = v / 2 == 2};
        const int64_t T = gated[k][0], I = gated[k][1], wide = I + 8;
        float *rstd = calloc((size_t)(T * o.groups) + 1, sizeof *rstd);
        struct cuda_trial t = cuda_trial_new(r, call_gated_norm_bwd, &o, "gated_norm_bwd %s [%lld, %lld] %d groups%s%s%s",
                                             nf_dtype_name(type), (long long)T, (long long)I, o.groups, o.again ? " again" : "",
                                             o.accumulate ? " +=" : "", o.frozen ? " frozen" : "");
        for (int64_t i = 0; i < T * o.groups; i++)
            rstd[i] = 0.7f + 0.001f * (float)(i % 100);
        cuda_real(&t, "dy", CUDA_OUT, cuda_sum(I / o.groups), type, T, I, 0, 0);
        cuda_real(&t, "dz", CUDA_OUT, cuda_sum(I / o.groups), type, T, I, wide, 0);
        cuda_real(&t, "again", CUDA_OUT, cuda_sum(I / o.groups), type, o.again ? T : 0, I, 0, 0);
        cuda_as_vector(
            &t, cuda_real(&t, "dw", o.accumulate ? CUDA_INOUT : CUDA_OUT, cuda_sum(T), NF_F32, o.frozen ? 0 : 1, I, 0, 1));
        cuda_real(&t, "do", CUDA_IN, 0, type, T, I, 0, 1);
        cuda_real(&t, "y", CUDA_IN, 0, type, T, I, 0, 2);
        cuda_real(&t, "z", CUDA_IN, 0, type, T, I, wide, 4);
        cuda_flat(&t, "rstd", CUDA_IN, 0, NF_F32, T * o.groups, rstd);
        cuda_as_vector(&t, cuda_real(&t, "w", CUDA_IN, 0, type, 1, I, 0, 1.5));
        cuda_try(&t);
        free(rstd);
    }
}
