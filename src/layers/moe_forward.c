/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moe_forward.c: route, send tokens to their experts, compute while they travel, add what comes home.
 *
 * Two slices are under way: while the experts of slice s run, slice s + 1 arrives and slice s - 1 returns; the shared expert
 * covers the first arrival. A partial row buffer is overwritten only after the slice two before has left it.
 */
#include "moe.h"

static nf_status choose(nf_run *run, const nf_tensor *x, const struct nf_moe_conf *c, struct nf_moe_w *w, struct nf_moe_keep *k)
{
    struct nf_route_arg route = c->route;
    nf_mark mark = nf_arena_mark(run->step);
    nf_event counted;
    nf_tensor logits;
    const size_t ids = (size_t)run->tokens * (size_t)route.k;
    int32_t *choices = run->choices ? run->choices + (size_t)c->index * ids : NULL;

    route.seq = run->seq;
    route.vars = run->vars;
    route.global_row = run->global_row;
    NF_TRY(nf_layer_new(run, "moe router logits", NF_F32, run->tokens, c->experts, &logits));
    NF_TRY(nf_linear(run->q, &logits, NULL, x, &w->router.w, &(struct nf_linear_arg){.fp32_math = true}));
    if (choices && run->choices_given) {
        route.gate = NF_GATE_GIVEN;
        NF_TRY(nf_copy(run->q, k->ids, choices, ids * sizeof *choices));
    }
    NF_TRY(nf_route(run->q, k->ids, k->weights, &k->scores, run->load ? run->load + (int64_t)c->index * c->experts : NULL,
                    &logits, nf_has(&w->correction) ? w->correction.w.data : NULL, &route));
    if (choices && !run->choices_given)
        NF_TRY(nf_copy(run->q, choices, k->ids, ids * sizeof *choices));
    nf_arena_reset(run->step, NF_LOW, mark);
    NF_TRY(nf_xplan_counts(run->q, k->plan, k->ids, run->tokens, &counted));
    NF_TRY(nf_queue_wait(run->xq, counted));
    NF_TRY(nf_xplan_slices(run->q, k->plan, &k->slices));
    run->overflow_slices += nf_xplan_overflow_slices(k->plan);
    return NF_OK;
}

static nf_status shared_expert(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const struct nf_moe_conf *c,
                               struct nf_moe_w *w, struct nf_moe_keep *k)
{
    struct nf_linear_arg up = {.bias = nf_layer_weight(&w->shared_up_bias)};
    const struct nf_linear_arg down = {.bias = nf_layer_weight(&w->shared_down_bias)};
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor act;

