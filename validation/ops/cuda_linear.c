/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_linear.c: rows of t_cuda: linear layers, head and loss.
 *
 * Where something is added to a bf16 product (a bias, another tensor, a gradient that is there), or an activation follows, the
 * product is rounded first, which the CPU does not do: one rounding more, of the product, whose size is at most that of the
 * result and of what is added together. relu2 doubles a relative error. SwiGLU's two factors are rounded each; the slope of
 * log silu is 1 to 1.3 for positive gates, which make most of the results, 1.5 squared; about 3 in size for those of -4.
 */
#include "cuda_rows.h"

struct lin {
    nf_dtype x, w, y;
    struct nf_act_arg act;
    bool pre, bias, add, in_place, accumulate, again, fp32_math, frozen; /* frozen: wgrad of the bias alone */
};

static const struct lin variants[] = {
    {NF_F32, NF_F32, NF_F32, {NF_ACT_NONE, 0, 0}, false, false, false, false, false, false, false, false},
    {NF_BF16, NF_BF16, NF_BF16, {NF_ACT_NONE, 0, 0}, false, false, false, false, true, false, false, false},
    {NF_F32, NF_F32, NF_F32, {NF_ACT_RELU2, 0, 0}, true, false, false, false, true, true, false, false},
    {NF_BF16, NF_BF16, NF_BF16, {NF_ACT_RELU2, 0, 0}, true, true, false, false, false, true, false, false},
    {NF_BF16, NF_BF16, NF_BF16, {NF_ACT_RELU2, 0, 0}, false, false, true, true, false, true, false, false},
    {NF_F32, NF_F32, NF_F32, {NF_ACT_SWIGLU, 0, 0}, true, false, true, false, false, true, false, false},
    {NF_BF16, NF_BF16, NF_BF16, {NF_ACT_SWIGLU, 0, 0}, true, false, false, false, false, true, false, false},
    {NF_F32, NF_F32, NF_F32, {NF_ACT_SWIGLU_CLAMP, 1.702f, 1.5f}, false, true, false, false, false, true, false, false},
    {NF_BF16, NF_BF16, NF_BF16, {NF_ACT_SWIGLU_CLAMP, 1.702f, 1.5f}, true, true, true, false, false, false, false, true},
    {NF_F32, NF_F32, NF_F32, {NF_ACT_NONE, 0, 0}, false, true, true, true, true, false, false, false},
    {NF_BF16, NF_BF16, NF_BF16, {NF_ACT_NONE, 0, 0}, false, false, true, true, true, false, false, false},
    {NF_BF16, NF_BF16, NF_F32, {NF_ACT_NONE, 0, 0}, false, false, false, false, false, false, true, false}, /* router */
    {NF_BF16, NF_F32, NF_F32, {NF_ACT_NONE, 0, 0}, false, false, false, false, true, false, true, false},
    {NF_F32, NF_BF16, NF_BF16, {NF_ACT_NONE, 0, 0}, false, false, true, false, false, false, true, false},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* T, N, K; N even */
static const int64_t shape[][3] = {{1, 2, 1},         {3, 6, 5},  {37, 34, 29},        {128, 64, 32},      {513, 256, 264},
                                   {1000, 1856, 672}, {0, 16, 8}, {4096, 10304, 2688}, {4096, 2688, 4096}, {4096, 128, 2688}};

/* What repetitions take of them */
static bool usual(const struct lin *v)
{
    return v->x == NF_BF16 && v->w == NF_BF16 && (v->act.kind == NF_ACT_NONE || (v->act.kind == NF_ACT_RELU2 && v->pre));
}

static const char *name_of(const struct lin *v, char out[96])
{
    static const char *const acts[] = {"none", "relu2", "swiglu", "swiglu_clamp"};
    snprintf(out, 96, "%s x %s -> %s, %s%s%s%s%s%s", nf_dtype_name(v->x), nf_dtype_name(v->w), nf_dtype_name(v->y),
             acts[v->act.kind], v->pre ? " pre" : "", v->bias ? " bias" : "", v->add ? " add" : "",
             v->in_place ? " in place" : "", v->accumulate ? " +=" : "");
    return out;
}

static bool halved(const struct lin *v)
{
    return v->act.kind == NF_ACT_SWIGLU || v->act.kind == NF_ACT_SWIGLU_CLAMP;
}

/* How often y is rounded beyond the last time; beside: 1, the size of bias and addend */
static void forward_roundings(struct cuda_trial *t, int y, const struct lin *v)
{
    const bool beside = v->bias || v->add;
    if (v->y == NF_F32)
        return;
    switch (v->act.kind) {
    case NF_ACT_NONE: cuda_rounded(t, y, beside, beside, 1); break;
    case NF_ACT_RELU2: cuda_rounded(t, y, v->bias ? 4 : 2, v->bias ? 8 : 4, beside); break;
    default: cuda_rounded(t, y, 4, 2.5, beside);
    }
}

static nf_status call_linear(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct lin *v = t->opt;
    const struct nf_linear_arg arg = {.bias = v->bias ? CUDA_T(t, 4) : NULL,
                                      .act = v->act,
                                      .add = !v->add       ? NULL
                                             : v->in_place ? CUDA_T(t, 0)
                                                           : CUDA_T(t, 5),
                                      .fp32_math = v->fp32_math};
    return nf_linear(q, CUDA_T(t, 0), v->pre ? CUDA_T(t, 1) : NULL, CUDA_T(t, 2), CUDA_T(t, 3), &arg);
}

void cuda_test_linear(struct cuda_rig *r)
{
    char name[96];
    CUDA_EACH(k, r, shape, 3)
    for (int i = 0; i < VARIANTS; i++) {
        if (r->large && !usual(&variants[i]))
            continue;
        const struct lin *v = &variants[i];
        const int64_t T = shape[k][0], N = shape[k][1], K = shape[k][2], n = halved(v) ? N / 2 : N, pad = k % 2 ? 8 : 3;
        const double spread = 1 / sqrt((double)K / 3);
        struct cuda_trial t = cuda_trial_new(r, call_linear, v, "linear [%lld, %lld, %lld] %s", (long long)T, (long long)N,
                                             (long long)K, name_of(v, name));
        forward_roundings(&t, cuda_real(&t, "y", v->in_place ? CUDA_INOUT : CUDA_OUT, 2 * cuda_sum(K), v->y, T, n, n + pad, 1),
                          v);
        const int pre = cuda_real(&t, "pre", CUDA_OUT, cuda_sum(K), v->y, v->pre ? T : 0, N, 0, 0);
        if (v->y == NF_BF16)
            cuda_rounded(&t, pre, v->bias, v->bias, 1);
        cuda_real(&t, "x", CUDA_IN, 0, v->x, T, K, K + pad, 1);
        cuda_real(&t, "w", CUDA_IN, 0, v->w, N, K, 0, spread);
        cuda_as_vector(&t, cuda_real(&t, "bias", CUDA_IN, 0, v->w, 1, N, 0, 1));
        cuda_real(&t, "add", CUDA_IN, 0, v->y, T, n, 0, 1);
        cuda_try(&t);
    }
}

static nf_status call_dgrad(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct lin *v = t->opt;
    const struct nf_linear_arg arg = {.act = v->act,
                                      .add = !v->add       ? NULL
                                             : v->in_place ? CUDA_T(t, 0)
                                                           : CUDA_T(t, 5),
                                      .fp32_math = v->fp32_math};
    return nf_linear_dgrad(q, CUDA_T(t, 0), v->again ? CUDA_T(t, 1) : NULL, CUDA_T(t, 2), CUDA_T(t, 3),
                           v->act.kind != NF_ACT_NONE ? CUDA_T(t, 4) : NULL, &arg);
}

void cuda_test_linear_dgrad(struct cuda_rig *r)
{
    char name[96];
    CUDA_EACH(k, r, shape, 3)
    for (int i = 0; i < VARIANTS; i++) {
        if (r->large && !usual(&variants[i]))
            continue;
        const struct lin *v = &variants[i];
        const int64_t T = shape[k][0], N = shape[k][1], K = shape[k][2], in = halved(v) ? 2 * K : K, pad = k % 2 ? 8 : 3;
        const nf_dtype dx = v->x == v->w ? v->x : NF_BF16; /* the router's: fp32 gradient, bf16 weight and result */
        struct cuda_trial t = cuda_trial_new(r, call_dgrad, v, "linear_dgrad [%lld, %lld, %lld] %s", (long long)T, (long long)N,
                                             (long long)K, name_of(v, name));
        const bool once = dx == NF_F32 || (v->act.kind == NF_ACT_NONE && !v->add);
        const int to = cuda_real(&t, "dx", v->in_place ? CUDA_INOUT : CUDA_OUT, 2 * cuda_sum(N), dx, T, in, in + pad, 1);
        cuda_rounded(&t, to, !once, !once, v->add);
        cuda_real(&t, "again", CUDA_OUT, cuda_sum(1), dx, v->again ? T : 0, K, 0, 0);
        cuda_real(&t, "dy", CUDA_IN, 0, v->y, T, N, N + pad, 1);
        cuda_real(&t, "w", CUDA_IN, 0, v->w, N, K, 0, 1 / sqrt((double)N / 3));
        cuda_real(&t, "pre", CUDA_IN, 0, dx, v->act.kind != NF_ACT_NONE ? T : 0, in, 0, 2);
        cuda_real(&t, "add", CUDA_IN, 0, dx, T, in, 0, 1);
        cuda_try(&t);
    }
}

static nf_status call_wgrad(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct lin *v = t->opt;
    const nf_grad db = {v->bias ? *CUDA_T(t, 1) : (nf_tensor){0}, v->accumulate};
    const nf_grad dw = {v->frozen ? (nf_tensor){0} : *CUDA_T(t, 0), v->accumulate};
    return nf_linear_wgrad(q, dw, db, CUDA_T(t, 2), CUDA_T(t, 3));
}

void cuda_test_linear_wgrad(struct cuda_rig *r)
{
    char name[96];
    CUDA_EACH(k, r, shape, 3)
    for (int i = 0; i < VARIANTS; i++)
        for (int g = 0; g < 2; g++) {
            if (r->large && !usual(&variants[i]))
                continue;
            const struct lin *v = &variants[i];
            const int64_t T = shape[k][0], N = shape[k][1], K = shape[k][2], pad = k % 2 ? 8 : 3;
            const nf_dtype type = cuda_reals[g];
            const enum cuda_use use = v->accumulate ? CUDA_INOUT : CUDA_OUT;
            const bool twice = type == NF_BF16 && v->accumulate;
            struct cuda_trial t = cuda_trial_new(r, call_wgrad, v, "linear_wgrad [%lld, %lld, %lld] dw %s %s", (long long)T,
                                                 (long long)N, (long long)K, nf_dtype_name(type), name_of(v, name));
            cuda_rounded(&t, cuda_real(&t, "dw", use, cuda_sum(T), type, v->frozen ? 0 : N, K, 0, 1), twice, twice, 1);
            cuda_as_vector(&t, cuda_real(&t, "db", use, cuda_sum(T), type, v->bias ? 1 : 0, N, 0, 1));
            cuda_real(&t, "dy", CUDA_IN, 0, v->y, T, N, N + pad, 1);
            cuda_real(&t, "x", CUDA_IN, 0, v->x, T, K, K + pad, 1);
            cuda_try(&t);
        }
}

/* ---- head and loss ------------------------------------------------------------------------------------------------------ */

struct head {
    nf_dtype h, w, g;
    bool gradients, frozen, accumulate, token_loss;
    int scored; /* one in so many tokens is not; 0: none is scored */
};

static nf_status call_head(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct head *v = t->opt;
    const nf_grad dw = {v->gradients && !v->frozen ? *CUDA_T(t, 3) : (nf_tensor){0}, v->accumulate};
    return nf_head_loss(q, CUDA_P(t, 0), v->token_loss ? CUDA_P(t, 1) : NULL, v->gradients ? CUDA_T(t, 2) : NULL, dw,
                        CUDA_T(t, 4), CUDA_T(t, 5), CUDA_P(t, 6), CUDA_P(t, 7));
}

void cuda_test_head_loss(struct cuda_rig *r)
{
    static const int64_t size[][3] = {{1, 1, 1},        {5, 7, 3},  {33, 257, 64},       {130, 3001, 72},
                                      {600, 8192, 128}, {0, 19, 8}, {4096, 131072, 2688}};
    static const struct head v[] = {
        {NF_F32, NF_F32, NF_F32, true, false, false, true, 5},  {NF_F32, NF_F32, NF_F32, true, true, false, false, 3},
        {NF_F32, NF_F32, NF_F32, false, false, false, true, 4}, {NF_F32, NF_F32, NF_F32, true, false, true, true, 0},
        {NF_BF16, NF_BF16, NF_F32, true, false, true, true, 5}, {NF_BF16, NF_BF16, NF_BF16, true, false, false, true, 2},
        {NF_BF16, NF_F32, NF_F32, true, false, false, false, 5}};
    static const double before = 0.25;

    CUDA_EACH(k, r, size, 1)
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        const struct head *o = &v[i];
        if (r->large && o->g != NF_BF16)
            continue;
        const int64_t T = size[k][0], V = size[k][1], H = size[k][2];
        const float scale = 1.0f / (float)(T + 1);
        const bool fp32 = o->h == NF_F32 && o->w == NF_F32;
        /* the gradient of the logits is rounded to bf16 before the products */
        const double noise = cuda_sum(H) * 4 + cuda_sum(T > V ? T : V) + (fp32 ? 0 : cuda_operands(1));
        int32_t *target = calloc((size_t)T + 1, sizeof *target);
        for (int64_t t = 0; t < T; t++)
            target[t] = !o->scored || t % o->scored == o->scored - 1 ? -100 : (int32_t)(t * 2654435761 % V);
        struct cuda_trial t =
            cuda_trial_new(r, call_head, o, "head_loss %s x %s, dw %s [%lld, %lld, %lld]%s%s%s 1/%d", nf_dtype_name(o->h),
                           nf_dtype_name(o->w), nf_dtype_name(o->g), (long long)T, (long long)V, (long long)H,
                           o->gradients ? " gradients" : "", o->frozen ? " frozen" : "", o->accumulate ? " +=" : "", o->scored);
        cuda_flat(&t, "loss", CUDA_INOUT, 4 * cuda_sum(H), NF_F64, 1, &before);
        cuda_flat(&t, "token loss", CUDA_OUT, 4 * cuda_sum(H), NF_F32, o->token_loss ? T : 0, NULL);
        cuda_real(&t, "dh", CUDA_OUT, noise, o->h, o->gradients ? T : 0, H, H + 8, 0);
        cuda_real(&t, "dw", o->accumulate ? CUDA_INOUT : CUDA_OUT, noise, o->g, o->gradients && !o->frozen ? V : 0, H, 0, 1e-3);
        cuda_real(&t, "h", CUDA_IN, 0, o->h, T, H, H + 8, 1);
        cuda_real(&t, "w", CUDA_IN, 0, o->w, V, H, 0, 4 / sqrt((double)H));
        cuda_flat(&t, "target", CUDA_IN, 0, NF_I32, T, target);
        cuda_flat(&t, "scale", CUDA_IN, 0, NF_F32, 1, &scale);
        cuda_try(&t);
        free(target);
    }
}

static nf_status call_logits(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_head_logits(q, CUDA_T(t, 0), CUDA_T(t, 1), CUDA_T(t, 2));
}

void cuda_test_head_logits(struct cuda_rig *r)
{
    CUDA_EACH(k, r, shape, 3)
    for (int d = CUDA_FIRST(r); d < 2; d++) {
        const int64_t T = shape[k][0], N = shape[k][1], K = shape[k][2];
        struct cuda_trial t = cuda_trial_new(r, call_logits, NULL, "head_logits %s [%lld, %lld, %lld]",
                                             nf_dtype_name(cuda_reals[d]), (long long)T, (long long)N, (long long)K);
        cuda_real(&t, "logits", CUDA_OUT, cuda_sum(K), NF_F32, T, N, 0, 0);
        cuda_real(&t, "h", CUDA_IN, 0, cuda_reals[d], T, K, K + 5, 1);
        cuda_real(&t, "w", CUDA_IN, 0, cuda_reals[d], N, K, 0, 1);
        cuda_try(&t);
    }
}
