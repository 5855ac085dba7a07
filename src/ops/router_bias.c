/* SPDX-License-Identifier: Apache-2.0 */
/* router_bias.c: conditions of router_bias (ops.h). */
#include "call.h"
#include "check.h"

nf_status nf_router_bias(nf_queue *q, nf_out correction, const int32_t *load, float rate, const struct nf_decision *decision)
{
    struct nf_call c;

    NF_TRY(nf_check_vector("router_bias", "correction", correction, NF_F32, NF_ANY));
    NF_TRY(nf_call_begin(q, "router_bias", 3.0 * (double)correction->dim[0], 3 * nf_call_bytes(correction), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->router_bias(q, correction, load, rate, decision) : NF_OK);
}