    if (run->replay)
        return nf_linear(run->q, &k->shared_pre, NULL, x, &w->shared_up.w, &up);
    up.act = c->shared_act;
    NF_TRY(nf_layer_new(run, "moe shared activation", c->dtype, run->tokens, c->shared_width, &act));
    NF_TRY(nf_linear(run->q, &act, &k->shared_pre, x, &w->shared_up.w, &up));
    NF_TRY(nf_linear(run->q, branch, NULL, &act, &w->shared_down.w, &down));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

/* The experts of one slice: received rows -> expert order -> up -> down, times the routing weight -> one partial row each. */
static nf_status experts(nf_run *run, const struct nf_moe_conf *c, const struct nf_moe_size *n, struct nf_moe_w *w,
                         const struct nf_moe_slice *s, const struct nf_received *in, const nf_tensor *partial)
{
    const struct nf_grouped_arg up = {.act = c->act, .backend = c->backend};
    const struct nf_grouped_arg down = {.row_weight = s->order.weight, .backend = c->backend};
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor act, out;

    NF_TRY(nf_layer_new(run, "moe activation", c->dtype, n->expanded, c->width, &act));
    NF_TRY(nf_layer_new(run, "moe expert output", c->dtype, n->expanded, n->in, &out));
    NF_TRY(nf_grouped_linear(run->q, &act, &s->pre, &s->rows, &w->up.w, &s->groups, &up));
    NF_TRY(nf_grouped_linear(run->q, &out, NULL, &act, &w->down.w, &s->groups, &down));
    NF_TRY(nf_collapse(run->q, partial, NULL, &out, NULL, &s->order, in->count));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

/* Inside a backward: rows and pre-activations of the kept slices again; the others are sent again by the backward itself. */
static nf_status replay(nf_run *run, const nf_tensor *x, const struct nf_moe_conf *c, const struct nf_moe_size *n,
                        struct nf_moe_w *w, struct nf_moe_keep *k)
{
    const struct nf_grouped_arg up = {.backend = c->backend};

    for (int s = 0; s < k->slices; s++) {
        struct nf_slice slice = nf_xplan_slice(k->plan, s);
        nf_event here, ready;
        if (!slice.kept)
            continue;
        NF_TRY(nf_queue_record(run->q, &ready));
        NF_TRY(nf_queue_wait(run->xq, ready));
        NF_TRY(nf_exchange_out(run->xq, k->plan, s, x->data, x->stride[0], k->weights, &here));
        if (s == 0 && c->shared_width)
            NF_TRY(shared_expert(run, NULL, x, c, w, k));
        NF_TRY(nf_queue_wait(run->q, here));
        struct nf_received in = nf_xplan_received(k->plan, s);
        nf_tensor received = nf_moe_received_rows(&in, n);
        struct nf_moe_slice m = nf_moe_slice_of(k, n, NULL, &slice);
        NF_TRY(nf_expand(run->q, &m.rows, &received, &m.order));
        NF_TRY(nf_grouped_linear(run->q, &m.pre, NULL, &m.rows, &w->up.w, &m.groups, &up));
    }
    return NF_OK;
}

nf_status nf_moe_forward(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const void *conf, void *weights,
                         union nf_keep *keep)
{
    const struct nf_moe_conf *c = conf;
    const struct nf_moe_size n = nf_moe_size(run, c);
    struct nf_moe_w *w = weights;
    struct nf_moe_keep *k = &keep->moe;
    nf_mark mark = nf_arena_mark(run->step);
    nf_event out[2] = {NF_DONE, NF_DONE}, back[2] = {NF_DONE, NF_DONE}, ready;
    struct nf_moe_slice spare;
    nf_tensor partial[2];

    if (run->replay)
        return replay(run, x, c, &n, w, k);
    NF_TRY(choose(run, x, c, w, k));
    NF_TRY(nf_moe_spare_new(run, c, &n, &spare));
    for (int i = 0; i < 2; i++)
        NF_TRY(nf_layer_new(run, "moe partial rows", c->dtype, n.rows, n.in, &partial[i]));

    NF_TRY(nf_queue_record(run->q, &ready));
    NF_TRY(nf_queue_wait(run->xq, ready));
    for (int s = 0; s < k->slices && s < 2; s++)
        NF_TRY(nf_exchange_out(run->xq, k->plan, s, x->data, x->stride[0], k->weights, &out[s]));
    if (c->shared_width)
        NF_TRY(shared_expert(run, branch, x, c, w, k));

    for (int s = 0; s < k->slices; s++) {
        struct nf_slice slice = nf_xplan_slice(k->plan, s);
        struct nf_moe_slice m = nf_moe_slice_of(k, &n, &spare, &slice);
        NF_TRY(nf_queue_wait(run->q, out[s & 1]));
        struct nf_received in = nf_xplan_received(k->plan, s);
        nf_tensor received = nf_moe_received_rows(&in, &n);
        NF_TRY(nf_order_build(run->q, &m.order, in.ids, in.side, in.count, n.shape.row_pad));
        NF_TRY(nf_expand(run->q, &m.rows, &received, &m.order));
        NF_TRY(nf_queue_wait(run->q, back[s & 1])); /* slice s - 2 has left this buffer */
        NF_TRY(experts(run, c, &n, w, &m, &in, &partial[s & 1]));
        NF_TRY(nf_queue_record(run->q, &ready));
        NF_TRY(nf_queue_wait(run->xq, ready));
        NF_TRY(nf_exchange_back(run->xq, k->plan, s, partial[s & 1].data, NULL, &back[s & 1]));
        if (s + 2 < k->slices)
            NF_TRY(nf_exchange_out(run->xq, k->plan, s + 2, x->data, x->stride[0], k->weights, &out[s & 1]));
        struct nf_slice before = s ? nf_xplan_slice(k->plan, s - 1) : slice;
        if (s && before.last) {
            NF_TRY(nf_queue_wait(run->q, back[(s - 1) & 1]));
            NF_TRY(nf_moe_combine(run, k, &n, before.chunk, branch, NULL, c->shared_width > 0));
        }
    }
    for (int i = 0; i < 2; i++)
        NF_TRY(nf_queue_wait(run->q, back[i]));
    NF_TRY(nf_moe_combine(run, k, &n, c->chunks - 1, branch, NULL, c->shared_width > 0));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}
