/* SPDX-License-Identifier: Apache-2.0 */
/* ssd.c: conditions of the state-space scan and its gradient (ops.h). */
#include "call.h"
#include "check.h"
#include "cpu/cpu.h"
#include "scratch.h"

static nf_status shape(const char *op, const struct nf_ssd_arg *a)
{
    if (a->heads < 1 || a->groups < 1 || a->heads % a->groups || a->head_dim < 1 || a->state < 1 || a->chunk < 1)
        return nf_fail(NF_EBUG, "%s: %d heads of %d, %d groups of state %d, chunk %d", op, a->heads, a->head_dim, a->groups,
                       a->state, a->chunk);
    if (a->seq.rows < 0 || a->seq.len < 0 || a->seq.len > INT32_MAX || !(a->dt_lo <= a->dt_hi))
        return nf_fail(NF_EBUG, "%s: %lld rows of %lld tokens, dt in [%g, %g]", op, (long long)a->seq.rows,
                       (long long)a->seq.len, (double)a->dt_lo, (double)a->dt_hi);
    return NF_OK;
}

static nf_status conditions(const char *op, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d,
                            const struct nf_ssd_arg *a)
{
    const int64_t T = a->seq.rows * a->seq.len;

    NF_TRY(shape(op, a));
    NF_TRY(nf_check_real(op, "x", x));
    NF_TRY(nf_check_matrix(op, "x", x, x->dtype, T, (int64_t)a->heads * a->head_dim));
    NF_TRY(nf_check_matrix(op, "b", b, x->dtype, T, (int64_t)a->groups * a->state));
    NF_TRY(nf_check_matrix(op, "c", c, x->dtype, T, (int64_t)a->groups * a->state));
    NF_TRY(nf_check_matrix(op, "dt", dt, x->dtype, T, a->heads));
    NF_TRY(nf_check_vector(op, "dt_bias", dt_bias, NF_F32, a->heads));
    NF_TRY(nf_check_vector(op, "a_log", a_log, NF_F32, a->heads));
    return nf_check_vector(op, "d", d, NF_F32, a->heads);
}

static nf_status check_sum(const char *op, const char *name, nf_grad g, int64_t n)
{
    return g.t.data ? nf_check_vector(op, name, &g.t, NF_F32, n) : NF_OK;
}

/* Multiply-adds as a recurrence costs them: state update and output. Tiles do more, on purpose. */
static double flops(const struct nf_ssd_arg *a)
{
    return 4.0 * (double)a->seq.rows * (double)a->seq.len * a->heads * a->head_dim * a->state;
}

size_t nf_ssd_kept(const nf_queue *q, const struct nf_ssd_arg *arg)
{
    return nf_device_kind(nf_queue_device((nf_queue *)q)) == NF_CUDA ? nf_cuda_ssd_kept(arg) : nf_cpu_ssd_kept(arg);
}

nf_status nf_ssd(nf_queue *q, nf_out y, void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d,
                 const struct nf_ssd_arg *arg)
{
    struct nf_call call;

    NF_TRY(conditions("ssd", x, b, c, dt, dt_bias, a_log, d, arg));
    NF_TRY(nf_check_matrix("ssd", "y", y, x->dtype, x->dim[0], x->dim[1]));
    NF_TRY(nf_call_begin(q, "ssd", flops(arg),
                         2 * nf_call_bytes(x) + nf_call_bytes(b) + nf_call_bytes(c) + (double)nf_ssd_kept(q, arg),
                         NF_SCRATCH(q, ssd, y, kept != NULL, x, b, c, arg), &call));
    return nf_call_end(&call, call.ops ? call.ops->ssd(q, y, kept, x, b, c, dt, dt_bias, a_log, d, arg, call.scratch) : NF_OK);
}

nf_status nf_ssd_bwd(nf_queue *q, nf_out dx, nf_out db, nf_out dc, nf_out ddt, nf_grad ddt_bias, nf_grad da_log, nf_grad dd,
                     nf_in dy, const void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d,
                     const struct nf_ssd_arg *arg)
{
    const char *op = "ssd_bwd";
    struct nf_call call;

    NF_TRY(conditions(op, x, b, c, dt, dt_bias, a_log, d, arg));
    NF_TRY(nf_check_matrix(op, "dy", dy, x->dtype, x->dim[0], x->dim[1]));
    NF_TRY(nf_check_matrix(op, "dx", dx, x->dtype, x->dim[0], x->dim[1]));
    NF_TRY(nf_check_matrix(op, "db", db, b->dtype, b->dim[0], b->dim[1]));
    NF_TRY(nf_check_matrix(op, "dc", dc, c->dtype, c->dim[0], c->dim[1]));
    NF_TRY(nf_check_matrix(op, "ddt", ddt, dt->dtype, dt->dim[0], dt->dim[1]));
    NF_TRY(check_sum(op, "ddt_bias", ddt_bias, arg->heads));
    NF_TRY(check_sum(op, "da_log", da_log, arg->heads));
    NF_TRY(check_sum(op, "dd", dd, arg->heads));
    NF_TRY(nf_call_begin(q, op, 2.5 * flops(arg),
                         3 * nf_call_bytes(x) + 2 * nf_call_bytes(b) + 2 * nf_call_bytes(c) + (double)nf_ssd_kept(q, arg),
                         NF_SCRATCH(q, ssd_bwd, x, b, arg), &call));
    return nf_call_end(&call, call.ops ? call.ops->ssd_bwd(q, dx, db, dc, ddt, ddt_bias, da_log, dd, dy, kept, x, b, c, dt,
                                                           dt_bias, a_log, d, arg, call.scratch)
                                       : NF_OK);
}
