/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c: conditions of attention and its gradient (ops.h). The CPU has one kernel for every value of arg->backend. */
#include "call.h"
#include "check.h"
#include "scratch.h"

/* Pairs of query and key in one row, without segments: what the causal window leaves. */
static double pairs(const struct nf_attention_arg *a)
{
    const double s = (double)a->seq.len, w = a->window > 0 && a->window < a->seq.len ? (double)a->window : s;

    return w * (w + 1) / 2 + (s - w) * w;
}

static nf_status conditions(const char *op, nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *a)
{
    const int64_t T = a->seq.rows * a->seq.len;

    if (a->heads < 1 || a->kv_heads < 1 || a->heads % a->kv_heads || a->d_qk < 1 || a->d_v < 1)
        return nf_fail(NF_EBUG, "%s: %d heads on %d kv heads of widths %d and %d", op, a->heads, a->kv_heads, a->d_qk, a->d_v);
    if (a->seq.rows < 0 || a->seq.len < 0 || a->seq.len > INT32_MAX || a->window < 0)
        return nf_fail(NF_EBUG, "%s: %lld rows of %lld tokens, window %lld", op, (long long)a->seq.rows, (long long)a->seq.len,
                       (long long)a->window);
    NF_TRY(nf_check_real(op, "q", query));
    NF_TRY(nf_check_matrix(op, "q", query, query->dtype, T, (int64_t)a->heads * a->d_qk));
    NF_TRY(nf_check_matrix(op, "k", key, query->dtype, T, (int64_t)a->kv_heads * a->d_qk));
    NF_TRY(nf_check_matrix(op, "v", value, query->dtype, T, (int64_t)a->kv_heads * a->d_v));
    return nf_check_matrix(op, "o", o, query->dtype, T, (int64_t)a->heads * a->d_v);
}

/* What cuDNN has no graph for: a dry run finds it, before anything is allocated. */
static nf_status allowed(nf_queue *q, nf_in query, const struct nf_attention_arg *a)
{
    const bool dnn = nf_device_kind(nf_queue_device(q)) == NF_CUDA && nf_cuda_attention_dnn_takes(a);
    const char *lacks = dnn ? nf_cuda_attention_dnn_lacks(query->dtype, a) : NULL;

    return lacks ? nf_fail(NF_EUSAGE, "backend.attention = 'cudnn': cuDNN %s\n  Hint: backend.attention = 'flash'", lacks)
                 : NF_OK;
}

nf_status nf_attention(nf_queue *q, nf_out o, float *lse, nf_in query, nf_in key, nf_in value,
                       const struct nf_attention_arg *arg)
{
    struct nf_call c;

    NF_TRY(conditions("attention", query, key, value, o, arg));
    NF_TRY(allowed(q, query, arg));
    const double flops = 2.0 * pairs(arg) * (double)arg->seq.rows * arg->heads * (arg->d_qk + arg->d_v);
    NF_TRY(nf_call_begin(q, "attention", flops,
                         nf_call_bytes(query) + nf_call_bytes(key) + nf_call_bytes(value) + nf_call_bytes(o),
                         NF_SCRATCH(q, attention, query, key, value, o, arg), &c));
    return nf_call_end(&c, c.ops ? c.ops->attention(q, o, lse, query, key, value, arg, c.scratch) : NF_OK);
}

nf_status nf_attention_bwd(nf_queue *q, nf_out dquery, nf_out dkey, nf_out dvalue, nf_grad dsinks, nf_in d_o, nf_in query,
                           nf_in key, nf_in value, nf_in o, const float *lse, const struct nf_attention_arg *arg)
{
    const char *op = "attention_bwd";
    struct nf_call c;

    NF_TRY(conditions(op, query, key, value, o, arg));
    NF_TRY(allowed(q, query, arg));
    NF_TRY(nf_check_matrix(op, "do", d_o, o->dtype, o->dim[0], o->dim[1]));
    NF_TRY(nf_check_matrix(op, "dq", dquery, query->dtype, query->dim[0], query->dim[1]));
    NF_TRY(nf_check_matrix(op, "dk", dkey, key->dtype, key->dim[0], key->dim[1]));
    NF_TRY(nf_check_matrix(op, "dv", dvalue, value->dtype, value->dim[0], value->dim[1]));
    if (dsinks.t.data) {
        NF_TRY(nf_check_vector(op, "dsinks", &dsinks.t, NF_F32, arg->heads));
        NF_CHECK(arg->sinks);
    }
    const double flops = 2.0 * pairs(arg) * (double)arg->seq.rows * arg->heads * (3.0 * arg->d_qk + 2.0 * arg->d_v);
    NF_TRY(nf_call_begin(q, op, flops,
                         2 * (nf_call_bytes(query) + nf_call_bytes(key) + nf_call_bytes(value) + nf_call_bytes(o)),
                         NF_SCRATCH(q, attention_bwd, query, key, value, o, arg), &c));
    return nf_call_end(
        &c,
        c.ops ? c.ops->attention_bwd(q, dquery, dkey, dvalue, dsinks, d_o, query, key, value, o, lse, arg, c.scratch) : NF_OK);
}
