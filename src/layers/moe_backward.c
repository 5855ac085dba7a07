/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moe_backward.c: the forward's walk with the same plan. Gradients of the output go out to the experts' ranks, gradients of the
 * input come back, and the side band carries the gradients of the routing weights home.
 *
 * The kept slices write into whole-layer tensors, so each expert's weight gradient is one product over all its rows, taken
 * while the last slice travels. A slice that was not kept is sent again: its rows first, then its gradients, and it adds its
 * own weight gradients; with such slices the walk is not pipelined.
 */
#include "moe.h"

/* Whole-layer tensors of the kept slices, and what one slice needs on top. */
struct space {
    nf_tensor dy, dpre, act; /* [chunks expanded, .] */
    nf_tensor drows;         /* [expanded, X] */
    nf_tensor partial[2];
    float *side[2], *drow_weight, *dweights;
    struct nf_moe_slice spare;
    nf_tensor spare_dy, spare_dpre, spare_act;
};

static nf_status space_new(nf_run *run, const struct nf_moe_conf *c, const struct nf_moe_size *n, struct space *m)
{
    int64_t all = c->chunks * n->expanded;

    NF_TRY(nf_layer_new(run, "moe d expert rows", c->dtype, all, n->in, &m->dy));
    NF_TRY(nf_layer_new(run, "moe d pre-activation", c->dtype, all, n->pre, &m->dpre));
    NF_TRY(nf_layer_new(run, "moe activation", c->dtype, all, c->width, &m->act));
    NF_TRY(nf_layer_new(run, "moe d input rows", c->dtype, n->expanded, n->in, &m->drows));
    NF_TRY(nf_layer_bytes(run, "moe d row weights", (size_t)n->expanded * sizeof(float), &m->drow_weight));
    NF_TRY(nf_layer_bytes(run, "moe d routing weights", (size_t)(run->tokens * c->k) * sizeof(float), &m->dweights));
    for (int i = 0; i < 2; i++) {
        NF_TRY(nf_layer_new(run, "moe partial rows", c->dtype, n->rows, n->in, &m->partial[i]));
        NF_TRY(nf_layer_bytes(run, "moe side band", (size_t)(n->rows * c->k) * sizeof(float), &m->side[i]));
    }
    NF_TRY(nf_moe_spare_new(run, c, n, &m->spare));
    if (!n->may_overflow)
        return NF_OK;
    NF_TRY(nf_layer_new(run, "moe spare d rows", c->dtype, n->expanded, n->in, &m->spare_dy));
    NF_TRY(nf_layer_new(run, "moe spare d pre-activation", c->dtype, n->expanded, n->pre, &m->spare_dpre));
    return nf_layer_new(run, "moe spare activation", c->dtype, n->expanded, c->width, &m->spare_act);
}

static nf_status shared_expert(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x,
                               const struct nf_moe_conf *c, struct nf_moe_w *w, struct nf_moe_keep *k)
{
    const struct nf_linear_arg through_act = {.act = c->shared_act}, plain = {0};
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor dpre, act;

    NF_TRY(nf_layer_new(run, "moe shared d pre-activation", c->dtype, run->tokens, k->shared_pre.dim[1], &dpre));
    NF_TRY(nf_layer_new(run, "moe shared activation", c->dtype, run->tokens, c->shared_width, &act));
    NF_TRY(nf_linear_dgrad(run->q, &dpre, &act, dbranch, &w->shared_down.w, &k->shared_pre, &through_act));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->shared_down), nf_grad_use(&w->shared_down_bias), dbranch, &act));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &dpre, &w->shared_up.w, NULL, &plain));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->shared_up), nf_grad_use(&w->shared_up_bias), &dpre, x));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

