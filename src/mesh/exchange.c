/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange's buffers: for the largest of the shapes that were reserved, two of each. A window is what a receiver needs for
 * one slice, a home what a chunk comes back to; both are common to all transports. What a sender needs is its transport's. A
 * group of one needs windows only for rows that are not dense.
 */
#include "exchange.h"

#include <stdlib.h>

#include "nemafit/log.h"

nf_status nf_exchange_new(const nf_mesh *mesh, nf_exchange **result)
{
    nf_exchange *x = calloc(1, sizeof *x);
    if (!x)
        return nf_fail(NF_ENOMEM, "no memory for the token exchange");
    x->ep = nf_mesh_group(mesh, NF_EP);
    x->mesh = x->ep->mesh;
    x->on_device = nf_device_kind(mesh->device) == NF_CUDA;
    *result = x;
    return NF_OK;
}

const struct nf_xtransport *nf_x_by_counts(const nf_exchange *x)
{
    return x->mesh->shares_gpu ? &nf_x_staged : &nf_x_nccl;
}

bool nf_x_windowed(const nf_exchange *x, const struct nf_xshape *shape)
{
    return shape->dispatch == NF_FUSED && x->on_device && x->ep->size > 1 && x->mesh->windows;
}

const struct nf_xtransport *nf_x_transport(const nf_exchange *x, const struct nf_xshape *shape)
{
    if (shape->dispatch == NF_FUSED && !x->on_device)
        return NULL;
    if (x->ep->size == 1)
        return &nf_x_alone;
    if (!x->on_device)
        return &nf_x_host;
    return nf_x_windowed(x, shape) && !x->by_host ? &nf_x_peer : nf_x_by_counts(x);
}

void *nf_x_take(struct nf_taker *from, size_t bytes)
{
    void *p = NULL;
    if (from->status == NF_OK)
        from->status = nf_arena_get(from->arena, from->end, bytes, from->what, &p);
    return p;
}

void nf_x_take_packed(nf_exchange *x, struct nf_taker *from)
{
    for (int i = 0; i < 2; i++) {
        struct nf_rows *packed = &x->at.packed[i];
        packed->rows = nf_x_take(from, x->most.packed);
        packed->side = nf_x_take(from, x->most.packed_side);
        packed->ids = nf_x_take(from, x->most.packed_side);
    }
}

static void enlarge(size_t *most, size_t bytes)
{
    *most = bytes > *most ? bytes : *most;
}

static void use(nf_exchange *x, const struct nf_xtransport *via)
{
    int i = 0;
    while (i < NF_X_TRANSPORTS && x->used[i] && x->used[i] != via)
        i++;
    if (i < NF_X_TRANSPORTS)
        x->used[i] = via;
}

/* Whatever the routing is. */
static bool sure_to_fit(const nf_group *ep, const struct nf_xshape *shape)
{
    const struct nf_xshape all = {
        .tokens = shape->tokens, .k = shape->k, .experts = shape->experts, .chunks = shape->chunks, .dispatch = NF_ALLGATHER};

    return nf_x_row_cap(ep, shape) >= nf_x_row_cap(ep, &all) &&
           nf_x_expert_rows_cap(ep, shape) >= nf_x_expert_rows_cap(ep, &all);
}

