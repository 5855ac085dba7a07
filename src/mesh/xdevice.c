/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xdevice.c: the exchange where rows lie on a device. Rows of a slice go down to pinned memory, travel there as on the host,
 * and what arrives goes up to the device's windows; the queue is drained before the host reads or writes its staging. A group
 * of one stays on the device: its plan is known without counts, and no host waits.
 *
 * A plan has two halves: `device_where` on the device's arena, and the rest in the host's memory, which is found again by the
 * address that the arena gave. Two plans that live at once never have one address, so what is found belongs to the dead.
 */
#include "exchange.h"

#include <stdlib.h>
#include <string.h>

struct nf_xhost {
    struct nf_xhost *next;
    const void *address;
    nf_xplan plan;
    void *memory; /* pinned */
    size_t bytes;
};

/* Pieces of one block; with base NULL only their sum. */
struct pieces {
    char *base;
    size_t at;
};

static void *piece(struct pieces *p, size_t bytes)
{
    void *out = p->base ? p->base + p->at : NULL;
    p->at += (bytes + NF_ALIGN - 1) / NF_ALIGN * NF_ALIGN;
    return out;
}

static void lay_windows(nf_exchange *x, struct pieces *p)
{
    for (int i = 0; i < 2; i++) {
        struct nf_window *w = &x->window[i];
        w->rows = piece(p, x->most.rows);
        w->side = piece(p, x->most.side);
        w->ids = piece(p, x->most.side);
        w->count = piece(p, sizeof *w->count);
        w->packed = piece(p, x->most.packed);
        w->packed_side = piece(p, x->most.packed_side);
        w->packed_ids = piece(p, x->most.packed_side);
        x->home[i].rows = piece(p, x->most.home_rows);
        x->home[i].side = piece(p, x->most.home_side);
    }
    x->counts = piece(p, x->most.counts);
    /* what goes down: rows that leave, or partial rows that return */
    x->chunk_rows = piece(p, x->most.chunk_rows > x->most.rows ? x->most.chunk_rows : x->most.rows);
    x->chunk_side = piece(p, x->most.chunk_side > x->most.side ? x->most.chunk_side : x->most.side);
}

nf_status nf_xdevice_commit(nf_exchange *x, nf_arena *run)
{
    struct nf_taker windows = {run, NF_LOW, "exchange windows", NF_OK};
    struct pieces p = {0};

    for (int i = 0; i < 2; i++) {
        struct nf_device_rows *w = &x->window[i].on, *h = &x->home[i].on;
        w->rows = nf_x_take(&windows, x->most.rows);
        w->side = nf_x_take(&windows, x->most.side);
        w->ids = nf_x_take(&windows, x->most.side);
        w->count = nf_x_take(&windows, sizeof *w->count);
        h->rows = nf_x_take(&windows, x->most.home_rows);
        h->side = nf_x_take(&windows, x->most.home_side);
    }
    x->zeros = nf_x_take(&windows, x->most.zeros); /* device memory begins as zeros, and nobody writes here */
    NF_TRY(windows.status);
    if (x->nowhere || x->ep->size == 1)
        return NF_OK;
    lay_windows(x, &p);
    NF_TRY(nf_device_alloc_pinned(x->mesh->device, p.at, "staging of the token exchange", &x->pinned));
    p = (struct pieces){.base = x->pinned};
    lay_windows(x, &p);
    return NF_OK;
}

void nf_xdevice_free(nf_exchange *x)
{
    for (struct nf_xhost *h = x->hosts, *after; h; h = after) {
        after = h->next;
        nf_device_release(x->mesh->device, h->memory, h->bytes);
        free(h);
    }
    nf_device_release(x->mesh->device, x->pinned, 0);
}

