/* SPDX-License-Identifier: Apache-2.0 */
/* add_norm.c: conditions of the residual sum with RMSNorm (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

nf_status nf_add_norm(nf_queue *q, nf_out stream, nf_out y, float *rstd, nf_in prev, nf_in branch, nf_in w, double eps,
                      enum nf_norm_rounding rounding)
{
    const char *op = "add_norm";
    struct nf_call c;

    NF_TRY(nf_check_real(op, "prev", prev));
    NF_TRY(nf_check_matrix(op, "prev", prev, prev->dtype, NF_ANY, NF_ANY));
    const int64_t T = prev->dim[0], H = prev->dim[1];
    NF_TRY(nf_check_matrix(op, "y", y, prev->dtype, T, H));
    NF_TRY(nf_check_real(op, "w", w));
    NF_TRY(nf_check_vector(op, "w", w, w->dtype, H));
    if (branch) {
        NF_TRY(nf_check_matrix(op, "branch", branch, prev->dtype, T, H));
        NF_TRY(nf_check_matrix(op, "stream", stream, prev->dtype, T, H));
    } else if (stream) {
        return nf_fail(NF_EBUG, "%s: a stream to write, and no branch to add", op);
    }
    NF_TRY(nf_call_begin(q, op, (double)T * (double)H * (branch ? 5 : 4), nf_call_bytes(prev) * (branch ? 4 : 2),
                         NF_SCRATCH(q, add_norm, stream, y, prev, branch, w), &c));
    return nf_call_end(&c, c.ops ? c.ops->add_norm(q, stream, y, rstd, prev, branch, w, eps, rounding, c.scratch) : NF_OK);
}

nf_status nf_add_norm_bwd(nf_queue *q, nf_out dstream, bool accumulate, nf_grad dw, nf_in dy, nf_in stream, const float *rstd,
                          nf_in w)
{
    const char *op = "add_norm_bwd";
    struct nf_call c;

    NF_TRY(nf_check_real(op, "dy", dy));
    NF_TRY(nf_check_matrix(op, "dy", dy, dy->dtype, NF_ANY, NF_ANY));
    const int64_t T = dy->dim[0], H = dy->dim[1];
    NF_TRY(nf_check_matrix(op, "stream", stream, dy->dtype, T, H));
    NF_TRY(nf_check_matrix(op, "dstream", dstream, dy->dtype, T, H));
    NF_TRY(nf_check_real(op, "w", w));
    NF_TRY(nf_check_vector(op, "w", w, w->dtype, H));
    NF_TRY(nf_check_grad1(op, "dw", dw, H));
    NF_TRY(nf_call_begin(q, op, (double)T * (double)H * 10, nf_call_bytes(dy) * (accumulate ? 4 : 3),
                         NF_SCRATCH(q, add_norm_bwd, dstream, dy, stream, w), &c));
    return nf_call_end(&c, c.ops ? c.ops->add_norm_bwd(q, dstream, accumulate, dw, dy, stream, rstd, w, c.scratch) : NF_OK);
}
