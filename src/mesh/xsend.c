/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slice on its way out over MPI, on memory of the host.
 *
 * Messages between two ranks are matched by their order: every rank of ep walks the same slices in the same order, and both
 * sides know from the counts which messages are empty and are not sent. Receives are posted first; then each destination's rows
 * are packed and sent at once, the next rank first, so that not all begin with rank 0. What stays here is copied last, while
 * the rest travels.
 */
#include "exchange.h"

#include <string.h>

/* What all steps below need. */
struct walk {
    const struct nf_trip *t;
    const struct nf_rows *in, *packed;
    struct nf_op *op;
};

static int32_t to_local(int32_t id, int32_t first, int32_t local)
{
    return id >= first && id < first + local ? id - first : -1;
}

static const int32_t *list_to(const struct nf_trip *t, int d)
{
    const nf_xplan *p = t->plan;
    return p->list + t->slice.chunk * p->chunk_tokens * p->slots + nf_xwindow_base(p, t->slice.chunk, d);
}

static void post_receives(const struct walk *w)
{
    const struct nf_trip *t = w->t;

    for (int i = 1; i < t->ep->size; i++) {
        int s = (t->ep->rank + t->ep->size - i) % t->ep->size;
        struct nf_span in = nf_xwindow_received(t->plan, &t->slice, s);
        size_t n = (size_t)(in.end - in.begin), band = n * (size_t)t->k * sizeof(float);
        nf_op_recv(w->op, t->ep->comm, (char *)w->in->rows + (size_t)in.begin * t->row, n * t->row, s, NF_TAG_ROWS);
        if (t->side)
            nf_op_recv(w->op, t->ep->comm, w->in->side + in.begin * t->k, band, s, NF_TAG_SIDE);
        nf_op_recv(w->op, t->ep->comm, w->in->ids + in.begin * t->k, band, s, NF_TAG_IDS);
    }
}

static void send_to(const struct walk *w, int d, int64_t n, const void *rows, const float *side, const int32_t *ids)
{
    const struct nf_trip *t = w->t;
    const size_t band = (size_t)(n * t->k) * sizeof(float);

    nf_op_send(w->op, t->ep->comm, rows, (size_t)n * t->row, d, NF_TAG_ROWS);
    if (t->side)
        nf_op_send(w->op, t->ep->comm, side, band, d, NF_TAG_SIDE);
    nf_op_send(w->op, t->ep->comm, ids, band, d, NF_TAG_IDS);
}

/* Rows, sides and ids of n listed tokens, from row `at` of `to` on; ids as those of the rank with experts from `first` on. */
static void pack(const struct nf_trip *t, const int32_t *token, int64_t n, const struct nf_rows *to, int64_t at, int32_t first)
{
    const int k = t->k;
    const int64_t token0 = t->slice.token0;
    char *rows = (char *)to->rows + (size_t)at * t->row;
    float *side = to->side + at * k;
    int32_t *ids = to->ids + at * k;

    for (int64_t i = 0; i < n; i++)
        memcpy(rows + (size_t)i * t->row, t->rows + (size_t)(token[i] - token0) * t->stride, t->row);
    for (int64_t i = 0; i < n && t->side; i++)
        memcpy(side + i * k, t->side + (token[i] - token0) * k, (size_t)k * sizeof *side);
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            ids[i * k + j] = to_local(t->plan->ids[(int64_t)token[i] * k + j], first, t->local);
}

static void send_listed(const struct walk *w)
{
    const struct nf_trip *t = w->t;
    int64_t at = 0;

    for (int i = 1; i < t->ep->size; i++) {
        int d = (t->ep->rank + i) % t->ep->size;
        struct nf_span out = nf_xwindow_sent(t->plan, &t->slice, d);
        int64_t n = out.end - out.begin;
        pack(t, list_to(t, d) + out.begin, n, w->packed, at, d * t->local);
        send_to(w, d, n, (char *)w->packed->rows + (size_t)at * t->row, w->packed->side + at * t->k,
                w->packed->ids + at * t->k);
        at += n;
    }
    struct nf_span out = nf_xwindow_sent(t->plan, &t->slice, t->ep->rank);
    struct nf_span in = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    pack(t, list_to(t, t->ep->rank) + out.begin, out.end - out.begin, w->in, in.begin, t->first);
}

/* Nothing is listed: the chunk as it lies goes to everybody; the receiver makes the ids its own. */
static void send_all(const struct walk *w)
{
    const struct nf_trip *t = w->t;
    const int64_t n = t->slice.tokens;
    const int32_t *ids = t->plan->ids + t->slice.token0 * t->k;
    const size_t band = (size_t)(n * t->k) * sizeof(float);
    const char *rows = t->rows;

    if (n == 0)
        return;
    if (t->stride != t->row) {
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)w->packed->rows + (size_t)i * t->row, rows + (size_t)i * t->stride, t->row);
        rows = w->packed->rows;
    }
    for (int i = 1; i < t->ep->size; i++)
        send_to(w, (t->ep->rank + i) % t->ep->size, n, rows, t->side, ids);
    struct nf_span in = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    memcpy((char *)w->in->rows + (size_t)in.begin * t->row, rows, (size_t)n * t->row);
    if (t->side)
        memcpy(w->in->side + in.begin * t->k, t->side, band);
    memcpy(w->in->ids + in.begin * t->k, ids, band);
}

static bool filter_ids(struct nf_op *op)
{
    struct nf_filter_state *z = &op->u.filter;
    for (int64_t i = 0; i < z->count; i++)
        z->ids[i] = to_local(z->ids[i], z->first, z->experts);
    return true;
}

nf_status nf_xmpi_out(struct nf_trip *t, const struct nf_rows *in, const struct nf_rows *packed, nf_event *event)
{
    const bool all = nf_x_sends_all(t->ep, &t->plan->shape);
    const int64_t count = nf_xwindow_count(t->plan, &t->slice);
    struct walk w = {.t = t, .in = in, .packed = packed};

    NF_TRY(nf_op_new(t->x->mesh, 6 * (t->ep->size - 1), 0, &w.op));
    if (!t->side)
        memset(in->side, 0, (size_t)(count * t->k) * sizeof *in->side);
    post_receives(&w);
    (all ? send_all : send_listed)(&w);
    *in->count = (int32_t)count;
    w.op->u.filter = (struct nf_filter_state){in->ids, count * t->k, t->first, t->local};
    return nf_op_start(w.op, all ? filter_ids : NULL, event);
}