static void lay_plan(const nf_exchange *x, const struct nf_xshape *shape, nf_xplan *plan, struct pieces *p)
{
    const size_t word = sizeof(int32_t), chunks = (size_t)shape->chunks, pairs = chunks * (size_t)x->ep->size;
    const size_t places = chunks * (size_t)(nf_x_chunk_tokens(shape) * nf_x_return_slots(x->ep, shape));

    plan->send = piece(p, pairs * word);
    plan->recv = piece(p, pairs * word);
    plan->before = piece(p, pairs * word);
    plan->window = piece(p, chunks * sizeof *plan->window);
    plan->passes = piece(p, chunks * word);
    if (x->ep->size == 1)
        return;
    plan->where = piece(p, places * word);
    plan->list = nf_x_sends_all(x->ep, shape) ? NULL : piece(p, places * word);
    plan->own_ids = piece(p, (size_t)shape->tokens * (size_t)shape->k * word);
}

nf_status nf_xdevice_plan(nf_exchange *x, void *address, const struct nf_xshape *shape, nf_xplan **plan)
{
    struct pieces need = {0}, lie;
    struct nf_xhost *h = x->hosts;
    nf_xplan sizes;

    while (h && h->address != address)
        h = h->next;
    if (!h) {
        h = calloc(1, sizeof *h);
        if (!h)
            return nf_fail(NF_ENOMEM, "no memory for a plan of the token exchange");
        h->address = address;
        h->next = x->hosts;
        x->hosts = h;
    }
    lay_plan(x, shape, &sizes, &need);
    if (need.at > h->bytes) {
        nf_device_release(x->mesh->device, h->memory, h->bytes);
        h->bytes = 0;
        NF_TRY(nf_device_alloc_pinned(x->mesh->device, need.at, "plan of the token exchange", &h->memory));
        h->bytes = need.at;
    }
    h->plan = (nf_xplan){.x = x};
    lie = (struct pieces){.base = h->memory};
    lay_plan(x, shape, &h->plan, &lie);
    *plan = &h->plan;
    return NF_OK;
}

/* Everything goes to oneself: chunk by chunk, in order. */
static nf_status alone(nf_queue *queue, nf_xplan *plan)
{
    const int64_t cap = nf_x_row_cap(plan->x->ep, &plan->shape);

    for (int c = 0; c < plan->shape.chunks; c++) {
        const int64_t n = nf_xplan_chunk_rows(plan, c);
        plan->send[c] = plan->recv[c] = (int32_t)n;
        plan->before[c] = 0;
        plan->window[c] = cap > 0 ? cap : 1;
        plan->passes[c] = 1;
        NF_TRY(plan->x->mesh->gpu->ramp(nf_queue_native(queue), plan->device_where + nf_xplan_token0(plan, c), n, 0, 1));
    }
    plan->counted = true;
    return NF_OK;
}

nf_status nf_xdevice_counts(nf_queue *queue, nf_xplan *plan, const int32_t *ids)
{
    plan->device_ids = ids;
    if (plan->x->ep->size == 1)
        return alone(queue, plan);
    plan->ids = plan->own_ids;
    NF_TRY(nf_copy(queue, plan->own_ids, ids, (size_t)plan->tokens * (size_t)plan->shape.k * sizeof *ids));
    return nf_queue_drain(queue);
}

nf_status nf_xdevice_where(nf_queue *queue, nf_xplan *plan)
{
    return nf_copy(queue, plan->device_where, plan->where, (size_t)(plan->tokens * plan->slots) * sizeof *plan->where);
}

nf_status nf_xdevice_down(nf_queue *queue, const nf_xplan *plan, const struct nf_slice *slice, const char **rows,
                          size_t *stride, const float **side)
{
    const nf_exchange *x = plan->x;
    const size_t row = nf_x_row_bytes(&plan->shape), n = (size_t)slice->tokens, first = (size_t)slice->token0;
    const size_t k = (size_t)plan->shape.k;

    NF_TRY(nf_copy_2d(queue, x->chunk_rows, row, *rows + first * *stride, *stride, row, n));
    if (*side)
        NF_TRY(nf_copy(queue, x->chunk_side, *side + first * k, n * k * sizeof **side));
    NF_TRY(nf_queue_drain(queue));
    /* the walk counts tokens from the layer's first: the same numbers reach the same rows here */
    *rows = (const char *)((uintptr_t)x->chunk_rows - first * row);
    *stride = row;
    if (*side)
        *side = (const float *)((uintptr_t)x->chunk_side - first * k * sizeof **side);
    return NF_OK;
}

