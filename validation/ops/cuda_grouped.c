/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_grouped.c: rows of t_cuda: the experts' linear layers. Groups of one expert lie apart, some are empty, some end inside a
 * tile; rows of no group hold NaN and may be neither read nor written. Widths that tensor cores take and odd ones that they
 * do not; every activation, both layouts of the weight; all three back ends, of which 'batched' has an expert with more rows
 * than a batch gives it.
 */
#include "cuda_rows.h"
#include "ops/cuda/sizes.h"

struct setting {
    int64_t E, N, K, scale; /* scale: rows of the pattern's groups times this */
    enum nf_act act;
    nf_dtype type;
    bool in_out, weighted, bias, pre;
    enum nf_experts backend;
    bool accumulate;
    nf_dtype grad;
    bool frozen; /* but for the biases */
};

/* Expert, rows, rows left out before. */
static const int pattern[][3] = {{2, 17, 2}, {0, 1, 0}, {2, 3, 5}, {4, 0, 0}, {1, 130, 0}, {0, 40, 3}, {3, 64, 0}, {4, 128, 1}};
enum { GROUPS = sizeof pattern / sizeof *pattern, BASE = 1000 };
enum { BEGIN, END, EXPERT, WEIGHTS, OUT, IN, W, BIAS, PRE, AGAIN, DOT }; /* arguments of a trial, in order */

static const char *const act_names[] = {"none", "relu2", "swiglu", "clamped"};
static const char *const backend_names[] = {"eager", "batched", "grouped"};

struct rows {
    int32_t begin[GROUPS], end[GROUPS];
    int64_t rows;
    bool *owned;
};

static struct rows rows_new(const struct setting *s, int32_t *expert)
{
    struct rows r;
    int64_t at = 0;

    for (int g = 0; g < GROUPS; g++) {
        at += pattern[g][2];
        expert[g] = (int32_t)(pattern[g][0] % s->E);
        r.begin[g] = (int32_t)at + BASE;
        at += pattern[g][1] * s->scale;
        r.end[g] = (int32_t)at + BASE;
    }
    r.rows = at + 4;
    r.owned = calloc((size_t)r.rows, sizeof *r.owned);
    for (int g = 0; g < GROUPS; g++)
        for (int64_t i = r.begin[g] - BASE; i < r.end[g] - BASE; i++)
            r.owned[i] = true;
    return r;
}

/* Rows of no group are NaN. */
static void spoil(struct cuda_trial *t, int k, const struct rows *r)
{
    const nf_tensor *x = &t->arg[k].side[1];
    const int64_t stride = x->nd == 2 ? x->stride[0] : 1, cols = x->nd == 2 ? x->dim[1] : 1;
    const size_t size = nf_dtype_size(x->dtype);

    for (int64_t i = 0; i < r->rows; i++)
        if (!r->owned[i])
            memset((char *)t->arg[k].init + (size_t)(i * stride) * size, 0xff, (size_t)cols * size);
}

static struct cuda_trial trial_new(struct cuda_rig *rig, cuda_call *call, const char *op, const struct setting *s,
                                   struct rows *r)
{
    int32_t expert[GROUPS];
    struct cuda_trial t =
        cuda_trial_new(rig, call, s, "%s %s, N %lld K %lld, %s, %s%s%s%s%s x%lld", op, nf_dtype_name(s->type), (long long)s->N,
                       (long long)s->K, act_names[s->act], backend_names[s->backend], s->in_out ? ", in x out" : "",
                       s->weighted ? ", weighted" : "", s->bias ? ", bias" : "", s->pre ? ", pre" : "", (long long)s->scale);
    *r = rows_new(s, expert);
    rig->met |= s->scale == 0 ? CUDA_MET_EMPTY : 0; /* no row of any group */
    cuda_flat(&t, "begin", CUDA_IN, 0, NF_I32, GROUPS, r->begin);
    cuda_flat(&t, "end", CUDA_IN, 0, NF_I32, GROUPS, r->end);
    cuda_flat(&t, "expert", CUDA_IN, 0, NF_I32, GROUPS, expert);
    cuda_as_vector(&t, cuda_real(&t, "row weights", CUDA_IN, 0, NF_F32, 1, r->rows, 0, 1));
    spoil(&t, WEIGHTS, r);
    return t;
}

