/* SPDX-License-Identifier: Apache-2.0 */
/* head.c: conditions of the fused head and loss (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

nf_status nf_head_loss(nf_queue *q, double *loss, float *token_loss, nf_out dh, nf_grad dw, nf_in h, nf_in w,
                       const int32_t *target, const float *scale)
{
    const bool gradients = dh && dh->data;
    struct nf_call c;

    NF_TRY(nf_check_real("head_loss", "h", h));
    NF_TRY(nf_check_matrix("head_loss", "h", h, h->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_real("head_loss", "w", w));
    NF_TRY(nf_check_matrix("head_loss", "w", w, w->dtype, NF_ANY, h->dim[1]));
    if (gradients)
        NF_TRY(nf_check_matrix("head_loss", "dh", dh, h->dtype, h->dim[0], h->dim[1]));
    NF_TRY(nf_check_grad2("head_loss", "dw", dw, w->dim[0], w->dim[1]));
    const double one = 2.0 * (double)h->dim[0] * (double)w->dim[0] * (double)w->dim[1];
    NF_TRY(nf_call_begin(q, "head_loss", one * (1 + gradients + (dw.t.data != NULL)),
                         nf_call_bytes(w) * (dw.t.data ? 4 : 1 + gradients) + 2 * nf_call_bytes(h),
                         NF_SCRATCH(q, head, h, w, gradients, dw), &c));
    return nf_call_end(
        &c, c.ops ? c.ops->head_loss(q, loss, token_loss, gradients ? dh : NULL, dw, h, w, target, scale, c.scratch) : NF_OK);
}

nf_status nf_head_logits(nf_queue *q, nf_out logits, nf_in h, nf_in w)
{
    struct nf_call c;

    NF_TRY(nf_check_real("head_logits", "h", h));
    NF_TRY(nf_check_matrix("head_logits", "h", h, h->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_real("head_logits", "w", w));
    NF_TRY(nf_check_matrix("head_logits", "w", w, w->dtype, NF_ANY, h->dim[1]));
    NF_TRY(nf_check_matrix("head_logits", "logits", logits, NF_F32, h->dim[0], w->dim[0]));
    NF_TRY(nf_call_begin(q, "head_logits", 2.0 * (double)h->dim[0] * (double)w->dim[0] * (double)w->dim[1],
                         nf_call_bytes(w) + nf_call_bytes(h) + nf_call_bytes(logits), NF_SCRATCH(q, head_logits, h, w), &c));
    return nf_call_end(&c, c.ops ? c.ops->head_logits(q, logits, h, w, c.scratch) : NF_OK);
}