static nf_status send(nf_run *run, struct nf_moe_keep *k, int slice, const nf_tensor *rows, const float *side, nf_event *event)
{
    nf_event ready;

    NF_TRY(nf_queue_record(run->q, &ready));
    NF_TRY(nf_queue_wait(run->xq, ready));
    return nf_exchange_out(run->xq, k->plan, slice, rows->data, rows->stride[0], side, event);
}

/* Rows and pre-activations of a slice that was not kept. */
static nf_status again(nf_run *run, const nf_tensor *x, const struct nf_moe_conf *c, const struct nf_moe_size *n,
                       struct nf_moe_w *w, struct nf_moe_keep *k, int s, struct nf_moe_slice *spare)
{
    const struct nf_grouped_arg up = {.backend = c->backend};
    nf_event here;

    NF_TRY(send(run, k, s, x, k->weights, &here));
    NF_TRY(nf_queue_wait(run->q, here));
    struct nf_received in = nf_xplan_received(k->plan, s);
    nf_tensor received = nf_moe_received_rows(&in, n);
    NF_TRY(nf_order_build(run->q, &spare->order, in.ids, in.side, in.count, n->shape.row_pad));
    NF_TRY(nf_expand(run->q, &spare->rows, &received, &spare->order));
    return nf_grouped_linear(run->q, &spare->pre, NULL, &spare->rows, &w->up.w, &spare->groups, &up);
}

static nf_status weight_gradients(nf_run *run, const struct nf_moe_conf *c, struct nf_moe_w *w, const nf_tensor *dy,
                                  const nf_tensor *act, const nf_tensor *dpre, const nf_tensor *rows, const float *row_weight,
                                  const struct nf_groups *groups)
{
    const struct nf_grouped_arg down = {.row_weight = row_weight, .backend = c->backend}, up = {.backend = c->backend};

    NF_TRY(nf_grouped_wgrad(run->q, nf_grad_use(&w->down), (nf_grad){0}, dy, act, groups, &down));
    return nf_grouped_wgrad(run->q, nf_grad_use(&w->up), (nf_grad){0}, dpre, rows, groups, &up);
}

/* Gradients of one slice's rows, back to the senders. */
static nf_status slice_backward(nf_run *run, const struct nf_moe_conf *c, const struct nf_moe_size *n, struct nf_moe_w *w,
                                struct nf_moe_keep *k, struct space *m, int s, nf_event *back)
{
    struct nf_slice slice = nf_xplan_slice(k->plan, s);
    struct nf_moe_slice here = nf_moe_slice_of(k, n, &m->spare, &slice);
    struct nf_received in = nf_xplan_received(k->plan, s);
    const struct nf_grouped_arg down = {.act = c->act, .row_weight = here.order.weight, .backend = c->backend};
    const struct nf_grouped_arg up = {.backend = c->backend};
    nf_tensor received = nf_moe_received_rows(&in, n);
    int64_t first = slice.chunk * n->expanded;
    nf_tensor dy = slice.kept ? nf_rows(m->dy, first, n->expanded) : m->spare_dy;
    nf_tensor dpre = slice.kept ? nf_rows(m->dpre, first, n->expanded) : m->spare_dpre;
    nf_tensor act = slice.kept ? nf_rows(m->act, first, n->expanded) : m->spare_act;
    nf_event ready;

    NF_TRY(nf_expand(run->q, &dy, &received, &here.order));
    NF_TRY(nf_grouped_dgrad(run->q, &dpre, &act, m->drow_weight, &dy, &w->down.w, &here.pre, &here.groups, &down));
    NF_TRY(nf_grouped_dgrad(run->q, &m->drows, NULL, NULL, &dpre, &w->up.w, NULL, &here.groups, &up));
    NF_TRY(nf_queue_wait(run->q, *back)); /* slice s - 2 has left these buffers */
    NF_TRY(nf_collapse(run->q, &m->partial[s & 1], m->side[s & 1], &m->drows, m->drow_weight, &here.order, in.count));
    NF_TRY(nf_queue_record(run->q, &ready));
    NF_TRY(nf_queue_wait(run->xq, ready));
    NF_TRY(nf_exchange_back(run->xq, k->plan, s, m->partial[s & 1].data, m->side[s & 1], back));
    if (slice.kept)
        return NF_OK;
    return weight_gradients(run, c, w, &dy, &act, &dpre, &here.rows, here.order.weight, &here.groups);
}