static struct nf_groups groups_of(struct cuda_trial *t, int side)
{
    return (struct nf_groups){GROUPS, CUDA_P(t, BEGIN), CUDA_P(t, END), CUDA_P(t, EXPERT), BASE};
}

static struct nf_grouped_arg arg_of(struct cuda_trial *t, int side)
{
    const struct setting *s = t->opt;
    return (struct nf_grouped_arg){.act = {s->act, 1.702f, 0.9f},
                                   .bias = s->bias ? CUDA_T(t, BIAS) : NULL,
                                   .row_weight = s->weighted ? CUDA_P(t, WEIGHTS) : NULL,
                                   .in_out = s->in_out,
                                   .backend = s->backend};
}

static int weight(struct cuda_trial *t, const struct setting *s)
{
    return cuda_cube(t, "w", CUDA_IN, 0, s->type, s->E, s->in_out ? s->K : s->N, s->in_out ? s->N : s->K, 0.3);
}

static bool gated(const struct setting *s)
{
    return s->act == NF_ACT_SWIGLU || s->act == NF_ACT_SWIGLU_CLAMP;
}

/* A row stride beyond the columns, of 16-byte steps where the columns are. */
static int64_t wide(int64_t cols)
{
    return cols % 8 ? cols + 3 : cols + 16;
}

/* After a call: on a GPU 'eager' has waited once, to read the groups, and the other back ends have not. */
static nf_status waited(const nf_queue *q, int64_t before, bool reads, nf_status s)
{
    const nf_device *d = nf_queue_device((nf_queue *)q);
    const int64_t waits = nf_device_host_waits(d) - before;

    return !s && nf_device_kind(d) == NF_CUDA && waits != reads
               ? nf_fail(NF_EBUG, "the host waited %lld times, wanted %d", (long long)waits, reads)
               : s;
}

static int64_t waits_of(nf_queue *q)
{
    return nf_device_host_waits(nf_queue_device(q));
}

static nf_status call_forward(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct setting *s = t->opt;
    const struct nf_groups g = groups_of(t, side);
    const struct nf_grouped_arg a = arg_of(t, side);
    const int64_t before = waits_of(q);
    return waited(q, before, s->backend == NF_EXPERTS_EAGER,
                  nf_grouped_linear(q, CUDA_T(t, OUT), s->pre ? CUDA_T(t, PRE) : NULL, CUDA_T(t, IN), CUDA_T(t, W), &g, &a));
}

static void try_forward(struct cuda_rig *rig, const struct setting *s)
{
    struct rows r;
    struct cuda_trial t = trial_new(rig, call_forward, "forward", s, &r);
    const int64_t F = gated(s) ? s->N / 2 : s->N;

    cuda_real(&t, "y", CUDA_OUT, 2 * cuda_sum(s->K), s->type, r.rows, F, wide(F), 0);
    cuda_real(&t, "x", CUDA_IN, 0, s->type, r.rows, s->K, wide(s->K), 1);
    weight(&t, s);
    cuda_real(&t, "bias", CUDA_IN, 0, s->type, s->E, s->N, 0, 1);
    cuda_real(&t, "pre", CUDA_OUT, cuda_sum(s->K), s->type, r.rows, s->N, 0, 0);
    spoil(&t, IN, &r);
    cuda_try(&t);
    free(r.owned);
}

static nf_status call_dgrad(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct setting *s = t->opt;
    const struct nf_groups g = groups_of(t, side);
    const struct nf_grouped_arg a = arg_of(t, side);
    const bool given = s->pre || s->act != NF_ACT_NONE;
    const int64_t before = waits_of(q);
    return waited(q, before, s->backend == NF_EXPERTS_EAGER,
                  nf_grouped_dgrad(q, CUDA_T(t, OUT), s->pre ? CUDA_T(t, AGAIN) : NULL, s->pre ? CUDA_P(t, DOT) : NULL,
                                   CUDA_T(t, IN), CUDA_T(t, W), given ? CUDA_T(t, PRE) : NULL, &g, &a));
}

