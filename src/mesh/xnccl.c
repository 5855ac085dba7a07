/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xnccl.c: the exchange on devices over NCCL's send and receive: for ranks that have a GPU each, on one node or many.
 *
 * Rows never see the host. A kernel gathers those that leave, a destination's after the other; one group of messages carries
 * them, their side bands and ids straight into the receivers' windows; there a kernel makes the ids the receiver's own. Partial
 * rows are sent home from where they lie. The layout is the one of the walk over MPI, and so are the bits.
 *
 * Counts go over the host. It waits twice a layer, for the ids and for the others' counts, and in no trip.
 */
#include "comm.h"
#include "exchange.h"

#include <stdlib.h>

enum { MESSAGES = 3 }; /* to one rank: rows, side, ids */

static nf_status commit(nf_exchange *x, nf_arena *run)
{
    struct nf_taker from = {run, NF_LOW, "exchange staging", NF_OK};

    nf_x_take_packed(x, &from);
    NF_TRY(from.status);
    if (x->nowhere)
        return NF_OK;
    x->nccl.out = calloc((size_t)(MESSAGES * x->ep->size), sizeof *x->nccl.out);
    x->nccl.in = calloc((size_t)(MESSAGES * x->ep->size), sizeof *x->nccl.in);
    return x->nccl.out && x->nccl.in ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the messages of the token exchange");
}

static void release(nf_exchange *x)
{
    free(x->nccl.out);
    free(x->nccl.in);
}

static nf_status counts(nf_queue *queue, nf_xplan *plan, nf_event *event)
{
    NF_TRY(nf_xdevice_ids(queue, plan));
    NF_TRY(nf_xcounts_start(plan, event));
    return nf_xdevice_lists(queue, plan);
}

/* Messages of one trip, in the order in which both sides see them. Empty ones are not sent, and not expected. */
struct letters {
    struct nf_gpu_message *at;
    int n;
};

static void add(struct letters *l, void *data, size_t bytes, int peer)
{
    if (bytes)
        l->at[l->n++] = (struct nf_gpu_message){data, bytes, peer};
}

/* n rows from `at` on, with what belongs to them. */
static void add_rows(struct letters *l, const struct nf_trip *t, const struct nf_rows *of, int64_t at, int64_t n, int peer)
{
    add(l, (char *)of->rows + (size_t)at * t->row, (size_t)n * t->row, peer);
    if (t->side)
        add(l, of->side + at * t->k, (size_t)(n * t->k) * sizeof *of->side, peer);
    if (of->ids)
        add(l, of->ids + at * t->k, (size_t)(n * t->k) * sizeof *of->ids, peer);
}

static nf_status post(nf_queue *queue, const struct nf_trip *t, const struct letters *going, const struct letters *coming)
{
    nf_gpu_peers *peers;

    NF_TRY(nf_comm_nccl_peers(t->ep, &peers));
    if (going->n + coming->n == 0)
        return NF_OK;
    return t->x->mesh->gpu->exchange(peers, nf_queue_native(queue), going->at, going->n, coming->at, coming->n);
}

/* n rows to place `to` of others, with what belongs to them: what one sends to oneself. */
static nf_status keep(nf_queue *queue, const struct nf_trip *t, const struct nf_rows *out, int64_t to,
                      const struct nf_rows *from, size_t stride, int64_t at, int64_t n)
{
    const size_t band = (size_t)(n * t->k) * sizeof(float);

    NF_TRY(nf_copy_2d(queue, (char *)out->rows + (size_t)to * t->row, t->row, (char *)from->rows + (size_t)at * stride, stride,
                      t->row, (size_t)n));
    if (t->side)
        NF_TRY(nf_copy(queue, out->side + to * t->k, from->side + at * t->k, band));
    return from->ids ? nf_copy(queue, out->ids + to * t->k, from->ids + at * t->k, band) : NF_OK;
}

static nf_status flush(nf_queue *queue, const struct nf_trip *t, struct nf_gpu_gather *g)
{
    if (g->segments)
        NF_TRY(t->x->mesh->gpu->gather(nf_queue_native(queue), g));
    g->segments = 0;
    return NF_OK;
}

/* A stretch of the list more; one that goes on where the last ended lengthens it. */
static nf_status gather(nf_queue *queue, const struct nf_trip *t, struct nf_gpu_gather *g, int64_t from, int64_t to, int64_t n)
{
    struct nf_gpu_segment *last = g->segments ? &g->segment[g->segments - 1] : NULL;

    if (n == 0)
        return NF_OK;
    if (last && last->from + last->rows == from && last->to + last->rows == to) {
        last->rows += (int32_t)n;
        return NF_OK;
    }
    if (g->segments == NF_GPU_SEGMENTS)
        NF_TRY(flush(queue, t, g));
    g->segment[g->segments++] = (struct nf_gpu_segment){(int32_t)from, (int32_t)to, (int32_t)n};
    return NF_OK;
}

