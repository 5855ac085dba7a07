/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xstaged.c: the exchange on a device, over MPI through pinned memory of the host: for ranks that share a GPU. Rows of a slice
 * go down, travel there as on the host, and what arrives goes up to the device's windows. The host waits for the counts, and in
 * every trip until its queue has been drained and the messages are through.
 */
#include "exchange.h"

static void lay(nf_exchange *x, struct nf_pieces *p)
{
    for (int i = 0; i < 2; i++) {
        struct nf_rows *in = &x->staged.at.in[i], *packed = &x->staged.at.packed[i], *home = &x->staged.at.home[i];
        in->rows = nf_x_piece(p, x->most.rows);
        in->side = nf_x_piece(p, x->most.side);
        in->ids = nf_x_piece(p, x->most.side);
        in->count = nf_x_piece(p, sizeof *in->count);
        packed->rows = nf_x_piece(p, x->most.packed);
        packed->side = nf_x_piece(p, x->most.packed_side);
        packed->ids = nf_x_piece(p, x->most.packed_side);
        home->rows = nf_x_piece(p, x->most.home_rows);
        home->side = nf_x_piece(p, x->most.home_side);
    }
    x->staged.chunk.rows = nf_x_piece(p, x->most.chunk_rows > x->most.rows ? x->most.chunk_rows : x->most.rows);
    x->staged.chunk.side = nf_x_piece(p, x->most.chunk_side > x->most.side ? x->most.chunk_side : x->most.side);
}

static nf_status commit(nf_exchange *x, nf_arena *run)
{
    struct nf_pieces p = {0};

    (void)run;
    if (x->nowhere)
        return NF_OK;
    lay(x, &p);
    NF_TRY(nf_device_alloc_pinned(x->mesh->device, p.at, "staging of the token exchange", &x->staged.pinned));
    p = (struct nf_pieces){.base = x->staged.pinned};
    lay(x, &p);
    return NF_OK;
}

static void release(nf_exchange *x)
{
    nf_device_release(x->mesh->device, x->staged.pinned, 0);
}

static nf_status counts(nf_queue *queue, nf_xplan *plan, nf_event *event)
{
    NF_TRY(nf_xdevice_ids(queue, plan));
    NF_TRY(nf_xcounts_start(plan, event));
    return nf_xdevice_lists(queue, plan);
}

/* n rows that lie `stride` bytes apart, and their sides, into memory of the host; the trip goes on from there. */
static nf_status down(nf_queue *queue, struct nf_trip *t, int64_t n)
{
    const struct nf_rows *to = &t->x->staged.chunk;

    NF_TRY(nf_copy_2d(queue, to->rows, t->row, t->rows, t->stride, t->row, (size_t)n));
    if (t->side)
        NF_TRY(nf_copy(queue, to->side, t->side, (size_t)(n * t->k) * sizeof *t->side));
    NF_TRY(nf_queue_drain(queue));
    t->rows = to->rows;
    t->stride = t->row;
    t->side = t->side ? to->side : NULL;
    return NF_OK;
}

static nf_status out(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_rows *here = &t->x->staged.at.in[t->turn], *there = &t->x->at.in[t->turn];
    const size_t n = (size_t)nf_xwindow_count(t->plan, &t->slice), band = n * (size_t)t->k * sizeof(float);
    nf_event arrived;

    NF_TRY(down(queue, t, t->slice.tokens));
    NF_TRY(nf_xmpi_out(t, here, &t->x->staged.at.packed[t->turn], &arrived));
    NF_TRY(nf_event_host_wait(nf_queue_device(queue), arrived));
    NF_TRY(nf_copy(queue, there->rows, here->rows, n * t->row));
    NF_TRY(t->side ? nf_copy(queue, there->side, here->side, band) : nf_fill_zero(queue, there->side, band));
    NF_TRY(nf_copy(queue, there->ids, here->ids, band));
    NF_TRY(nf_copy(queue, there->count, here->count, sizeof *here->count));
    return nf_queue_record(queue, event);
}

/* The chunk's rows that are home by now go up; a later pass adds to them. */
static nf_status back(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_rows *here = &t->x->staged.at.home[t->turn], *there = &t->x->at.home[t->turn];
    const int64_t n = nf_xwindow_base(t->plan, t->slice.chunk, t->ep->size);
    nf_event arrived;

    NF_TRY(down(queue, t, nf_xwindow_count(t->plan, &t->slice)));
    NF_TRY(nf_xmpi_back(t, here, &arrived));
    NF_TRY(nf_event_host_wait(nf_queue_device(queue), arrived));
    NF_TRY(nf_copy(queue, there->rows, here->rows, (size_t)n * t->row));
    if (t->side)
        NF_TRY(nf_copy(queue, there->side, here->side, (size_t)(n * t->k) * sizeof *t->side));
    return nf_queue_record(queue, event);
}

const struct nf_xtransport nf_x_staged = {
    .name = "MPI, staged through the host",
    .host_counts = true,
    .commit = commit,
    .free = release,
    .counts = counts,
    .slices = nf_xcounts_slices,
    .out = out,
    .back = back,
};
