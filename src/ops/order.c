/* SPDX-License-Identifier: Apache-2.0 */
/* order.c: conditions of the ops between received rows and expert rows (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

nf_status nf_order_build(nf_queue *q, const struct nf_order *order, const int32_t *ids, const float *side, const int32_t *count,
                         int pad)
{
    struct nf_call c;

    if (order->k < 1 || order->experts < 1 || order->row_cap < 0 || order->expert_cap < 0 || order->base < 0 || pad < 1)
        return nf_fail(NF_EBUG, "order_build: k %d, %d experts, %lld rows, %lld expert rows from %lld, pad %d", order->k,
                       order->experts, (long long)order->row_cap, (long long)order->expert_cap, (long long)order->base, pad);
    NF_CHECK(order->base + order->expert_cap <= INT32_MAX);
    NF_TRY(nf_call_begin(q, "order_build", 0, 5.0 * sizeof(int32_t) * (double)(order->row_cap * order->k),
                         NF_SCRATCH(q, order, order), &c));
    return nf_call_end(&c, c.ops ? c.ops->order_build(q, order, ids, side, count, pad, c.scratch) : NF_OK);
}

nf_status nf_expand(nf_queue *q, nf_out rows, nf_in received, const struct nf_order *order)
{
    struct nf_call c;

    NF_TRY(nf_check_real("expand", "received", received));
    NF_TRY(nf_check_matrix("expand", "received", received, received->dtype, order->row_cap, NF_ANY));
    NF_TRY(nf_check_matrix("expand", "rows", rows, received->dtype, order->expert_cap, received->dim[1]));
    NF_TRY(nf_call_begin(q, "expand", 0, 2 * nf_call_bytes(rows), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->expand(q, rows, received, order) : NF_OK);
}

nf_status nf_collapse(nf_queue *q, nf_out partial, float *side, nf_in rows, const float *row_side, const struct nf_order *order,
                      const int32_t *count)
{
    struct nf_call c;

    NF_TRY(nf_check_real("collapse", "rows", rows));
    NF_TRY(nf_check_matrix("collapse", "rows", rows, rows->dtype, order->expert_cap, NF_ANY));
    NF_TRY(nf_check_matrix("collapse", "partial", partial, rows->dtype, order->row_cap, rows->dim[1]));
    NF_CHECK(!side == !row_side);
    NF_TRY(nf_call_begin(q, "collapse", (double)nf_tensor_count(rows), nf_call_bytes(rows) + nf_call_bytes(partial), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->collapse(q, partial, side, rows, row_side, order, count) : NF_OK);
}

nf_status nf_combine(nf_queue *q, nf_out y, float *weights, nf_in returned, const float *side, const int32_t *where,
                     int64_t slots, int k, nf_in add)
{
    struct nf_call c;

    NF_TRY(nf_check_real("combine", "y", y));
    NF_TRY(nf_check_matrix("combine", "y", y, y->dtype, NF_ANY, NF_ANY));
    NF_TRY(nf_check_matrix("combine", "returned", returned, y->dtype, NF_ANY, y->dim[1]));
    if (add)
        NF_TRY(nf_check_matrix("combine", "add", add, y->dtype, y->dim[0], y->dim[1]));
    NF_CHECK(!weights == !side && slots >= 0 && k >= 1);
    NF_TRY(
        nf_call_begin(q, "combine", (double)nf_tensor_count(returned), nf_call_bytes(returned) + 2 * nf_call_bytes(y), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->combine(q, y, weights, returned, side, where, slots, k, add) : NF_OK);
}