/* Tokens by destination: those of others into staging, one's own into the window. */
static nf_status pack(nf_queue *queue, const struct nf_trip *t, struct letters *going)
{
    const struct nf_rows *packed = &t->x->at.packed[t->turn], *in = &t->x->at.in[t->turn];
    const nf_xplan *p = t->plan;
    struct nf_gpu_gather g = {.rows = t->rows,
                              .stride = t->stride,
                              .row = t->row,
                              .side = t->side,
                              .ids = p->given + t->slice.token0 * t->k,
                              .list = p->device_list + t->slice.chunk * p->chunk_tokens * p->slots,
                              .token0 = t->slice.token0,
                              .k = t->k,
                              .out_rows = packed->rows,
                              .out_side = packed->side,
                              .out_ids = packed->ids};
    int64_t at = 0;

    for (int i = 1; i <= t->ep->size; i++) { /* oneself last */
        const int d = (t->ep->rank + i) % t->ep->size;
        const struct nf_span sent = nf_xwindow_sent(p, &t->slice, d);
        const int64_t n = sent.end - sent.begin, from = nf_xwindow_base(p, t->slice.chunk, d) + sent.begin;
        if (d == t->ep->rank) {
            NF_TRY(flush(queue, t, &g));
            g.out_rows = in->rows;
            g.out_side = in->side;
            g.out_ids = in->ids;
            NF_TRY(gather(queue, t, &g, from, nf_xwindow_received(p, &t->slice, d).begin, n));
            break;
        }
        NF_TRY(gather(queue, t, &g, from, at, n));
        add_rows(going, t, packed, at, n, d);
        at += n;
    }
    return flush(queue, t, &g);
}

/* Nothing is listed: the chunk as it lies goes to everybody. */
static nf_status spread(nf_queue *queue, const struct nf_trip *t, struct letters *going)
{
    const int64_t n = t->slice.tokens;
    struct nf_rows lie = {(void *)t->rows, (float *)t->side, (int32_t *)t->plan->given + t->slice.token0 * t->k, NULL};

    NF_TRY(keep(queue, t, &t->x->at.in[t->turn], nf_xwindow_received(t->plan, &t->slice, t->ep->rank).begin, &lie, t->stride, 0,
                n));
    if (t->stride != t->row) {
        lie.rows = t->x->at.packed[t->turn].rows;
        NF_TRY(nf_copy_2d(queue, lie.rows, t->row, t->rows, t->stride, t->row, (size_t)n));
    }
    for (int i = 1; i < t->ep->size; i++)
        add_rows(going, t, &lie, 0, n, (t->ep->rank + i) % t->ep->size);
    return NF_OK;
}

static nf_status out(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_gpu_comm *gpu = t->x->mesh->gpu;
    const struct nf_rows *window = &t->x->at.in[t->turn];
    const int64_t count = nf_xwindow_count(t->plan, &t->slice);
    struct letters going = {.at = t->x->nccl.out}, coming = {.at = t->x->nccl.in};

    NF_TRY((nf_x_sends_all(t->ep, &t->plan->shape) ? spread : pack)(queue, t, &going));
    for (int i = 1; i < t->ep->size; i++) {
        const int s = (t->ep->rank + t->ep->size - i) % t->ep->size;
        const struct nf_span from = nf_xwindow_received(t->plan, &t->slice, s);
        add_rows(&coming, t, window, from.begin, from.end - from.begin, s);
    }
    NF_TRY(post(queue, t, &going, &coming));
    if (!t->side)
        NF_TRY(nf_fill_zero(queue, window->side, (size_t)(count * t->k) * sizeof *window->side));
    NF_TRY(gpu->localize(nf_queue_native(queue), window->ids, count * t->k, t->first, t->local));
    NF_TRY(gpu->ramp(nf_queue_native(queue), window->count, 1, (int32_t)count, 0));
    return nf_queue_record(queue, event);
}

static nf_status back(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_rows *home = &t->x->at.home[t->turn], partial = {.rows = (void *)t->rows, .side = (float *)t->side};
    struct letters going = {.at = t->x->nccl.out}, coming = {.at = t->x->nccl.in};

    for (int i = 0; i < t->ep->size; i++) {
        const int r = (t->ep->rank + i) % t->ep->size;
        const struct nf_span from = nf_xwindow_received(t->plan, &t->slice, r), sent = nf_xwindow_sent(t->plan, &t->slice, r);
        const int64_t place = nf_xwindow_base(t->plan, t->slice.chunk, r) + sent.begin;
        if (i == 0) {
            NF_TRY(keep(queue, t, home, place, &partial, t->row, from.begin, from.end - from.begin));
            continue;
        }
        add_rows(&going, t, &partial, from.begin, from.end - from.begin, r);
        add_rows(&coming, t, home, place, sent.end - sent.begin, r);
    }
    NF_TRY(post(queue, t, &going, &coming));
    return nf_queue_record(queue, event);
}

const struct nf_xtransport nf_x_nccl = {
    .name = "NCCL",
    .host_counts = true,
    .device_list = true,
    .commit = commit,
    .free = release,
    .counts = counts,
    .slices = nf_xcounts_slices,
    .out = out,
    .back = back,
};
