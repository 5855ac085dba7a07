/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xalone.c: the exchange of a group of one, on the host and on devices: everything goes to oneself, chunk by chunk, in order.
 * Nothing travels, what is dense is not even copied, and since the plan is known without counts nobody waits.
 */
#include "exchange.h"

/* out[i] = first + i step */
static nf_status ramp(nf_queue *queue, const nf_exchange *x, int32_t *out, int64_t n, int32_t first, int32_t step)
{
    if (x->on_device)
        return x->mesh->gpu->ramp(nf_queue_native(queue), out, n, first, step);
    for (int64_t i = 0; i < n; i++)
        out[i] = first + (int32_t)i * step;
    return NF_OK;
}

static nf_status counts(nf_queue *queue, nf_xplan *plan, nf_event *event)
{
    (void)event;
    if (!plan->x->on_device)
        NF_TRY(nf_xcounts_check(plan));
    for (int c = 0; c < plan->shape.chunks; c++) {
        const int64_t n = nf_xplan_chunk_rows(plan, c), cap = nf_x_row_cap(plan->x->ep, &plan->shape);
        plan->send[c] = plan->recv[c] = (int32_t)n;
        plan->before[c] = 0;
        plan->window[c] = cap > 0 ? cap : 1;
        plan->passes[c] = 1;
        NF_TRY(ramp(queue, plan->x, plan->where + nf_xplan_token0(plan, c), n, 0, 1));
    }
    return NF_OK;
}

static nf_status slices(nf_queue *queue, nf_xplan *plan)
{
    (void)queue;
    plan->slices = plan->shape.chunks;
    return NF_OK;
}

static nf_status out(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_rows *in = &t->x->at.in[t->turn];
    struct nf_received *r = &t->window->received;

    if (!t->side && !t->x->zeroed) {
        NF_TRY(nf_fill_zero(queue, t->x->zeros, t->x->most.zeros));
        t->x->zeroed = true;
    }
    if (t->stride != t->row)
        NF_TRY(nf_copy_2d(queue, in->rows, t->row, t->rows, t->stride, t->row, (size_t)t->slice.tokens));
    NF_TRY(ramp(queue, t->x, in->count, 1, (int32_t)t->slice.tokens, 0));
    r->rows = t->stride == t->row ? t->rows : in->rows;
    r->side = t->side ? t->side : t->x->zeros;
    r->ids = t->plan->given + t->slice.token0 * t->k;
    return nf_queue_record(queue, event);
}

static nf_status back(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_rows *home = &t->x->at.home[t->turn];

    NF_TRY(nf_copy(queue, home->rows, t->rows, (size_t)t->slice.tokens * t->row));
    if (t->side)
        NF_TRY(nf_copy(queue, home->side, t->side, (size_t)(t->slice.tokens * t->k) * sizeof *t->side));
    return nf_queue_record(queue, event);
}

const struct nf_xtransport nf_x_alone = {
    .name = "none",
    .host_counts = true,
    .counts = counts,
    .slices = slices,
    .out = out,
    .back = back,
};