static void try_dgrad(struct cuda_rig *rig, const struct setting *s)
{
    struct rows r;
    struct cuda_trial t = trial_new(rig, call_dgrad, "dgrad", s, &r);
    const int64_t in = gated(s) ? 2 * s->K : s->K;

    cuda_real(&t, "dx", CUDA_OUT, 2 * cuda_sum(s->N), s->type, r.rows, in, wide(in), 0);
    cuda_real(&t, "dy", CUDA_IN, 0, s->type, r.rows, s->N, wide(s->N), 1);
    weight(&t, s);
    cuda_real(&t, "bias", CUDA_IN, 0, s->type, s->E, s->N, 0, 1);
    cuda_real(&t, "pre", CUDA_IN, 0, s->type, r.rows, in, 0, 1.5);
    cuda_real(&t, "act again", CUDA_OUT, 2 * cuda_sum(1), s->type, r.rows, s->K, 0, 0);
    cuda_as_vector(&t, cuda_real(&t, "drow_weight", CUDA_OUT, cuda_sum(s->N) + cuda_sum(s->K), NF_F32, 1, r.rows, 0,
                                 0)); /* in fp32 from both types */
    spoil(&t, IN, &r);
    spoil(&t, PRE, &r);
    cuda_try(&t);
    free(r.owned);
}

enum { DW = OUT, DY, X, DB };

/* Rows of an expert, at most, that a batch has no room for. */
static int64_t beyond(const struct setting *s, int64_t rows)
{
    const int64_t each = nf_cuda_batch_rows(rows, s->E);
    int64_t most = 0;

    for (int e = 0; e < s->E; e++) {
        int64_t n = 0;
        for (int g = 0; g < GROUPS; g++)
            n += pattern[g][0] % s->E == e ? pattern[g][1] * s->scale : 0;
        most = n - each > most ? n - each : most;
    }
    return most;
}

static nf_status call_wgrad(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct setting *s = t->opt;
    const struct nf_groups g = groups_of(t, side);
    const struct nf_grouped_arg a = {
        .row_weight = s->weighted ? CUDA_P(t, WEIGHTS) : NULL, .in_out = s->in_out, .backend = s->backend};
    const nf_grad dw = {s->frozen ? (nf_tensor){0} : *CUDA_T(t, DW), s->accumulate};
    const nf_grad db = {s->bias ? *CUDA_T(t, DB) : (nf_tensor){0}, s->accumulate};
    const int64_t before = waits_of(q);
    return waited(q, before, s->backend == NF_EXPERTS_EAGER && !s->frozen,
                  nf_grouped_wgrad(q, dw, db, CUDA_T(t, DY), CUDA_T(t, X), &g, &a));
}

static void try_wgrad(struct cuda_rig *rig, const struct setting *s)
{
    struct rows r;
    struct cuda_trial t = trial_new(rig, call_wgrad, s->accumulate ? "wgrad, added" : "wgrad", s, &r);
    const enum cuda_use use = s->accumulate ? CUDA_INOUT : CUDA_OUT;
    /* on tensor cores weighted rows are rounded to bf16 before the product */
    const double sums = cuda_sum(r.rows), b = sums + (s->type == NF_BF16 && s->weighted ? cuda_operands(1) : 0);

    cuda_cube(&t, "dw", use, b, s->grad, s->frozen ? 0 : s->E, s->in_out ? s->K : s->N, s->in_out ? s->N : s->K, 1);
    if (s->backend == NF_EXPERTS_BATCHED && s->grad == NF_BF16) /* rounded before what is beyond the batch is added */
        cuda_rounded(&t, DW, 1, 1, sqrt((double)beyond(s, r.rows)));
    cuda_real(&t, "dy", CUDA_IN, 0, s->type, r.rows, s->N, wide(s->N), 1);
    cuda_real(&t, "x", CUDA_IN, 0, s->type, r.rows, s->K, wide(s->K), 1);
    cuda_real(&t, "dbias", use, sums, s->grad, s->E, s->N, 0, 1);
    spoil(&t, DY, &r);
    spoil(&t, X, &r);
    cuda_try(&t);
    free(r.owned);
}

