/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slice out and home, whoever carries it: whose turn it is in windows and homes, what may be overwritten, bytes counted.
 * Where counts are not on the host in time, the transport counts its bytes.
 */
#include "exchange.h"

static struct nf_trip trip_of(nf_xplan *plan, int slice)
{
    nf_exchange *x = plan->x;
    const int local = nf_x_local_experts(x->ep, &plan->shape);

    return (struct nf_trip){.x = x,
                            .plan = plan,
                            .ep = x->ep,
                            .slice = nf_xplan_slice(plan, slice),
                            .row = nf_x_row_bytes(&plan->shape),
                            .k = plan->shape.k,
                            .first = x->ep->rank * local,
                            .local = local};
}

/* Bytes to others, `each` a row: by the counts of rows that pass(), or evenly where nothing is counted. */
static size_t bytes_of(const struct nf_trip *t, size_t each, bool only_counted,
                       struct nf_span (*rows)(const nf_xplan *plan, const struct nf_slice *slice, int r))
{
    size_t n = 0;

    if (only_counted)
        return (size_t)(nf_x_even_rows(t->ep, &t->plan->shape, t->slice.tokens) * (double)each);
    for (int r = 0; r < t->ep->size && t->plan->via->host_counts; r++) {
        struct nf_span span = rows(t->plan, &t->slice, r);
        n += r == t->ep->rank ? 0 : (size_t)(span.end - span.begin);
    }
    return n * each;
}

nf_status nf_exchange_out(nf_queue *queue, nf_xplan *plan, int slice, const void *rows, int64_t ld, const float *side,
                          nf_event *event)
{
    nf_exchange *x = plan->x;
    struct nf_trip t = trip_of(plan, slice);
    const bool only_counted = nf_xplan_only_counted(queue, plan);
    const size_t band = (size_t)t.k * sizeof(float);

    NF_CHECK(slice >= 0 && slice < plan->slices && ld >= plan->shape.width && (plan->counted || only_counted));
    nf_beat_call(x->ep, NF_CALL_OUT);
    t.turn = (int)(x->outs & 1);
    t.window = &x->window[t.turn];
    t.stride = (size_t)ld * nf_dtype_size(plan->shape.dtype);
    NF_TRY(nf_queue_wait(queue, t.window->event)); /* its staging is free */
    x->outs++;
    t.window->plan = plan;
    t.window->slice = slice;
    t.window->event = *event = NF_DONE;
    const struct nf_rows *in = &x->at.in[t.turn];
    t.window->received = (struct nf_received){
        .rows = in->rows, .side = in->side, .ids = in->ids, .count = in->count, .cap = nf_x_row_cap(x->ep, &plan->shape)};
    const size_t bytes = bytes_of(&t, t.row + band + (side ? band : 0), only_counted, nf_xwindow_sent);
    x->mesh->traffic.dispatch += bytes;
    nf_queue_count_sent(queue, (double)bytes);
    if (only_counted)
        return NF_OK;
    t.rows = (const char *)rows + (size_t)t.slice.token0 * t.stride;
    t.side = side ? side + t.slice.token0 * t.k : NULL;
    NF_TRY(plan->via->out(queue, &t, event));
    t.window->event = *event;
    return NF_OK;
}

struct nf_received nf_xplan_received(const nf_xplan *plan, int slice)
{
    const nf_exchange *x = plan->x;
    for (unsigned i = 1; i <= 2; i++) { /* the latest first */
        const struct nf_window *w = &x->window[(x->outs - i) & 1];
        if (w->plan == plan && w->slice == slice)
            return w->received;
    }
    return (struct nf_received){0};
}

nf_status nf_exchange_back(nf_queue *queue, nf_xplan *plan, int slice, const void *rows, const float *side, nf_event *event)
{
    nf_exchange *x = plan->x;
    nf_event *slot = &x->back[x->backs & 1];
    struct nf_trip t = trip_of(plan, slice);
    const bool only_counted = nf_xplan_only_counted(queue, plan);

    NF_CHECK(slice >= 0 && slice < plan->slices && (plan->counted || only_counted));
    nf_beat_call(x->ep, NF_CALL_BACK);
    NF_TRY(nf_queue_wait(queue, *slot));
    x->backs++;
    if (t.slice.pass == 0)
        x->homes++;
    t.turn = (int)((x->homes - 1) & 1);
    struct nf_home *home = &x->home[t.turn];
    if (t.slice.pass == 0)
        *home = (struct nf_home){.plan = plan, .chunk = t.slice.chunk, .has_side = side != NULL};
    NF_CHECK(home->plan == plan && home->chunk == t.slice.chunk && home->has_side == (side != NULL));
    t.rows = rows;
    t.side = side;
    t.stride = t.row;
    const size_t bytes = bytes_of(&t, t.row + (side ? (size_t)t.k * sizeof *side : 0), only_counted, nf_xwindow_received);
    x->mesh->traffic.combine += bytes;
    nf_queue_count_sent(queue, (double)bytes);
    *slot = *event = NF_DONE;
    if (only_counted)
        return NF_OK;
    NF_TRY(plan->via->back(queue, &t, event));
    *slot = *event;
    return NF_OK;
}

struct nf_returned nf_xplan_returned(const nf_xplan *plan, int chunk)
{
    const nf_exchange *x = plan->x;
    struct nf_returned r = {.where = plan->where + nf_xplan_token0(plan, chunk) * plan->slots,
                            .slots = plan->slots,
                            .token0 = nf_xplan_token0(plan, chunk),
                            .tokens = nf_xplan_chunk_rows(plan, chunk)};

    for (unsigned i = 1; i <= 2; i++) {
        const unsigned turn = (x->homes - i) & 1;
        const struct nf_home *h = &x->home[turn];
        if (h->plan == plan && h->chunk == chunk) {
            r.rows = x->at.home[turn].rows;
            r.side = h->has_side ? x->at.home[turn].side : NULL;
            return r;
        }
    }
    return r;
}
