/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_order.c: rows of t_cuda: the order of expert rows, and rows moved by it. */
#include "cuda_rows.h"

struct moving {
    int64_t row_cap, rows, expert_cap, base, width, stride;
    int k, experts, pad;
    bool side, add;
};

static const struct moving moves[] = {
    {1, 1, 8, 0, 1, 0, 1, 1, 1, true, false},
    {40, 37, 400, 0, 33, 40, 3, 5, 1, true, true},
    {300, 300, 4000, 1000, 64, 0, 6, 16, 128, true, true},
    {2048, 1999, 20000, 128, 264, 0, 8, 128, 64, false, true},
    {40000, 39990, 330000, 0, 3, 4, 8, 128, 16, true, true},
    {700, 0, 2000, 0, 16, 0, 2, 8, 128, true, false},
    {0, 0, 100, 0, 16, 0, 2, 8, 1, true, false},
    {4096, 4096, 40960, 0, 2688, 0, 6, 128, 128, true, true},
};

enum { IDS, SIDE, COUNT, SOURCE, SLOT, PLACE, WEIGHT, BEGIN, END, EXPERT, ORDER_ARGS };

static struct nf_order order_of(struct cuda_trial *t, int first, int side)
{
    const struct moving *o = t->opt;
    return (struct nf_order){.row_cap = o->row_cap,
                             .expert_cap = o->expert_cap,
                             .base = o->base,
                             .k = o->k,
                             .experts = o->experts,
                             .source = CUDA_P(t, first + SOURCE),
                             .slot = CUDA_P(t, first + SLOT),
                             .place = CUDA_P(t, first + PLACE),
                             .weight = CUDA_P(t, first + WEIGHT),
                             .begin = CUDA_P(t, first + BEGIN),
                             .end = CUDA_P(t, first + END),
                             .expert = CUDA_P(t, first + EXPERT)};
}

/* The arguments of an order, from number t->args on. Each expert of a row is there once, some places are empty. */
static void add_order(struct cuda_trial *t, const struct moving *o)
{
    const int64_t n = o->row_cap * o->k;
    int32_t *ids = calloc((size_t)n + 1, sizeof *ids), count = (int32_t)o->rows;
    for (int64_t i = 0; i < o->row_cap; i++)
        for (int s = 0; s < o->k; s++)
            ids[i * o->k + s] = (i * 5 + s * 3) % 7 < 2 ? -1 : (int32_t)((i * i % 11 + i + s) % o->experts);
    for (int64_t i = 0; i < n && o->k > o->experts; i++)
        ids[i] = -1;
    cuda_flat(t, "ids", CUDA_IN, 0, NF_I32, n, ids);
    cuda_as_vector(t, cuda_real(t, "side", CUDA_IN, 0, NF_F32, 1, n, 0, 1));
    cuda_flat(t, "count", CUDA_IN, 0, NF_I32, 1, &count);
    cuda_flat(t, "source", CUDA_OUT, 0, NF_I32, o->expert_cap, NULL);
    cuda_flat(t, "slot", CUDA_OUT, 0, NF_I32, o->expert_cap, NULL);
    cuda_flat(t, "place", CUDA_OUT, 0, NF_I32, n, NULL);
    cuda_flat(t, "weight", CUDA_OUT, 0, NF_F32, o->expert_cap, NULL);
    cuda_flat(t, "begin", CUDA_OUT, 0, NF_I32, o->experts, NULL);
    cuda_flat(t, "end", CUDA_OUT, 0, NF_I32, o->experts, NULL);
    cuda_flat(t, "expert", CUDA_OUT, 0, NF_I32, o->experts, NULL);
    free(ids);
}

static nf_status build(struct cuda_trial *t, nf_queue *q, int first, int side)
{
    const struct moving *o = t->opt;
    const struct nf_order order = order_of(t, first, side);
    return nf_order_build(q, &order, CUDA_P(t, first + IDS), o->side ? CUDA_P(t, first + SIDE) : NULL, CUDA_P(t, first + COUNT),
                          o->pad);
}

static struct cuda_trial trial(struct cuda_rig *r, cuda_call *call, const char *op, const char *type, const struct moving *o)
{
    return cuda_trial_new(r, call, o, "%s%s%s: %lld of %lld rows, %d of %d experts, pad %d, width %lld", op, *type ? " " : "",
                          type, (long long)o->rows, (long long)o->row_cap, o->k, o->experts, o->pad, (long long)o->width);
}

static nf_status call_order(struct cuda_trial *t, nf_queue *q, int side)
{
    return build(t, q, 0, side);
}

