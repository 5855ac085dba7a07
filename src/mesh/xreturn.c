/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slice on its way home. Partial rows lie in the order of arrival, that is by sender: they are sent where they lie, and
 * come to rest at the place their token's row had in the sender's list. The passes of a chunk fill the same returned buffer.
 */
#include "exchange.h"

#include <string.h>

struct trip {
    const nf_xplan *plan;
    const nf_group *ep;
    struct nf_home *home;
    struct nf_slice slice;
    struct nf_op *op;
    const char *rows;
    const float *side;
    size_t row; /* bytes */
    int k;
};

static int64_t place(const struct trip *t, int d, struct nf_span sent)
{
    return nf_xwindow_base(t->plan, t->slice.chunk, d) + sent.begin;
}

static void post(const struct trip *t)
{
    const int ranks = t->ep->size;

    for (int i = 1; i < ranks; i++) {
        int d = (t->ep->rank + ranks - i) % ranks;
        struct nf_span sent = nf_xwindow_sent(t->plan, &t->slice, d);
        int64_t n = sent.end - sent.begin, at = place(t, d, sent);
        nf_op_recv(t->op, t->ep->comm, (char *)t->home->rows + (size_t)at * t->row, (size_t)n * t->row, d, NF_TAG_BACK_ROWS);
        if (t->side)
            nf_op_recv(t->op, t->ep->comm, t->home->side + at * t->k, (size_t)(n * t->k) * sizeof(float), d, NF_TAG_BACK_SIDE);
    }
    for (int i = 1; i < ranks; i++) {
        int s = (t->ep->rank + i) % ranks;
        struct nf_span in = nf_xwindow_received(t->plan, &t->slice, s);
        int64_t n = in.end - in.begin;
        nf_op_send(t->op, t->ep->comm, t->rows + (size_t)in.begin * t->row, (size_t)n * t->row, s, NF_TAG_BACK_ROWS);
        if (t->side)
            nf_op_send(t->op, t->ep->comm, t->side + in.begin * t->k, (size_t)(n * t->k) * sizeof(float), s, NF_TAG_BACK_SIDE);
    }
}

/* What was sent to oneself; in a group of one that is all. */
static void copy_own(const struct trip *t)
{
    struct nf_span in = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    int64_t n = in.end - in.begin, at = place(t, t->ep->rank, nf_xwindow_sent(t->plan, &t->slice, t->ep->rank));

    if (n == 0)
        return;
    memcpy((char *)t->home->rows + (size_t)at * t->row, t->rows + (size_t)in.begin * t->row, (size_t)n * t->row);
    if (t->side)
        memcpy(t->home->side + at * t->k, t->side + in.begin * t->k, (size_t)(n * t->k) * sizeof(float));
}

static size_t bytes_back(const struct trip *t, bool only_counted)
{
    const size_t each = t->row + (t->side ? (size_t)t->k * sizeof(float) : 0);

    if (only_counted)
        return (size_t)(nf_x_even_rows(t->ep, &t->plan->shape, t->slice.tokens) * (double)each);
    struct nf_span own = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    return (size_t)(nf_xwindow_count(t->plan, &t->slice) - (own.end - own.begin)) * each;
}

static nf_status travel(struct trip *t, nf_event *event)
{
    if (t->ep->size > 1) {
        NF_TRY(nf_op_new(t->plan->x->mesh, 4 * (t->ep->size - 1), 0, &t->op));
        post(t);
    }
    copy_own(t);
    return t->ep->size > 1 ? nf_op_start(t->op, NULL, event) : NF_OK;
}

/* From device memory to device memory through the host, which waits. */
static nf_status travel_staged(nf_queue *queue, struct trip *t, nf_event *event)
{
    nf_event here;

    NF_TRY(nf_xdevice_partial(queue, t->plan, nf_xwindow_count(t->plan, &t->slice), &t->rows, &t->side));
    NF_TRY(travel(t, &here));
    NF_TRY(nf_event_host_wait(nf_queue_device(queue), here));
    return nf_xdevice_home(queue, t->plan, t->home, event);
}

nf_status nf_exchange_back(nf_queue *queue, nf_xplan *plan, int slice, const void *rows, const float *side, nf_event *event)
{
    nf_exchange *x = plan->x;
    nf_event *slot = &x->back[x->backs & 1];
    const bool only_counted = nf_xplan_only_counted(queue, plan);
    struct trip t = {.plan = plan,
                     .ep = x->ep,
                     .slice = nf_xplan_slice(plan, slice),
                     .rows = rows,
                     .side = side,
                     .row = nf_x_row_bytes(&plan->shape),
                     .k = plan->shape.k};

    NF_CHECK(slice >= 0 && slice < plan->slices && (plan->counted || only_counted));
    nf_beat_call(x->ep, NF_CALL_BACK);
    NF_TRY(nf_queue_wait(queue, *slot));
    x->backs++;
    if (t.slice.pass == 0)
        x->homes++;
    t.home = &x->home[(x->homes - 1) & 1];
    if (t.slice.pass == 0) {
        t.home->plan = plan;
        t.home->chunk = t.slice.chunk;
        t.home->has_side = side != NULL;
    }
    NF_CHECK(t.home->plan == plan && t.home->chunk == t.slice.chunk && t.home->has_side == (side != NULL));
    const size_t bytes = bytes_back(&t, only_counted);
    x->mesh->traffic.combine += bytes;
    nf_queue_count_sent(queue, (double)bytes);
    *slot = *event = NF_DONE;
    if (only_counted)
        return NF_OK;
    if (x->on_device)
        NF_TRY(x->ep->size == 1 ? nf_xdevice_return(queue, plan, t.home, &t.slice, rows, side, event)
                                : travel_staged(queue, &t, event));
    else
        NF_TRY(travel(&t, event));
    *slot = *event;
    return NF_OK;
}

struct nf_returned nf_xplan_returned(const nf_xplan *plan, int chunk)
{
    const nf_exchange *x = plan->x;
    const int32_t *where = x->on_device ? plan->device_where : plan->where;
    struct nf_returned r = {.where = where + nf_xplan_token0(plan, chunk) * plan->slots,
                            .slots = plan->slots,
                            .token0 = nf_xplan_token0(plan, chunk),
                            .tokens = nf_xplan_chunk_rows(plan, chunk)};

    for (unsigned i = 1; i <= 2; i++) {
        const struct nf_home *h = &x->home[(x->homes - i) & 1];
        if (h->plan == plan && h->chunk == chunk) {
            r.rows = x->on_device ? h->on.rows : h->rows;
            r.side = !h->has_side ? NULL : x->on_device ? h->on.side : h->side;
            return r;
        }
    }
    return r;
}
