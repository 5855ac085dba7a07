/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_tokens.c: rows of t_cuda: embedding, convolution, and their gradients. */
#include "cuda_rows.h"

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

struct embedding {
    bool accumulate;
    int32_t pad;
};

/* ids of which some are frequent, many absent */
static int32_t *some_ids(int64_t T, int64_t vocabulary)
{
    int32_t *ids = calloc((size_t)T + 1, sizeof *ids);
    uint64_t state = 7;
    for (int64_t i = 0; i < T; i++)
        ids[i] = (int32_t)(next(&state) % 3 ? (int64_t)(next(&state) % (uint64_t)vocabulary) : vocabulary / 2);
    return ids;
}

static const int64_t embed[][4] = {{1, 1, 1, 0},         {100, 37, 33, 40}, {600, 5, 64, 0},
                                   {1000, 5000, 264, 0}, {0, 11, 8, 0},     {4096, 131072, 2688, 0}};

static nf_status call_embed(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_embed(q, CUDA_T(t, 0), CUDA_P(t, 1), CUDA_T(t, 2));
}

void cuda_test_embed(struct cuda_rig *r)
{
    CUDA_EACH(k, r, embed, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++) {
        const int64_t T = embed[k][0], V = embed[k][1], H = embed[k][2];
        int32_t *ids = some_ids(T, V);
        struct cuda_trial t = cuda_trial_new(r, call_embed, NULL, "embed %s [%lld of %lld, %lld]", nf_dtype_name(cuda_reals[d]),
                                             (long long)T, (long long)V, (long long)H);
        cuda_real(&t, "y", CUDA_OUT, 0, cuda_reals[d], T, H, embed[k][3], 0);
        cuda_flat(&t, "ids", CUDA_IN, 0, NF_I32, T, ids);
        cuda_real(&t, "w", CUDA_IN, 0, cuda_reals[d], V, H, 0, 1);
        cuda_try(&t);
        free(ids);
    }
}

static nf_status call_embed_bwd(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct embedding *o = t->opt;
    return nf_embed_bwd(q, (nf_grad){*CUDA_T(t, 0), o->accumulate}, CUDA_P(t, 1), CUDA_T(t, 2), o->pad);
}

void cuda_test_embed_bwd(struct cuda_rig *r)
{
    CUDA_EACH(k, r, embed, 1)
    for (int v = CUDA_FIRST(r); v < 8; v += r->large ? 4 : 1) {
        const int64_t T = embed[k][0], V = embed[k][1], H = embed[k][2];
        const struct embedding o = {v / 2 % 2, v / 4 ? (int32_t)(V / 2) : -1};
        const nf_dtype type = cuda_reals[v % 2], gtype = v / 2 == 1 ? NF_F32 : type;
        int32_t *ids = some_ids(T, V);
        struct cuda_trial t =
            cuda_trial_new(r, call_embed_bwd, &o, "embed_bwd %s, dw %s [%lld of %lld, %lld]%s pad %d", nf_dtype_name(type),
                           nf_dtype_name(gtype), (long long)T, (long long)V, (long long)H, o.accumulate ? " +=" : "", o.pad);
        cuda_real(&t, "dw", o.accumulate ? CUDA_INOUT : CUDA_OUT, cuda_sum(T), gtype, V, H, 0, 1);
        cuda_flat(&t, "ids", CUDA_IN, 0, NF_I32, T, ids);
        cuda_real(&t, "dy", CUDA_IN, 0, type, T, H, embed[k][3], 1);
        cuda_try(&t);
        free(ids);
    }
}

struct conv {
    int64_t rows, len;
    bool bias, segments, accumulate, frozen;
};

/* rows, len, channels, stride, taps */
static const int64_t shapes[][5] = {{1, 1, 1, 0, 4},    {2, 5, 7, 9, 4},     {3, 64, 36, 40, 4},
                                    {1, 130, 32, 0, 3}, {2, 333, 264, 0, 4}, {1, 65, 6144, 10304, 4},
                                    {2, 63, 12, 0, 2},  {0, 8, 16, 0, 4},    {2, 70, 24, 28, 5},
                                    {3, 90, 9, 11, 7},  {2, 140, 40, 0, 16}, {1, 4096, 6144, 10304, 4}};

/* Segments of 1 .. 40 tokens in each row, padding at its end */
static int32_t *some_segments(const struct conv *o)
{
    int32_t *s = calloc((size_t)(o->rows * o->len) + 1, sizeof *s);
    uint64_t state = 3;
    for (int64_t r = 0; r < o->rows; r++) {
        int32_t now = 1;
        for (int64_t t = 0; t < o->len; t++) {
            now += next(&state) % 20 == 0;
            s[r * o->len + t] = t < o->len - o->len / 10 ? now : 0;
        }
    }
    return s;
}

