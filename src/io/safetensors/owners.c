/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who writes what. Several ranks hold the same elements (dense tensors everywhere, experts on every rank of an edp group): each
 * slice is given to one of its holders in turn, so that all of them write, and elements that nobody holds are found before any
 * file is.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

enum { SLICE = 4 << 20 }; /* elements given to one rank at a time */

struct held {
    int64_t first, count, param;
    int64_t rank, named;
};

static int by_start(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    if (x->param != y->param)
        return x->param < y->param ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static nf_status add(struct nf_st_share **share, int64_t *count, int64_t *cap, const struct held *h, int64_t first, int64_t n)
{
    if (*count == *cap) {
        const int64_t more = *cap ? 2 * *cap : 256;
        struct nf_st_share *grown = realloc(*share, (size_t)more * sizeof *grown);
        if (!grown)
            return nf_fail(NF_ENOMEM, "no memory to plan the writing");
        *share = grown;
        *cap = more;
    }
    (*share)[(*count)++] = (struct nf_st_share){.param = (int)h->param, .named = (int)h->named, .first = first, .count = n};
    return NF_OK;
}

/* Deal the elements of one parameter, held as h[0..n). `turn` goes on from parameter to parameter, so that small ones spread.
 */
static nf_status deal(const nf_param_desc *desc, const struct held *h, int64_t n, int64_t me, uint64_t *turn,
                      struct nf_st_share **share, int64_t *count, int64_t *cap)
{
    const int64_t all = nf_st_desc_count(desc);
    for (int64_t at = 0; at < all;) {
        int64_t end = at + SLICE < all ? at + SLICE : all, holders = 0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t stop = h[i].first + h[i].count;
            if (h[i].first > at)
                end = h[i].first < end ? h[i].first : end;
            else if (stop > at) {
                end = stop < end ? stop : end;
                holders++;
            }
        }
        if (holders == 0)
            return nf_fail(NF_EBUG, "parameter '%s': elements [%lld, %lld) are on no rank", desc->name, (long long)at,
                           (long long)end);
        int64_t pick = (int64_t)((*turn)++ % (uint64_t)holders);
        for (int64_t i = 0; i < n; i++)
            if (h[i].first <= at && h[i].first + h[i].count > at && pick-- == 0 && h[i].rank == me)
                NF_TRY(add(share, count, cap, &h[i], at, end - at));
        at = end;
    }
    return NF_OK;
}

static nf_status gather(const nf_mesh *mesh, const nf_named *named, int n, struct held **all, int64_t *count)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const int ranks = nf_group_size(world);
    int64_t most = n;
    NF_TRY(nf_reduce_i64(world, &most, 1, NF_MAX));
    const size_t each = (size_t)(most + 1) * sizeof(struct held);
    struct held *mine = calloc(1, each), *list = malloc(each * (size_t)ranks);
    nf_status status = mine && list ? NF_OK : nf_fail(NF_ENOMEM, "no memory to plan the writing of %d pieces", n);
    status = nf_agree(mesh, status);
    for (int i = 0; status == NF_OK && i < n; i++) {
        const nf_piece *p = &named[i].piece;
        mine[i] =
            (struct held){.first = p->first, .count = p->count, .param = p->param, .rank = nf_group_rank(world), .named = i};
    }
    if (status == NF_OK)
        status = nf_gather_bytes(world, mine, each, list);
    free(mine);
    if (status != NF_OK) {
        free(list);
        return status;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < ranks * (most + 1); i++)
        if (list[i].count > 0)
            list[kept++] = list[i];
    if (kept)
        qsort(list, (size_t)kept, sizeof *list, by_start);
    *all = list;
    *count = kept;
    return NF_OK;
}

nf_status nf_st_owners(const nf_mesh *mesh, const nf_param_desc *desc, int params, const nf_named *named, int n,
                       struct nf_st_share **shares, int64_t *count)
{
    struct held *held = NULL;
    struct nf_st_share *share = NULL;
    int64_t all = 0, made = 0, cap = 0, i = 0;
    uint64_t turn = 0;
    NF_TRY(gather(mesh, named, n, &held, &all));
    nf_status status = NF_OK;
    for (int p = 0; p < params && status == NF_OK; p++) {
        int64_t end = i;
        while (end < all && held[end].param == p)
            end++;
        status = deal(&desc[p], held + i, end - i, nf_mesh_rank(mesh), &turn, &share, &made, &cap);
        i = end;
    }
    free(held);
    if (status != NF_OK) {
        free(share);
        return status;
    }
    *shares = share;
    *count = made;
    return NF_OK;
}