nf_status nf_xdevice_received(nf_queue *queue, struct nf_window *w, int64_t count, bool side, nf_event *event)
{
    const struct nf_xshape *shape = &w->plan->shape;
    const size_t band = (size_t)(count * shape->k) * sizeof(float);

    NF_TRY(nf_copy(queue, w->on.rows, w->rows, (size_t)count * nf_x_row_bytes(shape)));
    NF_TRY(side ? nf_copy(queue, w->on.side, w->side, band) : nf_fill_zero(queue, w->on.side, band));
    NF_TRY(nf_copy(queue, w->on.ids, w->ids, band));
    NF_TRY(nf_copy(queue, w->on.count, w->count, sizeof *w->count));
    w->received = (struct nf_received){
        .rows = w->on.rows, .side = w->on.side, .ids = w->on.ids, .count = w->on.count, .cap = w->received.cap};
    return nf_queue_record(queue, event);
}

nf_status nf_xdevice_partial(nf_queue *queue, const nf_xplan *plan, int64_t count, const char **rows, const float **side)
{
    const nf_exchange *x = plan->x;

    NF_TRY(nf_copy(queue, x->chunk_rows, *rows, (size_t)count * nf_x_row_bytes(&plan->shape)));
    if (*side)
        NF_TRY(nf_copy(queue, x->chunk_side, *side, (size_t)(count * plan->shape.k) * sizeof **side));
    NF_TRY(nf_queue_drain(queue));
    *rows = x->chunk_rows;
    if (*side)
        *side = x->chunk_side;
    return NF_OK;
}

/* The chunk's rows that are home by now; a later pass adds to them. */
nf_status nf_xdevice_home(nf_queue *queue, const nf_xplan *plan, struct nf_home *home, nf_event *event)
{
    const int64_t n = nf_xwindow_base(plan, home->chunk, plan->x->ep->size);

    NF_TRY(nf_copy(queue, home->on.rows, home->rows, (size_t)n * nf_x_row_bytes(&plan->shape)));
    if (home->has_side)
        NF_TRY(nf_copy(queue, home->on.side, home->side, (size_t)(n * plan->shape.k) * sizeof(float)));
    return nf_queue_record(queue, event);
}

nf_status nf_xdevice_stay(nf_queue *queue, const nf_xplan *plan, struct nf_window *w, const struct nf_slice *slice,
                          const char *rows, size_t stride, const float *side, nf_event *event)
{
    const size_t row = nf_x_row_bytes(&plan->shape);
    const char *from = rows + (size_t)slice->token0 * stride;
    const int k = plan->shape.k;

    if (stride != row)
        NF_TRY(nf_copy_2d(queue, w->on.rows, row, from, stride, row, (size_t)slice->tokens));
    NF_TRY(plan->x->mesh->gpu->ramp(nf_queue_native(queue), w->on.count, 1, (int32_t)slice->tokens, 0));
    w->received = (struct nf_received){.rows = stride == row ? from : w->on.rows,
                                       .side = side ? side + slice->token0 * k : plan->x->zeros,
                                       .ids = plan->device_ids + slice->token0 * k,
                                       .count = w->on.count,
                                       .cap = w->received.cap};
    return nf_queue_record(queue, event);
}

nf_status nf_xdevice_return(nf_queue *queue, const nf_xplan *plan, struct nf_home *home, const struct nf_slice *slice,
                            const char *rows, const float *side, nf_event *event)
{
    NF_TRY(nf_copy(queue, home->on.rows, rows, (size_t)slice->tokens * nf_x_row_bytes(&plan->shape)));
    if (side)
        NF_TRY(nf_copy(queue, home->on.side, side, (size_t)(slice->tokens * plan->shape.k) * sizeof *side));
    return nf_queue_record(queue, event);
}
