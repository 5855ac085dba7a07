/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slice on its way home over MPI, on memory of the host. Partial rows lie in the order of arrival, that is by sender: they
 * are sent where they lie, and come to rest at the place their token's row had in the sender's list. The passes of a chunk fill
 * the same returned buffer.
 */
#include "exchange.h"

#include <string.h>

static int64_t place(const struct nf_trip *t, int d, struct nf_span sent)
{
    return nf_xwindow_base(t->plan, t->slice.chunk, d) + sent.begin;
}

static void post(const struct nf_trip *t, const struct nf_rows *home, struct nf_op *op)
{
    const int ranks = t->ep->size;

    for (int i = 1; i < ranks; i++) {
        int d = (t->ep->rank + ranks - i) % ranks;
        struct nf_span sent = nf_xwindow_sent(t->plan, &t->slice, d);
        int64_t n = sent.end - sent.begin, at = place(t, d, sent);
        nf_op_recv(op, t->ep->comm, (char *)home->rows + (size_t)at * t->row, (size_t)n * t->row, d, NF_TAG_BACK_ROWS);
        if (t->side)
            nf_op_recv(op, t->ep->comm, home->side + at * t->k, (size_t)(n * t->k) * sizeof(float), d, NF_TAG_BACK_SIDE);
    }
    for (int i = 1; i < ranks; i++) {
        int s = (t->ep->rank + i) % ranks;
        struct nf_span in = nf_xwindow_received(t->plan, &t->slice, s);
        int64_t n = in.end - in.begin;
        nf_op_send(op, t->ep->comm, t->rows + (size_t)in.begin * t->row, (size_t)n * t->row, s, NF_TAG_BACK_ROWS);
        if (t->side)
            nf_op_send(op, t->ep->comm, t->side + in.begin * t->k, (size_t)(n * t->k) * sizeof(float), s, NF_TAG_BACK_SIDE);
    }
}

/* What was sent to oneself. */
static void copy_own(const struct nf_trip *t, const struct nf_rows *home)
{
    struct nf_span in = nf_xwindow_received(t->plan, &t->slice, t->ep->rank);
    int64_t n = in.end - in.begin, at = place(t, t->ep->rank, nf_xwindow_sent(t->plan, &t->slice, t->ep->rank));

    if (n == 0)
        return;
    memcpy((char *)home->rows + (size_t)at * t->row, t->rows + (size_t)in.begin * t->row, (size_t)n * t->row);
    if (t->side)
        memcpy(home->side + at * t->k, t->side + in.begin * t->k, (size_t)(n * t->k) * sizeof(float));
}

nf_status nf_xmpi_back(struct nf_trip *t, const struct nf_rows *home, nf_event *event)
{
    struct nf_op *op;

    NF_TRY(nf_op_new(t->x->mesh, 4 * (t->ep->size - 1), 0, &op));
    post(t, home, op);
    copy_own(t, home);
    return nf_op_start(op, NULL, event);
}