static nf_seq seq_of(struct cuda_trial *t, int arg, int side)
{
    const struct conv *o = t->opt;
    return (nf_seq){o->rows, o->len, o->segments ? CUDA_P(t, arg) : NULL, NULL};
}

static nf_status call_conv(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct conv *o = t->opt;
    const nf_seq seq = seq_of(t, 4, side);
    return nf_conv_silu(q, CUDA_T(t, 0), CUDA_T(t, 1), CUDA_T(t, 2), o->bias ? CUDA_T(t, 3) : NULL, &seq);
}

void cuda_test_conv_silu(struct cuda_rig *r)
{
    CUDA_EACH(k, r, shapes, 1)
    for (int v = CUDA_FIRST(r); v < 4; v += 1 + CUDA_FIRST(r)) {
        const nf_dtype type = cuda_reals[v % 2];
        const struct conv o = {.rows = shapes[k][0], .len = shapes[k][1], .bias = v / 2 == 0, .segments = v / 2 == 1};
        const int64_t T = o.rows * o.len, C = shapes[k][2], K = shapes[k][4];
        int32_t *segment = some_segments(&o);
        struct cuda_trial t = cuda_trial_new(r, call_conv, &o, "conv_silu %s [%lld x %lld, %lld] %lld taps%s%s",
                                             nf_dtype_name(type), (long long)o.rows, (long long)o.len, (long long)C,
                                             (long long)K, o.bias ? " bias" : "", o.segments ? " segments" : "");
        cuda_real(&t, "y", CUDA_OUT, cuda_sum(2 * K), type, T, C, 0, 0);
        cuda_real(&t, "x", CUDA_IN, 0, type, T, C, shapes[k][3], 2);
        cuda_real(&t, "w", CUDA_IN, 0, type, C, K, 0, 1);
        cuda_as_vector(&t, cuda_real(&t, "b", CUDA_IN, 0, type, 1, C, 0, 1));
        cuda_flat(&t, "segment", CUDA_IN, 0, NF_I32, T, segment);
        cuda_try(&t);
        free(segment);
    }
}

static nf_status call_conv_bwd(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct conv *o = t->opt;
    const nf_seq seq = seq_of(t, 7, side);
    const nf_grad none = {{0}, false}, dw = {*CUDA_T(t, 1), o->accumulate}, db = {*CUDA_T(t, 2), o->accumulate};
    return nf_conv_silu_bwd(q, CUDA_T(t, 0), o->frozen ? none : dw, o->bias && !o->frozen ? db : none, CUDA_T(t, 3),
                            CUDA_T(t, 4), CUDA_T(t, 5), o->bias ? CUDA_T(t, 6) : NULL, &seq);
}

void cuda_test_conv_silu_bwd(struct cuda_rig *r)
{
    CUDA_EACH(k, r, shapes, 1)
    for (int v = CUDA_FIRST(r); v < 6; v += 1 + CUDA_FIRST(r)) {
        const nf_dtype type = cuda_reals[v % 2], gtype = v / 2 == 1 ? type : NF_F32;
        const struct conv o = {.rows = shapes[k][0],
                               .len = shapes[k][1],
                               .bias = v / 2 != 1,
                               .segments = v / 2 != 0,
                               .accumulate = v / 2 == 1,
                               .frozen = v / 2 == 2};
        const int64_t T = o.rows * o.len, C = shapes[k][2], K = shapes[k][4];
        const double sums = cuda_sum(T);
        int32_t *segment = some_segments(&o);
        struct cuda_trial t =
            cuda_trial_new(r, call_conv_bwd, &o, "conv_silu_bwd %s [%lld x %lld, %lld] %lld taps%s%s%s%s", nf_dtype_name(type),
                           (long long)o.rows, (long long)o.len, (long long)C, (long long)K, o.bias ? " bias" : "",
                           o.segments ? " segments" : "", o.accumulate ? " +=" : "", o.frozen ? " frozen" : "");
        const enum cuda_use use = o.accumulate ? CUDA_INOUT : CUDA_OUT;
        cuda_real(&t, "dx", CUDA_OUT, cuda_sum(2 * K), type, T, C, shapes[k][3], 0);
        cuda_real(&t, "dw", use, sums, gtype, o.frozen ? 0 : C, K, 0, 1);
        cuda_as_vector(&t, cuda_real(&t, "db", use, sums, gtype, o.frozen || !o.bias ? 0 : 1, C, 0, 1));
        cuda_real(&t, "dy", CUDA_IN, 0, type, T, C, 0, 1);
        cuda_real(&t, "x", CUDA_IN, 0, type, T, C, shapes[k][3], 2);
        cuda_real(&t, "w", CUDA_IN, 0, type, C, K, 0, 1);
        cuda_as_vector(&t, cuda_real(&t, "b", CUDA_IN, 0, type, 1, C, 0, 1));
        cuda_flat(&t, "segment", CUDA_IN, 0, NF_I32, T, segment);
        cuda_try(&t);
        free(segment);
    }
}
