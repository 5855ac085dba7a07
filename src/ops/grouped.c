/* SPDX-License-Identifier: Apache-2.0 */
/* grouped.c: conditions of the experts' linear layers (ops.h). What lies in device arrays is checked by the backends. */
#include "call.h"
#include "check.h"
#include "cpu/act.h"
#include "scratch.h"

static nf_status check_matrix(const char *op, const char *name, nf_in t, int64_t rows, int64_t cols)
{
    NF_TRY(nf_check_real(op, name, t));
    return nf_check_matrix(op, name, t, t->dtype, rows, cols);
}

/* w [E, N, K], or [E, K, N] */
static nf_status check_weight(const char *op, nf_in w, bool in_out, int64_t N, int64_t K)
{
    NF_TRY(nf_check_real(op, "w", w));
    return nf_check_cube(op, "w", w, w->dtype, NF_ANY, in_out ? K : N, in_out ? N : K);
}

nf_status nf_grouped_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                            const struct nf_grouped_arg *arg)
{
    const char *op = "grouped_linear";
    struct nf_call c;

    NF_TRY(check_matrix(op, "x", x, NF_ANY, NF_ANY));
    const int64_t rows = x->dim[0], K = x->dim[1];
    NF_TRY(check_weight(op, w, arg->in_out, NF_ANY, K));
    const int64_t N = arg->in_out ? w->dim[2] : w->dim[1];
    if (nf_act_gated(&arg->act) && N % 2)
        return nf_fail(NF_EBUG, "%s: %lld outputs; gate and up are halves of them", op, (long long)N);
    NF_TRY(check_matrix(op, "y", y, rows, nf_act_gated(&arg->act) ? N / 2 : N));
    if (pre)
        NF_TRY(check_matrix(op, "pre", pre, rows, N));
    if (arg->bias && arg->bias->data)
        NF_TRY(check_matrix(op, "bias", arg->bias, w->dim[0], N));
    NF_TRY(nf_call_begin(q, op, 2.0 * (double)rows * (double)N * (double)K,
                         nf_call_bytes(x) + nf_call_bytes(w) + nf_call_bytes(y) + nf_call_bytes(pre),
                         NF_SCRATCH(q, grouped_linear, y, pre, x, w, groups, arg), &c));
    return nf_call_end(&c, c.ops ? c.ops->grouped_linear(q, y, pre, x, w, groups, arg, c.scratch) : NF_OK);
}

nf_status nf_grouped_dgrad(nf_queue *q, nf_out dx, nf_out act_again, float *drow_weight, nf_in dy, nf_in w, nf_in pre,
                           const struct nf_groups *groups, const struct nf_grouped_arg *arg)
{
    const char *op = "grouped_dgrad";
    struct nf_call c;

    NF_TRY(check_matrix(op, "dy", dy, NF_ANY, NF_ANY));
    const int64_t rows = dy->dim[0], N = dy->dim[1];
    NF_TRY(check_weight(op, w, arg->in_out, N, NF_ANY));
    const int64_t K = arg->in_out ? w->dim[1] : w->dim[2], in = nf_act_gated(&arg->act) ? 2 * K : K;
    NF_TRY(check_matrix(op, "dx", dx, rows, in));
    if (!pre && (arg->act.kind != NF_ACT_NONE || act_again || drow_weight))
        return nf_fail(NF_EBUG, "%s: an activation, its value again and gradients of row weights need the value before it", op);
    if (pre)
        NF_TRY(check_matrix(op, "pre", pre, rows, in));
    if (act_again)
        NF_TRY(check_matrix(op, "act_again", act_again, rows, K));
    if (arg->bias && arg->bias->data)
        NF_TRY(check_matrix(op, "bias", arg->bias, w->dim[0], N));
    NF_TRY(
        nf_call_begin(q, op, 2.0 * (double)rows * (double)N * (double)K,
                      nf_call_bytes(dy) + nf_call_bytes(w) + nf_call_bytes(dx) + nf_call_bytes(pre) + nf_call_bytes(act_again),
                      NF_SCRATCH(q, grouped_dgrad, dx, act_again, drow_weight, dy, w, pre, groups, arg), &c));
    return nf_call_end(&c,
                       c.ops ? c.ops->grouped_dgrad(q, dx, act_again, drow_weight, dy, w, pre, groups, arg, c.scratch) : NF_OK);
}

nf_status nf_grouped_wgrad(nf_queue *q, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                           const struct nf_grouped_arg *arg)
{
    const char *op = "grouped_wgrad";
    struct nf_call c;

    NF_TRY(check_matrix(op, "dy", dy, NF_ANY, NF_ANY));
    NF_TRY(check_matrix(op, "x", x, dy->dim[0], NF_ANY));
    const int64_t N = dy->dim[1], K = x->dim[1];
    NF_TRY(nf_check_grad3(op, "dw", dw, NF_ANY, arg->in_out ? K : N, arg->in_out ? N : K));
    NF_TRY(nf_check_grad2(op, "dbias", dbias, dw.t.data ? dw.t.dim[0] : NF_ANY, N));
    if (!dw.t.data && !dbias.t.data)
        return NF_OK;
    NF_TRY(nf_call_begin(q, op, dw.t.data ? 2.0 * (double)dy->dim[0] * (double)N * (double)K : 0.0,
                         nf_call_bytes(dy) + nf_call_bytes(x) + (dw.t.data ? nf_call_bytes(&dw.t) : 0.0),
                         NF_SCRATCH(q, grouped_wgrad, dw, dbias, dy, x, groups, arg), &c));
    return nf_call_end(&c, c.ops ? c.ops->grouped_wgrad(q, dw, dbias, dy, x, groups, arg, c.scratch) : NF_OK);
}
