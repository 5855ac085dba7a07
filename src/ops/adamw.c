/* SPDX-License-Identifier: Apache-2.0 */
/* adamw.c: conditions of the optimizer's update and of the decision before it (ops.h). */
#include "call.h"
#include "check.h"

static nf_status check_run(const char *op, const struct nf_adamw_run *r, const struct nf_adamw_arg *arg)
{
    const int64_t n = r->w.dim[0];

    NF_TRY(nf_check_real(op, "w", &r->w));
    NF_TRY(nf_check_vector(op, "w", &r->w, r->w.dtype, NF_ANY));
    NF_TRY(nf_check_real(op, "g", &r->g));
    NF_TRY(nf_check_vector(op, "g", &r->g, r->g.dtype, n));
    const bool half = r->w.dtype == NF_BF16 && arg->scheme != NF_STATE_FP32;
    NF_TRY(nf_check_vector(op, "m", &r->m, half ? NF_BF16 : NF_F32, n));
    NF_TRY(nf_check_vector(op, "v", &r->v, half ? NF_BF16 : NF_F32, n));
    if (r->w.dtype == NF_BF16 && arg->scheme == NF_STATE_FP32)
        NF_TRY(nf_check_vector(op, "master", &r->master, NF_F32, n));
    if (r->w.dtype == NF_BF16 && arg->scheme == NF_STATE_SPLIT)
        NF_TRY(nf_check_vector(op, "low", &r->low, NF_I16, n));
    for (int i = 0; i < r->pieces; i++)
        if (r->piece[i].flat < 0 || r->piece[i].count < 0 || r->piece[i].flat + r->piece[i].count > n)
            return nf_fail(NF_EBUG, "%s: piece %d is [%lld, +%lld) of a run of %lld", op, i, (long long)r->piece[i].flat,
                           (long long)r->piece[i].count, (long long)n);
    return NF_OK;
}

nf_status nf_adamw(nf_queue *q, const struct nf_adamw_run *run, const struct nf_adamw_arg *arg, const struct nf_step_vars *vars,
                   const struct nf_decision *decision)
{
    const double n = (double)run->w.dim[0];
    double both_ways = nf_call_bytes(&run->w) + nf_call_bytes(&run->m) + nf_call_bytes(&run->v);
    struct nf_call c;

    NF_TRY(check_run("adamw", run, arg));
    if (run->w.dtype == NF_BF16 && arg->scheme != NF_STATE_BF16)
        both_ways += arg->scheme == NF_STATE_SPLIT ? 2 * n : 4 * n;
    NF_TRY(nf_call_begin(q, "adamw", 15 * n, nf_call_bytes(&run->g) + 2 * both_ways, 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->adamw(q, run, arg, vars, decision) : NF_OK);
}

nf_status nf_decide(nf_queue *q, struct nf_decision *decision, const double *reduced, double clip)
{
    struct nf_call c;

    NF_TRY(nf_call_begin(q, "decide", 0.0, 0.0, 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->decide(q, decision, reduced, clip) : NF_OK);
}
