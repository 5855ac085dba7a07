/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slice on its way out.
 *
 * Messages between two ranks are matched by their order: every rank of ep walks the same slices in the same order, and both
 * sides know from the counts which messages are empty and are not sent. Receives are posted first; then each destination's rows
 * are packed and sent at once, the next rank first, so that not all begin with rank 0. What stays here is copied last, while
 * the rest travels. A group of one receives the sender's own rows if they are dense.
 */
#include "exchange.h"

#include <string.h>

/* One slice on its way: what all steps below need. */
struct trip {
    const nf_xplan *plan;
    const nf_exchange *x;
    const nf_group *ep;
    struct nf_window *w;
    struct nf_slice slice;
    struct nf_op *op;
    const char *rows;
    size_t stride, row; /* bytes */
    const float *side;
    int k;
    int32_t first, local; /* this rank's experts */
};

static int32_t to_local(int32_t id, int32_t first, int32_t local)
{
    return id >= first && id < first + local ? id - first : -1;
}

static const int32_t *list_to(const struct trip *t, int d)
{
    const nf_xplan *p = t->plan;
    return p->list + t->slice.chunk * p->chunk_tokens * p->slots + nf_xwindow_base(p, t->slice.chunk, d);
}

static void post_receives(const struct trip *t)
{
    for (int i = 1; i < t->ep->size; i++) {
        int s = (t->ep->rank + t->ep->size - i) % t->ep->size;
        struct nf_span in = nf_xwindow_received(t->plan, &t->slice, s);
        size_t n = (size_t)(in.end - in.begin), band = n * (size_t)t->k * sizeof(float);
        nf_op_recv(t->op, t->ep->comm, (char *)t->w->rows + (size_t)in.begin * t->row, n * t->row, s, NF_TAG_ROWS);
        if (t->side)
            nf_op_recv(t->op, t->ep->comm, t->w->side + in.begin * t->k, band, s, NF_TAG_SIDE);
        nf_op_recv(t->op, t->ep->comm, t->w->ids + in.begin * t->k, band, s, NF_TAG_IDS);
    }
}

/* Rows, sides and ids of n listed tokens. */
static void pack(const struct trip *t, const int32_t *token, int64_t n, char *rows, float *side, int32_t *ids, int32_t first)
{
    const int k = t->k;

    for (int64_t i = 0; i < n; i++)
        memcpy(rows + (size_t)i * t->row, t->rows + (size_t)token[i] * t->stride, t->row);
    for (int64_t i = 0; i < n && t->side; i++)
        memcpy(side + i * k, t->side + (int64_t)token[i] * k, (size_t)k * sizeof *side);
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            ids[i * k + j] = to_local(t->plan->ids[(int64_t)token[i] * k + j], first, t->local);
}

static void send_listed(const struct trip *t)
{
    int64_t at = 0;

    for (int i = 1; i < t->ep->size; i++) {
        int d = (t->ep->rank + i) % t->ep->size;
        struct nf_span out = nf_xwindow_sent(t->plan, &t->slice, d);
        int64_t n = out.end - out.begin;
        char *rows = (char *)t->w->packed + (size_t)at * t->row;
        float *side = t->w->packed_side + at * t->k;
        int32_t *ids = t->w->packed_ids + at * t->k;
        size_t band = (size_t)(n * t->k) * sizeof(float);
        pack(t, list_to(t, d) + out.begin, n, rows, side, ids, d * t->local);
        nf_op_send(t->op, t->ep->comm, rows, (size_t)n * t->row, d, NF_TAG_ROWS);
        if (t->side)
            nf_op_send(t->op, t->ep->comm, side, band, d, NF_TAG_SIDE);
        nf_op_send(t->op, t->ep->comm, ids, band, d, NF_TAG_IDS);
        at += n;
    }
    struct nf_span out = nf_xwindow_sent(t->plan, &t->slice, t->ep->rank);
    struct nf_span in = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    pack(t, list_to(t, t->ep->rank) + out.begin, out.end - out.begin, (char *)t->w->rows + (size_t)in.begin * t->row,
         t->w->side + in.begin * t->k, t->w->ids + in.begin * t->k, t->first);
}

