/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xdevice.c: plans of an exchange on a device. A plan has two halves: what layers read on the device's arena, and the rest in
 * pinned memory of the host, which is found again by the address that the arena gave. Two plans that live at once never have
 * one address, so what is found belongs to the dead.
 */
#include "exchange.h"

#include <stdlib.h>

struct nf_xhost {
    struct nf_xhost *next;
    const void *address;
    nf_xplan plan;
    void *memory; /* pinned */
    size_t bytes;
};

void *nf_x_piece(struct nf_pieces *p, size_t bytes)
{
    void *out = p->base ? p->base + p->at : NULL;
    p->at += (bytes + NF_ALIGN - 1) / NF_ALIGN * NF_ALIGN;
    return out;
}

void nf_xdevice_free(nf_exchange *x)
{
    for (struct nf_xhost *h = x->hosts, *after; h; h = after) {
        after = h->next;
        nf_device_release(x->mesh->device, h->memory, h->bytes);
        free(h);
    }
}

static void lay(const nf_exchange *x, const struct nf_xshape *shape, nf_xplan *plan, struct nf_pieces *p)
{
    const size_t word = sizeof(int32_t), chunks = (size_t)shape->chunks, pairs = chunks * (size_t)x->ep->size;
    const size_t places = chunks * (size_t)(nf_x_chunk_tokens(shape) * nf_x_return_slots(x->ep, shape));

    plan->send = nf_x_piece(p, pairs * word);
    plan->recv = nf_x_piece(p, pairs * word);
    plan->before = nf_x_piece(p, pairs * word);
    plan->window = nf_x_piece(p, chunks * sizeof *plan->window);
    plan->passes = nf_x_piece(p, chunks * word);
    if (x->ep->size == 1 || !nf_x_transport(x, shape)->host_counts)
        return;
    plan->host_where = nf_x_piece(p, places * word);
    plan->list = nf_x_sends_all(x->ep, shape) ? NULL : nf_x_piece(p, places * word);
    plan->own_ids = nf_x_piece(p, (size_t)shape->tokens * (size_t)shape->k * word);
}

/* The half at this address: of the plan that lay there before, or new. */
static nf_status half(nf_exchange *x, const void *address, struct nf_xhost **found)
{
    struct nf_xhost *h = x->hosts;

    while (h && h->address != address)
        h = h->next;
    *found = h;
    if (h)
        return NF_OK;
    h = calloc(1, sizeof *h);
    if (!h)
        return nf_fail(NF_ENOMEM, "no memory for a plan of the token exchange");
    h->address = address;
    h->next = x->hosts;
    *found = x->hosts = h;
    return NF_OK;
}

/* Windows that may overflow leave room for it: the forward is then repeated over a transport that may want it. */
static bool needs_list(const nf_exchange *x, const struct nf_xshape *shape)
{
    const struct nf_xtransport *via = nf_x_windowed(x, shape) && x->may_overflow ? nf_x_by_counts(x) : nf_x_transport(x, shape);
    return via->device_list && !nf_x_sends_all(x->ep, shape);
}

nf_status nf_xdevice_plan(nf_exchange *x, struct nf_taker *from, const struct nf_xshape *shape, bool dry, nf_xplan **plan)
{
    const size_t places = (size_t)shape->chunks * (size_t)(nf_x_chunk_tokens(shape) * nf_x_return_slots(x->ep, shape));
    struct nf_pieces need = {0}, lie;
    struct nf_xhost *h;
    nf_xplan sizes;
    void *address;

    NF_TRY(nf_xplan_header(x, from, dry, &address, plan));
    int32_t *where = nf_x_take(from, places * sizeof *where), *list = NULL, *table = NULL;
    if (needs_list(x, shape))
        list = nf_x_take(from, places * sizeof *list);
    if (nf_x_windowed(x, shape))
        table = nf_x_take(from, nf_xpeer_table_bytes(x->ep, shape));
    NF_TRY(from->status);
    if (dry)
        return NF_OK;
    NF_TRY(half(x, address, &h));
    lay(x, shape, &sizes, &need);
    if (need.at > h->bytes) {
        nf_device_release(x->mesh->device, h->memory, h->bytes);
        h->bytes = 0;
        NF_TRY(nf_device_alloc_pinned(x->mesh->device, need.at, "plan of the token exchange", &h->memory));
        h->bytes = need.at;
    }
    h->plan = (nf_xplan){.where = where, .device_list = list, .table = table};
    lie = (struct nf_pieces){.base = h->memory};
    lay(x, shape, &h->plan, &lie);
    *plan = &h->plan;
    return NF_OK;
}

nf_status nf_xdevice_ids(nf_queue *queue, nf_xplan *plan)
{
    plan->ids = plan->own_ids;
    NF_TRY(nf_copy(queue, plan->own_ids, plan->given, (size_t)plan->tokens * (size_t)plan->shape.k * sizeof *plan->given));
    return nf_queue_drain(queue);
}

nf_status nf_xdevice_lists(nf_queue *queue, nf_xplan *plan)
{
    const size_t places = (size_t)plan->shape.chunks * (size_t)(plan->chunk_tokens * plan->slots);

    if (plan->device_list)
        NF_TRY(nf_copy(queue, plan->device_list, plan->list, places * sizeof *plan->list));
    return nf_copy(queue, plan->where, plan->host_where, (size_t)(plan->tokens * plan->slots) * sizeof *plan->where);
}