void nf_exchange_reserve(nf_exchange *x, const struct nf_xshape *shape)
{
    const size_t row = nf_x_row_bytes(shape), band = (size_t)shape->k * sizeof(float);
    const size_t tokens = (size_t)nf_x_chunk_tokens(shape), cap = (size_t)nf_x_row_cap(x->ep, shape);
    const size_t home = tokens * (size_t)nf_x_return_slots(x->ep, shape), packed = (size_t)nf_x_packed_rows(x->ep, shape);
    const size_t ranks = (size_t)x->ep->size;

    use(x, nf_x_transport(x, shape));
    x->detour = x->detour || (shape->dispatch == NF_FUSED && ranks > 1 && !nf_x_windowed(x, shape));
    if (x->used[0] == &nf_x_peer && !sure_to_fit(x->ep, shape)) {
        x->may_overflow = true;
        use(x, nf_x_by_counts(x)); /* what repeats a forward */
    }
    enlarge(&x->most.tiles, (size_t)nf_window_tiles(nf_x_chunk_tokens(shape), shape->chunks) * ranks * 2 * sizeof(int32_t));
    enlarge(&x->most.rows, cap * row);
    enlarge(&x->most.home_rows, home * row);
    enlarge(&x->most.home_side, home * band);
    if (ranks == 1) {
        enlarge(&x->most.zeros, tokens * band);
        return;
    }
    enlarge(&x->most.counts, ranks * ranks * (size_t)shape->chunks * 2 * sizeof(int32_t));
    enlarge(&x->most.side, cap * band);
    enlarge(&x->most.chunk_rows, tokens * row);
    enlarge(&x->most.chunk_side, tokens * band);
    enlarge(&x->most.packed, packed * row);
    enlarge(&x->most.packed_side, nf_x_sends_all(x->ep, shape) ? 0 : packed * band);
}

/* What layers read, and with it what a transport needs beside it. */
static void lay(nf_exchange *x, struct nf_pieces *p)
{
    for (int i = 0; i < 2; i++) {
        struct nf_rows *in = &x->at.in[i], *home = &x->at.home[i];
        in->rows = nf_x_piece(p, x->most.rows);
        in->side = nf_x_piece(p, x->most.side);
        in->ids = nf_x_piece(p, x->most.side);
        in->count = nf_x_piece(p, sizeof *in->count);
        home->rows = nf_x_piece(p, x->most.home_rows);
        home->side = nf_x_piece(p, x->most.home_side);
    }
    x->zeros = nf_x_piece(p, x->most.zeros);
    for (int i = 0; i < NF_X_TRANSPORTS && x->used[i]; i++)
        if (x->used[i]->lay)
            x->used[i]->lay(x, p);
}

static nf_status windows(nf_exchange *x, nf_arena *run)
{
    struct nf_taker from = {run, NF_LOW, "exchange windows", NF_OK};
    struct nf_pieces p = {0};

    lay(x, &p);
    x->block = nf_x_take(&from, p.at);
    NF_TRY(from.status);
    p = (struct nf_pieces){.base = x->block};
    lay(x, &p);
    return NF_OK;
}

nf_status nf_exchange_commit(nf_exchange *x, nf_arena *run)
{
    x->nowhere = nf_arena_counting(run);
    NF_TRY(windows(x, run));
    if (x->on_device && !x->nowhere && x->most.counts) {
        x->counts = calloc(1, x->most.counts);
        if (!x->counts)
            return nf_fail(NF_ENOMEM, "no memory for the counts of the token exchange");
    }
    for (int i = 0; i < NF_X_TRANSPORTS && x->used[i]; i++)
        if (x->used[i]->commit)
            NF_TRY(x->used[i]->commit(x, run));
    if (x->detour)
        nf_note("exchange  dispatch 'fused': ranks that share experts are on several nodes, or their GPUs cannot reach each "
                "other's "
                "memory; rows travel by %s",
                x->used[0]->name);
    x->committed = true;
    return NF_OK;
}

const char *nf_exchange_transport(const nf_exchange *x)
{
    return x->used[0] ? x->used[0]->name : NULL;
}

void nf_exchange_free(nf_exchange *x)
{
    if (!x)
        return;
    for (int i = 0; i < NF_X_TRANSPORTS && x->used[i]; i++)
        if (x->used[i]->free)
            x->used[i]->free(x);
    nf_xdevice_free(x);
    if (x->on_device)
        free(x->counts);
    for (nf_xplan *p = x->dry, *after; p; p = after) {
        after = p->next_dry;
        free(p);
    }
    free(x);
}
