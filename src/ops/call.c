/* SPDX-License-Identifier: Apache-2.0 */
/* call.c: the frame of every op (call.h). Scratch is reset also when the op fails: a failed op leaves the arena as it was. */
#include "call.h"

nf_status nf_call_begin(nf_queue *q, const char *op, double flops, double bytes_moved, size_t scratch_bytes,
                        struct nf_call *call)
{
    nf_device *device = nf_queue_device(q);
    nf_arena *work = nf_queue_work(q);
    struct nf_call c = {.ops = nf_queue_is_dry(q) ? NULL : nf_device_ops(device)};

    if (!c.ops && !nf_queue_is_dry(q))
        return nf_fail(NF_EBUG, "%s: no backend is attached to device \"%s\" (nf_ops_attach)", op, nf_device_name(device));
    if (scratch_bytes) {
        if (!work)
            return nf_fail(NF_EBUG, "%s: needs %zu bytes of scratch, and its queue has no work arena", op, scratch_bytes);
        c.mark = nf_arena_mark(work);
        NF_TRY(nf_arena_get(work, NF_LOW, scratch_bytes, op, &c.scratch));
        c.arena = work;
    }
    nf_queue_count(q, flops, bytes_moved);
    *call = c;
    return NF_OK;
}

nf_status nf_call_end(struct nf_call *call, nf_status status)
{
    if (call->arena)
        nf_arena_reset(call->arena, NF_LOW, call->mark);
    return status;
}
