/* SPDX-License-Identifier: Apache-2.0 */
/* gated_norm.c: conditions of the gated group norm (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

static nf_status check_inputs(const char *op, nf_in y, nf_in z, nf_in w, int groups)
{
    NF_TRY(nf_check_real(op, "y", y));
    NF_TRY(nf_check_matrix(op, "y", y, y->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_matrix(op, "z", z, y->dtype, y->dim[0], y->dim[1]));
    NF_TRY(nf_check_real(op, "w", w));
    NF_TRY(nf_check_vector(op, "w", w, w->dtype, y->dim[1]));
    if (groups < 1 || y->dim[1] % groups)
        return nf_fail(NF_EBUG, "%s: %lld channels are not divisible into %d groups", op, (long long)y->dim[1], groups);
    return NF_OK;
}

nf_status nf_gated_norm(nf_queue *q, nf_out o, float *rstd, nf_in y, nf_in z, nf_in w, int groups, double eps)
{
    const char *op = "gated_norm";
    struct nf_call c;

    NF_TRY(check_inputs(op, y, z, w, groups));
    NF_TRY(nf_check_matrix(op, "o", o, y->dtype, y->dim[0], y->dim[1]));
    NF_TRY(
        nf_call_begin(q, op, (double)nf_tensor_count(y) * 9, nf_call_bytes(y) * 3, NF_SCRATCH(q, gated_norm, o, y, z, w), &c));
    return nf_call_end(&c, c.ops ? c.ops->gated_norm(q, o, rstd, y, z, w, groups, eps, c.scratch) : NF_OK);
}

nf_status nf_gated_norm_bwd(nf_queue *q, nf_out dy, nf_out dz, nf_out o_again, nf_grad dw, nf_in d_o, nf_in y, nf_in z,
                            const float *rstd, nf_in w, int groups)
{
    const char *op = "gated_norm_bwd";
    struct nf_call c;

    NF_TRY(check_inputs(op, y, z, w, groups));
    const int64_t T = y->dim[0], I = y->dim[1];
    NF_TRY(nf_check_matrix(op, "d_o", d_o, y->dtype, T, I));
    NF_TRY(nf_check_matrix(op, "dy", dy, y->dtype, T, I));
    NF_TRY(nf_check_matrix(op, "dz", dz, y->dtype, T, I));
    if (o_again)
        NF_TRY(nf_check_matrix(op, "o_again", o_again, y->dtype, T, I));
    NF_TRY(nf_check_grad1(op, "dw", dw, I));
    NF_TRY(nf_call_begin(q, op, (double)nf_tensor_count(y) * 24, nf_call_bytes(y) * (o_again ? 6 : 5),
                         NF_SCRATCH(q, gated_norm_bwd, dy, dz, o_again, d_o, y, z, w), &c));
    return nf_call_end(&c,
                       c.ops ? c.ops->gated_norm_bwd(q, dy, dz, o_again, dw, d_o, y, z, rstd, w, groups, c.scratch) : NF_OK);
}
