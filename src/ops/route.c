/* SPDX-License-Identifier: Apache-2.0 */
/* route.c: conditions of routing and its gradient (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

static nf_status conditions(const char *op, nf_in logits, nf_in scores, const struct nf_route_arg *a)
{
    const int64_t T = a->seq.rows * a->seq.len, E = logits->dim[1];

    NF_TRY(nf_check_matrix(op, "logits", logits, NF_F32, T, NF_ANY));
    NF_TRY(nf_check_matrix(op, "scores", scores, NF_F32, T, E));
    if (a->k < 1 || a->k > E || a->groups < 1 || E % a->groups || a->groups_kept < 1 || a->groups_kept > a->groups)
        return nf_fail(NF_EBUG, "%s: %d of %lld experts in %d groups, %d groups kept", op, a->k, (long long)E, a->groups,
                       a->groups_kept);
    return NF_OK;
}

nf_status nf_route(nf_queue *q, int32_t *ids, float *weights, nf_out scores, int32_t *load, nf_in logits,
                   const float *correction, const struct nf_route_arg *arg)
{
    struct nf_call c;

    NF_TRY(conditions("route", logits, scores, arg));
    if (arg->gate == NF_GATE_ROUTER && arg->groups_kept * (logits->dim[1] / arg->groups) < arg->k)
        return nf_fail(NF_EBUG, "route: %d experts of %d kept groups of %lld", arg->k, arg->groups_kept,
                       (long long)(logits->dim[1] / arg->groups));
    NF_TRY(nf_call_begin(q, "route", 4.0 * (double)nf_tensor_count(logits), 2 * nf_call_bytes(logits),
                         NF_SCRATCH(q, route, logits->dim[1], arg), &c));
    return nf_call_end(&c, c.ops ? c.ops->route(q, ids, weights, scores, load, logits, correction, arg, c.scratch) : NF_OK);
}

nf_status nf_route_bwd(nf_queue *q, nf_out dlogits, const float *dweights, const int32_t *ids, const float *weights,
                       nf_in scores, const struct nf_route_arg *arg)
{
    struct nf_call c;

    NF_TRY(conditions("route_bwd", dlogits, scores, arg));
    NF_TRY(nf_call_begin(q, "route_bwd", 2.0 * (double)nf_tensor_count(dlogits), 2 * nf_call_bytes(dlogits), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->route_bwd(q, dlogits, dweights, ids, weights, scores, arg, c.scratch) : NF_OK);
}
