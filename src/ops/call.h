/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h: the frame of every op in src/ops/<op>.c, after its conditions are checked:
 *
 *     struct nf_call c;
 *     NF_TRY(nf_call_begin(q, "op", flops, bytes_moved, scratch_bytes, &c));
 *     return nf_call_end(&c, c.ops ? c.ops->op(q, ..., c.scratch) : NF_OK);
 *
 * nf_call_begin counts the work (on any queue), takes the scratch (on a dry queue too, so that counting arenas see it) and
 * finds the backend; on a dry queue c.ops is NULL. nf_call_end gives the scratch back and passes the status on.
 */
#ifndef NEMAFIT_OPS_CALL_H
#define NEMAFIT_OPS_CALL_H

#include "backend.h"

struct nf_call {
    const struct nf_backend *ops; /* NULL: dry, nothing to launch */
    void *scratch;
    nf_arena *arena;
    nf_mark mark;
};

/* Errors  NF_EBUG: the device has no backend; NF_ENOMEM: the work arena is too small */
nf_status nf_call_begin(nf_queue *q, const char *op, double flops, double bytes_moved, size_t scratch_bytes,
                        struct nf_call *call);
nf_status nf_call_end(struct nf_call *call, nf_status status);

/* Scratch of several parts: `at += nf_call_part(bytes)` keeps each on a cache line. */
static inline size_t nf_call_part(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* Bytes of a view's elements, for the count of bytes moved. NULL: 0 */
static inline double nf_call_bytes(nf_in t)
{
    return t ? (double)nf_tensor_count(t) * (double)nf_dtype_size(t->dtype) : 0.0;
}

#endif
