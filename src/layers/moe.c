/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moe.c: mixture of experts, what forward and backward share. Every size follows from shapes: pass 0 of each chunk has memory
 * of its own, the others take turns in one spare slice.
 */
#include "moe.h"

struct nf_xshape nf_moe_xshape(const struct nf_moe_conf *c, int64_t tokens_max, int row_pad)
{
    return (struct nf_xshape){.tokens = tokens_max,
                              .width = c->latent ? c->latent : c->hidden,
                              .k = c->k,
                              .experts = c->experts,
                              .dtype = c->dtype,
                              .chunks = c->chunks,
                              .recv_factor = c->recv_factor,
                              .dispatch = c->dispatch,
                              .row_pad = row_pad};
}

struct nf_moe_size nf_moe_size(const nf_run *run, const struct nf_moe_conf *c)
{
    const nf_group *ep = nf_mesh_group(run->mesh, NF_EP);
    struct nf_moe_size n = {.shape = nf_moe_xshape(c, run->tokens_max, nf_op_row_pad(run->q))};

    n.in = n.shape.width;
    n.pre = nf_layer_pre_width(&c->act, c->width);
    n.rows = nf_x_row_cap(ep, &n.shape);
    n.expanded = nf_x_expert_cap(ep, &n.shape);
    n.experts = c->experts / nf_group_size(ep);
    n.may_overflow = nf_group_size(ep) > 1 && c->dispatch != NF_ALLGATHER;
    return n;
}

nf_status nf_moe_order_new(nf_run *run, const struct nf_moe_size *n, int chunks, struct nf_order *o)
{
    size_t rows = (size_t)n->rows * (size_t)chunks, expanded = (size_t)n->expanded * (size_t)chunks;
    size_t groups = (size_t)n->experts * (size_t)chunks;

    *o = (struct nf_order){.row_cap = n->rows, .expert_cap = n->expanded, .k = n->shape.k, .experts = n->experts};
    NF_TRY(nf_layer_bytes(run, "moe order", expanded * sizeof(int32_t), &o->source));
    NF_TRY(nf_layer_bytes(run, "moe order", expanded * sizeof(int32_t), &o->slot));
    NF_TRY(nf_layer_bytes(run, "moe order", expanded * sizeof(float), &o->weight));
    NF_TRY(nf_layer_bytes(run, "moe order", rows * (size_t)n->shape.k * sizeof(int32_t), &o->place));
    NF_TRY(nf_layer_bytes(run, "moe order", groups * sizeof(int32_t), &o->begin));
    NF_TRY(nf_layer_bytes(run, "moe order", groups * sizeof(int32_t), &o->end));
    return nf_layer_bytes(run, "moe order", groups * sizeof(int32_t), &o->expert);
}

struct nf_order nf_moe_order_of(const struct nf_moe_keep *k, const struct nf_moe_size *n, int chunk)
{
    struct nf_order o = k->order;

    o.base = chunk * n->expanded;
    o.source += chunk * n->expanded;
    o.slot += chunk * n->expanded;
    o.weight += chunk * n->expanded;
    o.place += chunk * n->rows * n->shape.k;
    o.begin += chunk * n->experts;
    o.end += chunk * n->experts;
    o.expert += chunk * n->experts;
    return o;
}

struct nf_groups nf_moe_groups(const struct nf_order *o)
{
    return (struct nf_groups){.count = o->experts, .begin = o->begin, .end = o->end, .expert = o->expert, .base = o->base};
}

struct nf_groups nf_moe_all_groups(const struct nf_moe_keep *k, const struct nf_moe_size *n, int chunks)
{
    const struct nf_order *o = &k->order;
    return (struct nf_groups){.count = n->experts * chunks, .begin = o->begin, .end = o->end, .expert = o->expert};
}

struct nf_moe_slice nf_moe_slice_of(const struct nf_moe_keep *k, const struct nf_moe_size *n, const struct nf_moe_slice *spare,
                                    const struct nf_slice *slice)
{
    struct nf_moe_slice s;

    if (!slice->kept)
        return *spare;
    s.order = nf_moe_order_of(k, n, slice->chunk);
    s.groups = nf_moe_groups(&s.order);
    s.rows = nf_rows(k->rows, slice->chunk * n->expanded, n->expanded);
    s.pre = nf_rows(k->pre, slice->chunk * n->expanded, n->expanded);
    return s;
}

nf_status nf_moe_spare_new(nf_run *run, const struct nf_moe_conf *c, const struct nf_moe_size *n, struct nf_moe_slice *spare)
{
    *spare = (struct nf_moe_slice){0};
    if (!n->may_overflow)
        return NF_OK;
    NF_TRY(nf_moe_order_new(run, n, 1, &spare->order));
    spare->groups = nf_moe_groups(&spare->order);
    NF_TRY(nf_layer_new(run, "moe spare rows", c->dtype, n->expanded, n->in, &spare->rows));
    return nf_layer_new(run, "moe spare pre-activation", c->dtype, n->expanded, n->pre, &spare->pre);
}

nf_status nf_moe_combine(nf_run *run, const struct nf_moe_keep *k, const struct nf_moe_size *n, int chunk, const nf_tensor *y,
                         float *weights, bool onto_y)
{
    struct nf_returned back = nf_xplan_returned(k->plan, chunk);
    nf_tensor part = nf_rows(*y, back.token0, back.tokens);
    nf_tensor partial = nf_matrix((void *)back.rows, n->shape.dtype, back.tokens * back.slots, n->in, n->in);

    return nf_combine(run->q, &part, weights ? weights + back.token0 * n->shape.k : NULL, &partial, weights ? back.side : NULL,
                      back.where, back.slots, n->shape.k, onto_y ? &part : NULL);
}

static nf_status keep_always(nf_run *run, const void *conf, union nf_keep *keep)
{
    const struct nf_moe_conf *c = conf;
    const struct nf_moe_size n = nf_moe_size(run, c);
    struct nf_moe_keep *k = &keep->moe;
    size_t choices = (size_t)run->tokens * (size_t)c->k;

    NF_TRY(nf_layer_new(run, "moe router scores", NF_F32, run->tokens, c->experts, &k->scores));
    NF_TRY(nf_layer_bytes(run, "moe expert ids", choices * sizeof(int32_t), &k->ids));
    NF_TRY(nf_layer_bytes(run, "moe routing weights", choices * sizeof(float), &k->weights));
    NF_TRY(nf_xplan_new(run->q, run->exchange, run->step, NF_LOW, &n.shape, &k->plan));
    k->slices = 0;
    return nf_moe_order_new(run, &n, c->chunks, &k->order);
}

static nf_status keep(nf_run *run, const void *conf, union nf_keep *keep)
{
    const struct nf_moe_conf *c = conf;
    const struct nf_moe_size n = nf_moe_size(run, c);
    struct nf_moe_keep *k = &keep->moe;

    NF_TRY(nf_layer_new(run, "moe expert rows", c->dtype, c->chunks * n.expanded, n.in, &k->rows));
    NF_TRY(nf_layer_new(run, "moe pre-activation", c->dtype, c->chunks * n.expanded, n.pre, &k->pre));
    k->shared_pre = (nf_tensor){0};
    if (c->shared_width)
        NF_TRY(nf_layer_new(run, "moe shared pre-activation", c->dtype, run->tokens,
                            nf_layer_pre_width(&c->shared_act, c->shared_width), &k->shared_pre));
    return NF_OK;
}

const struct nf_mixer nf_mixer_moe = {"moe", keep_always, keep, nf_moe_forward, nf_moe_backward};