static void copy_rows(char *to, const char *from, size_t stride, size_t row, int64_t n)
{
    if (stride == row) {
        memcpy(to, from, (size_t)n * row);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(to + (size_t)i * row, from + (size_t)i * stride, row);
}

/* Nothing is listed: the chunk as it lies goes to everybody; the receiver makes the ids its own. */
static void send_all(const struct trip *t)
{
    const int64_t n = t->slice.tokens, first = t->slice.token0;
    const char *rows = t->rows + (size_t)first * t->stride;
    const float *side = t->side ? t->side + first * t->k : NULL;
    const int32_t *ids = t->plan->ids + first * t->k;
    const size_t band = (size_t)(n * t->k) * sizeof(float);

    if (n == 0)
        return;
    if (t->stride != t->row) {
        copy_rows(t->w->packed, rows, t->stride, t->row, n);
        rows = t->w->packed;
    }
    for (int i = 1; i < t->ep->size; i++) {
        int d = (t->ep->rank + i) % t->ep->size;
        nf_op_send(t->op, t->ep->comm, rows, (size_t)n * t->row, d, NF_TAG_ROWS);
        if (side)
            nf_op_send(t->op, t->ep->comm, side, band, d, NF_TAG_SIDE);
        nf_op_send(t->op, t->ep->comm, ids, band, d, NF_TAG_IDS);
    }
    struct nf_span in = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    memcpy((char *)t->w->rows + (size_t)in.begin * t->row, rows, (size_t)n * t->row);
    if (side)
        memcpy(t->w->side + in.begin * t->k, side, band);
    memcpy(t->w->ids + in.begin * t->k, ids, band);
}

static bool filter_ids(struct nf_op *op)
{
    struct nf_filter_state *z = &op->u.filter;
    for (int64_t i = 0; i < z->count; i++)
        z->ids[i] = to_local(z->ids[i], z->first, z->experts);
    return true;
}

static nf_status travel(struct trip *t, nf_event *event)
{
    const bool all = nf_x_sends_all(t->ep, &t->plan->shape);
    const int64_t count = nf_xwindow_count(t->plan, &t->slice);

    NF_TRY(nf_op_new(t->x->mesh, 6 * (t->ep->size - 1), 0, &t->op));
    if (!t->side)
        memset(t->w->side, 0, (size_t)(count * t->k) * sizeof *t->w->side);
    post_receives(t);
    (all ? send_all : send_listed)(t);
    *t->w->count = (int32_t)count;
    t->op->u.filter = (struct nf_filter_state){t->w->ids, count * t->k, t->first, t->local};
    return nf_op_start(t->op, all ? filter_ids : NULL, event);
}

/* From device memory to device memory through the host, which waits. */
static nf_status travel_staged(nf_queue *queue, struct trip *t, nf_event *event)
{
    nf_event here;

    NF_TRY(nf_xdevice_down(queue, t->plan, &t->slice, &t->rows, &t->stride, &t->side));
    NF_TRY(travel(t, &here));
    NF_TRY(nf_event_host_wait(nf_queue_device(queue), here));
    return nf_xdevice_received(queue, t->w, nf_xwindow_count(t->plan, &t->slice), t->side != NULL, event);
}

/* A group of one: nothing travels, and what is dense is not even copied. */
static void stay(const struct trip *t)
{
    const int64_t n = t->slice.tokens, first = t->slice.token0;
    struct nf_received *r = &t->w->received;
    const char *rows = t->rows + (size_t)first * t->stride;

    if (t->stride != t->row)
        copy_rows(t->w->rows, rows, t->stride, t->row, n);
    r->rows = t->stride == t->row ? rows : t->w->rows;
    r->side = t->side ? t->side + first * t->k : t->x->zeros;
    r->ids = t->plan->ids + first * t->k;
    *t->w->count = (int32_t)n;
}

/* Bytes to others: by the counts, or evenly where there are none. */
static size_t bytes_out(const struct trip *t, bool only_counted)
{
    const size_t each = t->row + (size_t)t->k * (sizeof(int32_t) + (t->side ? sizeof(float) : 0));
    size_t n = 0;

    if (only_counted)
        return (size_t)(nf_x_even_rows(t->ep, &t->plan->shape, t->slice.tokens) * (double)each);
    for (int d = 0; d < t->ep->size; d++) {
        struct nf_span out = nf_xwindow_sent(t->plan, &t->slice, d);
        n += d == t->ep->rank ? 0 : (size_t)(out.end - out.begin);
    }
    return n * each;
}

nf_status nf_exchange_out(nf_queue *queue, nf_xplan *plan, int slice, const void *rows, int64_t ld, const float *side,
                          nf_event *event)
{
    nf_exchange *x = plan->x;
    struct nf_window *w = &x->window[x->outs & 1];
    const int local = nf_x_local_experts(x->ep, &plan->shape);
    const bool only_counted = nf_xplan_only_counted(queue, plan);
    struct trip t = {.plan = plan,
                     .x = x,
                     .ep = x->ep,
                     .w = w,
                     .slice = nf_xplan_slice(plan, slice),
                     .rows = rows,
                     .stride = (size_t)ld * nf_dtype_size(plan->shape.dtype),
                     .row = nf_x_row_bytes(&plan->shape),
                     .side = side,
                     .k = plan->shape.k,
                     .first = x->ep->rank * local,
                     .local = local};

    NF_CHECK(slice >= 0 && slice < plan->slices && ld >= plan->shape.width && (plan->counted || only_counted));
    nf_beat_call(x->ep, NF_CALL_OUT);
    NF_TRY(nf_queue_wait(queue, w->event)); /* its staging is free */
    x->outs++;
    w->plan = plan;
    w->slice = slice;
    w->event = *event = NF_DONE;
    w->received = (struct nf_received){
        .rows = w->rows, .side = w->side, .ids = w->ids, .count = w->count, .cap = nf_x_row_cap(x->ep, &plan->shape)};
    const size_t bytes = bytes_out(&t, only_counted);
    x->mesh->traffic.dispatch += bytes;
    nf_queue_count_sent(queue, (double)bytes);
    if (only_counted)
        return NF_OK;
    if (x->on_device)
        NF_TRY(x->ep->size == 1 ? nf_xdevice_stay(queue, plan, w, &t.slice, t.rows, t.stride, t.side, event)
                                : travel_staged(queue, &t, event));
    else if (x->ep->size == 1)
        stay(&t);
    else
        NF_TRY(travel(&t, event));
    w->event = *event;
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