void cuda_test_order_build(struct cuda_rig *r)
{
    CUDA_EACH(k, r, moves, 1)
    {
        struct cuda_trial t = trial(r, call_order, "order_build", "", &moves[k]);
        add_order(&t, &moves[k]);
        cuda_try(&t);
    }
}

/* The order is built on each side, then used. */
static nf_status call_expand(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct nf_order order = order_of(t, 2, side);
    NF_TRY(build(t, q, 2, side));
    return nf_expand(q, CUDA_T(t, 0), CUDA_T(t, 1), &order);
}

void cuda_test_expand(struct cuda_rig *r)
{
    CUDA_EACH(k, r, moves, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++) {
        const struct moving *o = &moves[k];
        struct cuda_trial t = trial(r, call_expand, "expand", nf_dtype_name(cuda_reals[d]), o);
        cuda_real(&t, "rows", CUDA_OUT, 0, cuda_reals[d], o->expert_cap, o->width, o->stride, 0);
        cuda_real(&t, "received", CUDA_IN, 0, cuda_reals[d], o->row_cap, o->width, 0, 1);
        add_order(&t, o);
        cuda_try(&t);
    }
}

/* Sums of few bf16 values have few bits below the last one: half of those with one more bit are ties, h^2 / 2 in the mean
 * instead of h^2 / 3. */
static void few_terms(struct cuda_trial *t, int arg)
{
    cuda_rounded(t, arg, 0, 0.5, 0);
}

static nf_status call_collapse(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct moving *o = t->opt;
    const struct nf_order order = order_of(t, 4, side);
    NF_TRY(build(t, q, 4, side));
    return nf_collapse(q, CUDA_T(t, 0), o->side ? CUDA_P(t, 1) : NULL, CUDA_T(t, 2), o->side ? CUDA_P(t, 3) : NULL, &order,
                       CUDA_P(t, 4 + COUNT));
}

void cuda_test_collapse(struct cuda_rig *r)
{
    CUDA_EACH(k, r, moves, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++) {
        const struct moving *o = &moves[k];
        struct cuda_trial t = trial(r, call_collapse, "collapse", nf_dtype_name(cuda_reals[d]), o);
        few_terms(&t, cuda_real(&t, "partial", CUDA_OUT, cuda_sum(o->k), cuda_reals[d], o->row_cap, o->width, o->stride, 0));
        cuda_flat(&t, "side out", CUDA_OUT, 0, NF_F32, o->row_cap * o->k, NULL);
        cuda_real(&t, "rows", CUDA_IN, 0, cuda_reals[d], o->expert_cap, o->width, 0, 1);
        cuda_as_vector(&t, cuda_real(&t, "row side", CUDA_IN, 0, NF_F32, 1, o->expert_cap, 0, 1));
        add_order(&t, o);
        cuda_try(&t);
    }
}

static nf_status call_combine(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct moving *o = t->opt;
    return nf_combine(q, CUDA_T(t, 0), o->side ? CUDA_P(t, 1) : NULL, CUDA_T(t, 2), o->side ? CUDA_P(t, 3) : NULL, CUDA_P(t, 4),
                      o->experts, o->k, o->add ? CUDA_T(t, 5) : NULL);
}

void cuda_test_combine(struct cuda_rig *r)
{
    CUDA_EACH(k, r, moves, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++) {
        struct moving o = moves[k]; /* experts: slots, one a rank */
        o.experts = o.experts > 8 ? 8 : o.experts;
        const int64_t n = o.row_cap * o.experts;
        int32_t *where = calloc((size_t)n + 1, sizeof *where);
        for (int64_t i = 0; i < n; i++)
            where[i] = i * 7 % 3 ? (int32_t)(i * 2654435761 % o.expert_cap) : -1;
        struct cuda_trial t = trial(r, call_combine, "combine", nf_dtype_name(cuda_reals[d]), &o);
        few_terms(&t, cuda_real(&t, "y", CUDA_OUT, cuda_sum(o.experts), cuda_reals[d], o.row_cap, o.width, o.stride, 0));
        cuda_flat(&t, "weights", CUDA_OUT, cuda_sum(o.experts), NF_F32, o.row_cap * o.k, NULL);
        cuda_real(&t, "returned", CUDA_IN, 0, cuda_reals[d], o.expert_cap, o.width, 0, 1);
        cuda_real(&t, "side", CUDA_IN, 0, NF_F32, o.expert_cap, o.k, 0, 1);
        cuda_flat(&t, "where", CUDA_IN, 0, NF_I32, n, where);
        cuda_real(&t, "add", CUDA_IN, 0, cuda_reals[d], o.row_cap, o.width, 0, 1);
        cuda_try(&t);
        free(where);
    }
}