static nf_status router_backward(nf_run *run, const nf_tensor *dx, const nf_tensor *x, const struct nf_moe_conf *c,
                                 struct nf_moe_w *w, struct nf_moe_keep *k, const float *dweights)
{
    const struct nf_linear_arg onto_dx = {.add = dx, .fp32_math = true};
    struct nf_route_arg route = c->route;
    nf_tensor dlogits;

    route.seq = run->seq;
    route.vars = run->vars;
    route.global_row = run->global_row;
    NF_TRY(nf_layer_new(run, "moe d router logits", NF_F32, run->tokens, c->experts, &dlogits));
    NF_TRY(nf_route_bwd(run->q, &dlogits, dweights, k->ids, k->weights, &k->scores, &route));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &dlogits, &w->router.w, NULL, &onto_dx));
    return nf_linear_wgrad(run->q, nf_grad_use(&w->router), (nf_grad){0}, &dlogits, x);
}

nf_status nf_moe_backward(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x, const void *conf,
                          void *weights, union nf_keep *keep)
{
    const struct nf_moe_conf *c = conf;
    const struct nf_moe_size n = nf_moe_size(run, c);
    struct nf_moe_w *w = weights;
    struct nf_moe_keep *k = &keep->moe;
    const bool whole = k->slices == c->chunks; /* nothing to be sent again */
    const int ahead = whole ? 2 : 1;
    nf_mark mark = nf_arena_mark(run->step);
    nf_event out[2] = {NF_DONE, NF_DONE}, back[2] = {NF_DONE, NF_DONE};
    struct space m;

    NF_TRY(space_new(run, c, &n, &m));
    for (int s = 0; whole && s < k->slices && s < ahead; s++)
        NF_TRY(send(run, k, s, dbranch, NULL, &out[s]));
    if (c->shared_width)
        NF_TRY(shared_expert(run, dx, dbranch, x, c, w, k));

    for (int s = 0; s < k->slices; s++) {
        struct nf_slice slice = nf_xplan_slice(k->plan, s);
        if (!slice.kept)
            NF_TRY(again(run, x, c, &n, w, k, s, &m.spare));
        if (!whole)
            NF_TRY(send(run, k, s, dbranch, NULL, &out[s & 1]));
        NF_TRY(nf_queue_wait(run->q, out[s & 1]));
        NF_TRY(slice_backward(run, c, &n, w, k, &m, s, &back[s & 1]));
        if (whole && s + ahead < k->slices)
            NF_TRY(send(run, k, s + ahead, dbranch, NULL, &out[s & 1]));
        if (s == k->slices - 1) { /* while the last slice travels */
            struct nf_groups all = nf_moe_all_groups(k, &n, c->chunks);
            NF_TRY(weight_gradients(run, c, w, &m.dy, &m.act, &m.dpre, &k->rows, k->order.weight, &all));
        }
        struct nf_slice before = s ? nf_xplan_slice(k->plan, s - 1) : slice;
        if (s && before.last) {
            NF_TRY(nf_queue_wait(run->q, back[(s - 1) & 1]));
            NF_TRY(nf_moe_combine(run, k, &n, before.chunk, dx, m.dweights, c->shared_width > 0));
        }
    }
    for (int i = 0; i < 2; i++)
        NF_TRY(nf_queue_wait(run->q, back[i]));
    NF_TRY(nf_moe_combine(run, k, &n, c->chunks - 1, dx, m.dweights, c->shared_width > 0));
    NF_TRY(router_backward(run, dx, x, c, w, k, m.dweights));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}
