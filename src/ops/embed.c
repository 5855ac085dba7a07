/* SPDX-License-Identifier: Apache-2.0 */
/* embed.c: conditions of the embedding (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

nf_status nf_embed(nf_queue *q, nf_out y, const int32_t *ids, nf_in w)
{
    const char *op = "embed";
    struct nf_call c;

    NF_TRY(nf_check_real(op, "w", w));
    NF_TRY(nf_check_matrix(op, "w", w, w->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_matrix(op, "y", y, w->dtype, NF_ANY, w->dim[1]));
    NF_TRY(nf_call_begin(q, op, 0.0, nf_call_bytes(y) * 2, 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->embed(q, y, ids, w) : NF_OK);
}

nf_status nf_embed_bwd(nf_queue *q, nf_grad dw, const int32_t *ids, nf_in dy, int32_t pad_id)
{
    const char *op = "embed_bwd";
    struct nf_call c;

    if (!dw.t.data)
        return NF_OK;
    NF_TRY(nf_check_real(op, "dy", dy));
    NF_TRY(nf_check_matrix(op, "dy", dy, dy->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_grad2(op, "dw", dw, NF_ANY, dy->dim[1]));
    NF_TRY(nf_call_begin(q, op, (double)nf_tensor_count(dy), nf_call_bytes(dy) + nf_call_bytes(&dw.t),
                         NF_SCRATCH(q, embed_bwd, dy->dim[0], dw), &c));
    return nf_call_end(&c, c.ops ? c.ops->embed_bwd(q, dw, ids, dy, pad_id, c.scratch) : NF_OK);
}
