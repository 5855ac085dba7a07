/* SPDX-License-Identifier: Apache-2.0 */
/* conv_silu.c: conditions of the causal convolution with SiLU (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

enum { MOST_TAPS = 16 };

static nf_status check_inputs(const char *op, nf_in x, nf_in w, nf_in b, const nf_seq *seq)
{
    NF_TRY(nf_check_real(op, "x", x));
    NF_TRY(nf_check_matrix(op, "x", x, x->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_real(op, "w", w));
    NF_TRY(nf_check_matrix(op, "w", w, w->dtype, x->dim[1], NF_ANY));
    if (w->dim[1] < 1 || w->dim[1] > MOST_TAPS)
        return nf_fail(NF_EBUG, "%s: %lld taps, wanted 1 to %d", op, (long long)w->dim[1], MOST_TAPS);
    if (b && b->data) {
        NF_TRY(nf_check_real(op, "b", b));
        NF_TRY(nf_check_vector(op, "b", b, b->dtype, x->dim[1]));
    }
    if (seq->rows * seq->len != x->dim[0])
        return nf_fail(NF_EBUG, "%s: x has %lld rows, and the batch %lld x %lld tokens", op, (long long)x->dim[0],
                       (long long)seq->rows, (long long)seq->len);
    return NF_OK;
}

nf_status nf_conv_silu(nf_queue *q, nf_out y, nf_in x, nf_in w, nf_in b, const nf_seq *seq)
{
    const char *op = "conv_silu";
    struct nf_call c;

    NF_TRY(check_inputs(op, x, w, b, seq));
    NF_TRY(nf_check_matrix(op, "y", y, x->dtype, x->dim[0], x->dim[1]));
    NF_TRY(nf_call_begin(q, op, (double)nf_tensor_count(x) * (2.0 * (double)w->dim[1] + 4), nf_call_bytes(x) * 2,
                         NF_SCRATCH(q, conv_silu, y, x, w), &c));
    return nf_call_end(&c, c.ops ? c.ops->conv_silu(q, y, x, w, b, seq, c.scratch) : NF_OK);
}

nf_status nf_conv_silu_bwd(nf_queue *q, nf_out dx, nf_grad dw, nf_grad db, nf_in dy, nf_in x, nf_in w, nf_in b,
                           const nf_seq *seq)
{
    const char *op = "conv_silu_bwd";
    struct nf_call c;

    NF_TRY(check_inputs(op, x, w, b, seq));
    NF_TRY(nf_check_matrix(op, "dy", dy, x->dtype, x->dim[0], x->dim[1]));
    NF_TRY(nf_check_matrix(op, "dx", dx, x->dtype, x->dim[0], x->dim[1]));
    NF_TRY(nf_check_grad2(op, "dw", dw, w->dim[0], w->dim[1]));
    NF_TRY(nf_check_grad1(op, "db", db, w->dim[0]));
    NF_TRY(nf_call_begin(q, op, (double)nf_tensor_count(x) * (6.0 * (double)w->dim[1] + 10), nf_call_bytes(x) * 3,
                         NF_SCRATCH(q, conv_silu_bwd, dx, dy, x, w), &c));
    return nf_call_end(&c, c.ops ? c.ops->conv_silu_bwd(q, dx, dw, db, dy, x, w, b, seq, c.scratch) : NF_OK);
}
