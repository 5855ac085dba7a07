/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c: conditions of linear layers (ops.h). Operands may be fp32 and bf16 mixed: products are in fp32 on the host anyway.
 */
#include "call.h"
#include "check.h"
#include "cpu/act.h"
#include "scratch.h"

static nf_status check_real_matrix(const char *op, const char *name, nf_in t, int64_t rows, int64_t cols)
{
    NF_TRY(nf_check_real(op, name, t));
    return nf_check_matrix(op, name, t, t->dtype, rows, cols);
}

nf_status nf_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg)
{
    const char *op = "linear";
    struct nf_call c;

    NF_TRY(check_real_matrix(op, "x", x, NF_ANY, NF_ANY));
    NF_TRY(check_real_matrix(op, "w", w, NF_ANY, x->dim[1]));
    const int64_t T = x->dim[0], N = w->dim[0], K = x->dim[1];
    if (nf_act_gated(&arg->act) && N % 2)
        return nf_fail(NF_EBUG, "%s: w has %lld rows; gate and up are halves of them", op, (long long)N);
    const int64_t out = nf_act_gated(&arg->act) ? N / 2 : N;
    NF_TRY(check_real_matrix(op, "y", y, T, out));
    if (pre)
        NF_TRY(check_real_matrix(op, "pre", pre, T, N));
    if (arg->add)
        NF_TRY(nf_check_matrix(op, "add", arg->add, y->dtype, T, out));
    if (arg->bias && arg->bias->data) {
        NF_TRY(nf_check_real(op, "bias", arg->bias));
        NF_TRY(nf_check_vector(op, "bias", arg->bias, arg->bias->dtype, N));
    }
    NF_TRY(nf_call_begin(q, op, 2.0 * (double)T * (double)N * (double)K,
                         nf_call_bytes(x) + nf_call_bytes(w) + nf_call_bytes(y) + nf_call_bytes(pre) + nf_call_bytes(arg->add),
                         NF_SCRATCH(q, linear, y, pre, x, w, arg), &c));
    return nf_call_end(&c, c.ops ? c.ops->linear(q, y, pre, x, w, arg, c.scratch) : NF_OK);
}

nf_status nf_linear_dgrad(nf_queue *q, nf_out dx, nf_out act_again, nf_in dy, nf_in w, nf_in pre,
                          const struct nf_linear_arg *arg)
{
    const char *op = "linear_dgrad";
    struct nf_call c;

    NF_TRY(check_real_matrix(op, "dy", dy, NF_ANY, NF_ANY));
    NF_TRY(check_real_matrix(op, "w", w, dy->dim[1], NF_ANY));
    const int64_t T = dy->dim[0], N = w->dim[0], K = w->dim[1], in = nf_act_gated(&arg->act) ? 2 * K : K;
    NF_TRY(check_real_matrix(op, "dx", dx, T, in));
    if (arg->act.kind != NF_ACT_NONE && !pre)
        return nf_fail(NF_EBUG, "%s: the derivative of an activation needs the value before it", op);
    if (pre)
        NF_TRY(check_real_matrix(op, "pre", pre, T, in));
    if (act_again && !pre)
        return nf_fail(NF_EBUG, "%s: act_again needs the value before the activation", op);
    if (act_again)
        NF_TRY(check_real_matrix(op, "act_again", act_again, T, K));
    if (arg->add)
        NF_TRY(nf_check_matrix(op, "add", arg->add, dx->dtype, T, in));
    NF_TRY(nf_call_begin(q, op, 2.0 * (double)T * (double)N * (double)K,
                         nf_call_bytes(dy) + nf_call_bytes(w) + nf_call_bytes(dx) + nf_call_bytes(pre) +
                             nf_call_bytes(act_again) + nf_call_bytes(arg->add),
                         NF_SCRATCH(q, linear_dgrad, dx, act_again, dy, w, pre, arg), &c));
    return nf_call_end(&c, c.ops ? c.ops->linear_dgrad(q, dx, act_again, dy, w, pre, arg, c.scratch) : NF_OK);
}

nf_status nf_linear_wgrad(nf_queue *q, nf_grad dw, nf_grad db, nf_in dy, nf_in x)
{
    const char *op = "linear_wgrad";
    struct nf_call c;

    NF_TRY(check_real_matrix(op, "dy", dy, NF_ANY, NF_ANY));
    NF_TRY(check_real_matrix(op, "x", x, dy->dim[0], NF_ANY));
    NF_TRY(nf_check_grad2(op, "dw", dw, dy->dim[1], x->dim[1]));
    NF_TRY(nf_check_grad1(op, "db", db, dy->dim[1]));
    if (!dw.t.data && !db.t.data)
        return NF_OK;
    const double flops = dw.t.data ? 2.0 * (double)nf_tensor_count(x) * (double)dy->dim[1] : 0.0;
    NF_TRY(nf_call_begin(q, op, flops, nf_call_bytes(dy) + nf_call_bytes(x) + (dw.t.data ? nf_call_bytes(&dw.t) : 0.0),
                         NF_SCRATCH(q, linear_wgrad, dw, db, dy, x), &c));
    return nf_call_end(&c, c.ops ? c.ops->linear_wgrad(q, dw, db, dy, x, c.scratch) : NF_OK);
}
