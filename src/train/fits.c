/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fits.c: is there room for what a run will take? Asked before anything is taken: what can never fit is refused (78, as for any
 * model that this program cannot train here), what is short now is a warning, since it may pass.
 */
#include <inttypes.h>
#include <stdio.h>

#include "loop.h"
#include "nemafit/log.h"

#define HINT                                                                                                                   \
    "\n  Hint: more nodes with a larger parallel.ep, a smaller train.local_batch or shorter rows, or model.recompute = "       \
    "'block'"

double nf_session_bytes(const struct session *s)
{
    double sum = 0;

    for (int i = 0; i < ARENA_KINDS; i++)
        sum += (double)s->bytes[i];
    return sum;
}

/*
 * Ranks that share this memory, and what they take together. Ranks of a GPU count for themselves: who shares it is not known
 * here. Ranks that are only imagined may be on as many nodes.
 */
static nf_status together(const struct session *s, int64_t *mib, int *ranks)
{
    *mib = (int64_t)(nf_session_bytes(s) / (1 << 20));
    *ranks = 1;
    if (nf_mesh_virtual(s->mesh) || nf_device_kind(s->device) == NF_CUDA)
        return NF_OK;
    *ranks = nf_group_size(nf_mesh_group(s->mesh, NF_NODE));
    return nf_reduce_i64(nf_mesh_group(s->mesh, NF_NODE), mib, 1, NF_SUM);
}

static nf_status compare(const struct session *s, int64_t mib, int ranks)
{
    const double want = (double)mib * (1 << 20);
    const char *place = nf_device_kind(s->device) == NF_CUDA ? "GPU" : "node";
    uint64_t bytes, left;
    char need[32], all[32], now[32], sharing[48] = "";

    NF_TRY(nf_device_room(s->device, &bytes, &left));
    if (!bytes)
        return NF_OK;
    if (ranks > 1)
        snprintf(sharing, sizeof sharing, " by %d ranks", ranks);
    nf_str_bytes(need, want);
    nf_str_bytes(all, (double)bytes);
    if (want > (double)bytes && nf_mesh_virtual(s->mesh))
        nf_warn("a rank would take %s, but this %s has %s in all" HINT, need, place, all);
    else if (want > (double)bytes)
        return nf_fail(NF_EMODEL, "%s: the run takes at least %s of memory on a %s%s, but it has %s in all" HINT,
                       s->p->model.path, need, place, sharing, all);
    else if (want > (double)left)
        nf_warn("the run takes at least %s of memory on a %s%s, but of %s only %s are free now", need, place, sharing, all,
                nf_str_bytes(now, (double)left));
    return NF_OK;
}

nf_status nf_session_fits(const struct session *s)
{
    int64_t mib;
    int ranks;

    NF_TRY(together(s, &mib, &ranks));
    return nf_agree(s->mesh, compare(s, mib, ranks));
}
