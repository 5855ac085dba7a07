/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agreement. When all is well nf_agree costs one reduction of one number; only on failure does the lowest failing rank's
 * diagnosis travel. Every rank then holds the same text, so rank 0 can print it whoever failed.
 */
#include "private.h"

#include "nemafit/str.h"

#include <stdlib.h>
#include <string.h>

struct verdict {
    int status;
    size_t length;
};

/* Rank `who` tells all others what it found. */
static nf_status tell(const nf_group *world, int who, nf_status mine)
{
    struct verdict v = {0};
    nf_str text = {0};
    void *bytes = NULL;
    size_t n = 0;

    if (world->rank == who) {
        const char *found = nf_diagnosis();
        if (who > 0)
            nf_str_addf(&text, "rank %d: ", who);
        nf_str_add(&text, *found ? found : nf_status_name(mine));
        v.status = (int)mine;
        bytes = text.text;
        n = text.len;
    }
    nf_status s = nf_bcast(world, who, &v, sizeof v);
    if (s == NF_OK)
        s = nf_bcast_blob(world, who, &bytes, &n);
    if (s == NF_OK) {
        nf_str whole = {0}; /* a blob has no NUL */
        nf_str_addn(&whole, bytes, n);
        s = (nf_status)v.status;
        nf_diagnosis_set(s, whole.text ? whole.text : nf_status_name(s));
        nf_str_free(&whole);
    }
    if (world->rank == who)
        nf_str_free(&text);
    else
        free(bytes);
    return s;
}

nf_status nf_agree(const nf_mesh *mesh, nf_status mine)
{
    const nf_group *world = &mesh->group[NF_WORLD];

    if (nf_group_alone(world))
        return mine;
    int64_t first = mine == NF_OK ? world->size : world->rank;
    NF_TRY(nf_reduce_i64(world, &first, 1, NF_MIN));
    return first == world->size ? NF_OK : tell(world, (int)first, mine);
}

/* Piece by piece, so that no rank needs a second copy. */
static nf_status compare(const nf_group *world, const unsigned char *bytes, size_t n, bool *equal)
{
    unsigned char piece[4096];

    for (size_t at = 0; at < n; at += sizeof piece) {
        size_t some = n - at < sizeof piece ? n - at : sizeof piece;
        if (world->rank == 0)
            memcpy(piece, bytes + at, some);
        NF_TRY(nf_bcast(world, 0, piece, some));
        *equal = *equal && memcmp(piece, bytes + at, some) == 0;
    }
    return NF_OK;
}

nf_status nf_same(const nf_mesh *mesh, const void *bytes, size_t n, const char *what)
{
    const nf_group *world = &mesh->group[NF_WORLD];

    if (nf_group_alone(world))
        return NF_OK;
    int64_t sizes[2] = {(int64_t)n, -(int64_t)n}; /* smallest, and minus the largest */
    NF_TRY(nf_reduce_i64(world, sizes, 2, NF_MIN));
    bool same_size = sizes[0] == -sizes[1];
    uint64_t length = n;
    bool equal = true;
    NF_TRY(nf_bcast(world, 0, &length, sizeof length));
    if (same_size)
        NF_TRY(compare(world, bytes, n, &equal));
    else
        equal = n == length;
    int64_t first = equal ? world->size : world->rank;
    NF_TRY(nf_reduce_i64(world, &first, 1, NF_MIN));
    if (first == world->size)
        return NF_OK;
    return nf_fail(NF_EDIVERGED, "%s: rank %d differs from rank 0%s", what, (int)first, same_size ? "" : " in length");
}