/* Shapes that meet every kernel: tiles of 128, 192 and 256 columns, several of them, sums shorter and longer than the ring. */
static const struct setting settings[] = {
    {5, 6, 5, 1, NF_ACT_RELU2, NF_F32, false, true, true, true, NF_EXPERTS_GROUPED, false, NF_F32, false},
    {5, 70, 33, 1, NF_ACT_SWIGLU, NF_F32, false, true, false, true, NF_EXPERTS_GROUPED, true, NF_F32, false},
    {5, 132, 90, 2, NF_ACT_SWIGLU_CLAMP, NF_F32, true, true, true, true, NF_EXPERTS_GROUPED, false, NF_F32, false},
    {5, 64, 64, 1, NF_ACT_NONE, NF_F32, false, false, false, false, NF_EXPERTS_GROUPED, true, NF_F32, false},
    {5, 10, 7, 1, NF_ACT_SWIGLU_CLAMP, NF_BF16, true, true, true, true, NF_EXPERTS_GROUPED, false, NF_BF16, false},
    {5, 128, 64, 1, NF_ACT_NONE, NF_BF16, false, false, false, false, NF_EXPERTS_GROUPED, false, NF_BF16, false},
    {5, 192, 320, 2, NF_ACT_RELU2, NF_BF16, false, true, false, true, NF_EXPERTS_GROUPED, false, NF_F32, false},
    {5, 256, 512, 1, NF_ACT_RELU2, NF_BF16, false, false, true, true, NF_EXPERTS_GROUPED, true, NF_BF16, false},
    {5, 384, 200, 3, NF_ACT_SWIGLU, NF_BF16, false, true, true, true, NF_EXPERTS_GROUPED, true, NF_F32, false},
    {5, 512, 136, 1, NF_ACT_SWIGLU, NF_BF16, false, false, false, true, NF_EXPERTS_GROUPED, false, NF_BF16, false},
    {5, 720, 360, 1, NF_ACT_SWIGLU_CLAMP, NF_BF16, true, true, true, true, NF_EXPERTS_GROUPED, true, NF_F32, false},
    {5, 104, 184, 2, NF_ACT_NONE, NF_BF16, true, true, false, true, NF_EXPERTS_GROUPED, false, NF_F32, false},
    {5, 448, 672, 5, NF_ACT_RELU2, NF_BF16, false, true, false, false, NF_EXPERTS_GROUPED, false, NF_BF16, false},
    {5, 6, 5, 1, NF_ACT_RELU2, NF_F32, false, true, true, true, NF_EXPERTS_EAGER, false, NF_F32, false},
    {5, 96, 40, 1, NF_ACT_SWIGLU, NF_F32, false, true, true, true, NF_EXPERTS_EAGER, true, NF_F32, false},
    {5, 132, 90, 2, NF_ACT_SWIGLU_CLAMP, NF_F32, true, true, true, true, NF_EXPERTS_EAGER, false, NF_F32, false},
    {5, 64, 64, 1, NF_ACT_NONE, NF_F32, false, false, false, false, NF_EXPERTS_EAGER, true, NF_F32, false},
    {5, 10, 7, 1, NF_ACT_SWIGLU_CLAMP, NF_BF16, true, true, true, true, NF_EXPERTS_EAGER, false, NF_BF16, false},
    {5, 128, 64, 1, NF_ACT_NONE, NF_BF16, false, false, false, false, NF_EXPERTS_EAGER, false, NF_BF16, false},
    {5, 256, 136, 2, NF_ACT_RELU2, NF_BF16, false, true, true, true, NF_EXPERTS_EAGER, true, NF_F32, false},
    {5, 384, 200, 3, NF_ACT_SWIGLU, NF_BF16, false, true, true, true, NF_EXPERTS_EAGER, true, NF_BF16, false},
    {5, 720, 360, 1, NF_ACT_SWIGLU_CLAMP, NF_BF16, true, false, true, true, NF_EXPERTS_EAGER, false, NF_F32, false},
    {5, 104, 184, 2, NF_ACT_NONE, NF_BF16, true, true, false, true, NF_EXPERTS_EAGER, true, NF_BF16, false},
    {1, 64, 2688, 1, NF_ACT_NONE, NF_BF16, false, true, false, true, NF_EXPERTS_EAGER, false, NF_F32, false},
    {5, 6, 5, 1, NF_ACT_RELU2, NF_F32, false, true, true, true, NF_EXPERTS_BATCHED, false, NF_F32, false},
    {5, 96, 40, 1, NF_ACT_SWIGLU, NF_F32, false, true, true, true, NF_EXPERTS_BATCHED, true, NF_F32, false},
    {5, 132, 90, 2, NF_ACT_SWIGLU_CLAMP, NF_F32, true, true, true, true, NF_EXPERTS_BATCHED, false, NF_F32, false},
    {5, 64, 64, 1, NF_ACT_NONE, NF_F32, false, false, false, false, NF_EXPERTS_BATCHED, true, NF_F32, false},
    {5, 10, 7, 1, NF_ACT_SWIGLU_CLAMP, NF_BF16, true, true, true, true, NF_EXPERTS_BATCHED, false, NF_BF16, false},
    {5, 128, 64, 1, NF_ACT_NONE, NF_BF16, false, false, false, false, NF_EXPERTS_BATCHED, false, NF_BF16, false},
    {5, 256, 136, 2, NF_ACT_RELU2, NF_BF16, false, true, true, true, NF_EXPERTS_BATCHED, true, NF_F32, false},
    {5, 384, 200, 3, NF_ACT_SWIGLU, NF_BF16, false, true, true, true, NF_EXPERTS_BATCHED, true, NF_BF16, false},
    {5, 720, 360, 1, NF_ACT_SWIGLU_CLAMP, NF_BF16, true, false, true, true, NF_EXPERTS_BATCHED, false, NF_F32, false},
    {5, 104, 184, 2, NF_ACT_NONE, NF_BF16, true, true, false, true, NF_EXPERTS_BATCHED, true, NF_BF16, false},
    {1, 64, 2688, 1, NF_ACT_NONE, NF_BF16, false, true, false, true, NF_EXPERTS_BATCHED, false, NF_F32, false},
    {1, 64, 2688, 1, NF_ACT_NONE, NF_BF16, false, true, false, true, NF_EXPERTS_GROUPED, false, NF_F32, false},
    {5, 64, 128, 0, NF_ACT_RELU2, NF_BF16, false, true, true, true, NF_EXPERTS_GROUPED, false, NF_F32, false},
    {5, 12, 20, 0, NF_ACT_SWIGLU, NF_F32, false, true, true, true, NF_EXPERTS_GROUPED, true, NF_F32, false},
    {5, 128, 64, 1, NF_ACT_NONE, NF_BF16, false, true, true, true, NF_EXPERTS_GROUPED, true, NF_F32, true},
    /* the largest: some 23,000 rows */
    {8, 1856, 2688, 60, NF_ACT_RELU2, NF_BF16, false, false, false, true, NF_EXPERTS_GROUPED, false, NF_BF16, false},
    {8, 2688, 1856, 60, NF_ACT_NONE, NF_BF16, false, true, false, true, NF_EXPERTS_GROUPED, true, NF_F32, false},
    {8, 1536, 2048, 60, NF_ACT_SWIGLU, NF_BF16, false, true, false, true, NF_EXPERTS_GROUPED, false, NF_BF16, false},
    {8, 1856, 2688, 60, NF_ACT_RELU2, NF_BF16, false, true, false, true, NF_EXPERTS_BATCHED, false, NF_BF16, false},
    {8, 1856, 2688, 60, NF_ACT_RELU2, NF_BF16, false, true, false, true, NF_EXPERTS_EAGER, true, NF_F32, false},
};

#define EACH(f)                                                                                                                \
    CUDA_EACH(i, rig, settings, 5)                                                                                             \
    f(rig, &settings[i])

void cuda_test_grouped_linear(struct cuda_rig *rig)
{
    EACH(try_forward);
}
void cuda_test_grouped_dgrad(struct cuda_rig *rig)
{
    EACH(try_dgrad);
}
void cuda_test_grouped_wgrad(struct cuda_rig *rig)
{
    EACH(try_wgrad);
}
