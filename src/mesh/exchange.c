/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange's buffers: for the largest of the shapes that were reserved, two of each. A window is what a receiver needs for
 * one slice, staging what a sender needs, a home what a chunk comes back to. A group of one needs windows only for rows that
 * are not dense.
 */
#include "exchange.h"

#include <stdlib.h>
#include <string.h>

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

void *nf_x_take(struct nf_taker *from, size_t bytes)
{
    void *p = NULL;
    if (from->status == NF_OK)
        from->status = nf_arena_get(from->arena, from->end, bytes, from->what, &p);
    return p;
}

static void enlarge(size_t *most, size_t bytes)
{
    *most = bytes > *most ? bytes : *most;
}

void nf_exchange_reserve(nf_exchange *x, const struct nf_xshape *shape)
{
    const size_t row = nf_x_row_bytes(shape), band = (size_t)shape->k * sizeof(float);
    const size_t tokens = (size_t)nf_x_chunk_tokens(shape), cap = (size_t)nf_x_row_cap(x->ep, shape);
    const size_t home = tokens * (size_t)nf_x_return_slots(x->ep, shape), packed = (size_t)nf_x_packed_rows(x->ep, shape);
    const size_t ranks = (size_t)x->ep->size;

    enlarge(&x->most.rows, cap * row);
    enlarge(&x->most.home_rows, home * row);
    enlarge(&x->most.home_side, home * band);
    enlarge(&x->most.counts, ranks * ranks * (size_t)shape->chunks * 2 * sizeof(int32_t));
    if (ranks == 1) {
        enlarge(&x->most.zeros, tokens * band);
        return;
    }
    enlarge(&x->most.side, cap * band);
    enlarge(&x->most.chunk_rows, tokens * row);
    enlarge(&x->most.chunk_side, tokens * band);
    enlarge(&x->most.packed, packed * row);
    enlarge(&x->most.packed_side, nf_x_sends_all(x->ep, shape) ? 0 : packed * band);
}

nf_status nf_exchange_commit(nf_exchange *x, nf_arena *run)
{
    struct nf_taker windows = {run, NF_LOW, "exchange windows", NF_OK}, staging = {run, NF_LOW, "exchange staging", NF_OK};

    x->nowhere = nf_arena_counting(run);
    if (x->on_device) {
        NF_TRY(nf_xdevice_commit(x, run));
        x->committed = true;
        return NF_OK;
    }

    for (int i = 0; i < 2; i++) {
        struct nf_window *w = &x->window[i];
        w->rows = nf_x_take(&windows, x->most.rows);
        w->side = nf_x_take(&windows, x->most.side);
        w->ids = nf_x_take(&windows, x->most.side);
        w->count = nf_x_take(&windows, sizeof *w->count);
        x->home[i].rows = nf_x_take(&windows, x->most.home_rows);
        x->home[i].side = nf_x_take(&windows, x->most.home_side);
        w->packed = nf_x_take(&staging, x->most.packed);
        w->packed_side = nf_x_take(&staging, x->most.packed_side);
        w->packed_ids = nf_x_take(&staging, x->most.packed_side);
    }
    x->zeros = nf_x_take(&staging, x->most.zeros);
    x->counts = nf_x_take(&staging, x->most.counts);
    NF_TRY(windows.status);
    NF_TRY(staging.status);
    if (!x->nowhere)
        memset(x->zeros, 0, x->most.zeros);
    x->committed = true;
    return NF_OK;
}

void nf_exchange_free(nf_exchange *x)
{
    if (!x)
        return;
    nf_xdevice_free(x);
    for (nf_xplan *p = x->dry, *after; p; p = after) {
        after = p->next_dry;
        free(p);
    }
    free(x);
}
