/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.c: attention of the CUDA backend: which kernels take a call, and with what. 'flash' is on tensor cores where the
 * shape allows (bf16, heads of 64 or 128 columns, rows on 16 bytes); 'reference', fp32 and other widths are plain arithmetic.
 * 'cudnn' is cuDNN's for what is trained on; evaluations and samples, whose shapes vary, go to our own forward.
 */
#include "attention.h"
#include "attention_dnn.h"
#include "launch.h"
#include "layout.h"
#include "maps.h"
#include "sizes_attention.h"
#include "slots.h"

static struct nf_cuda_view view_of(nf_in t)
{
    return (struct nf_cuda_view){t->data, t->stride[0], nf_cuda_mappable(t->data, t->stride[0])};
}

static bool empty(const struct nf_attention_arg *a)
{
    return a->seq.rows == 0 || a->seq.len == 0;
}

static bool flash(nf_in q, nf_in k, nf_in v, nf_in g, const struct nf_attention_arg *a)
{
    return nf_cuda_attention_tiles(q->dtype, a) && !empty(a) && view_of(q).vec && view_of(k).vec && view_of(v).vec &&
           (!g || view_of(g).vec);
}

static nf_status widths(const char *op, const struct nf_attention_arg *a)
{
    if (a->d_qk > 256 || a->d_v > 256)
        return nf_cuda_fail(NF_EMODEL, "%s: heads of %d and %d columns; the CUDA backend has kernels up to 256", op, a->d_qk,
                            a->d_v);
    return NF_OK;
}

/* Conditions of cuDNN's graphs that a dry run has met before; addresses are first seen here. */
static nf_status dnn_takes(const char *op, nf_dtype type, const struct nf_attention_arg *a, nf_in const *tensors, int count)
{
    const char *lacks = nf_cuda_attention_dnn_lacks(type, a);

    if (lacks)
        return nf_cuda_fail(NF_EBUG, "%s: cuDNN %s", op, lacks);
    for (int i = 0; i < count; i++)
        if (!view_of(tensors[i]).vec)
            return nf_cuda_fail(NF_EBUG, "%s: cuDNN wants rows that start on 16 bytes", op);
    return NF_OK;
}

/* `first` for segments lies in scratch. */
static nf_status call_of(nf_queue *queue, const char *op, nf_in q, nf_in k, nf_in v, nf_in o, const float *lse,
                         const struct nf_attention_arg *a, struct nf_carving *c, struct nf_cuda_attn *call)
{
    const int64_t T = a->seq.rows * a->seq.len;
    const int window = a->window < a->seq.len ? (int)a->window : 0;
    int32_t *first = NULL;

    NF_TRY(widths(op, a));
    if (a->seq.segment) {
        first = nf_carve(c, (size_t)T * sizeof *first);
        if (!first)
            return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", op);
        NF_TRY(nf_cuda_launched(op, nf_cuda_attention_first(first, a->seq.segment, (int)a->seq.rows, (int)a->seq.len, window,
                                                            nf_cuda_stream_of(queue))));
    }
    *call = (struct nf_cuda_attn){.heads = a->heads,
                                  .kv_heads = a->kv_heads,
                                  .d_qk = a->d_qk,
                                  .d_v = a->d_v,
                                  .scale = a->scale,
                                  .rows = (int)a->seq.rows,
                                  .len = (int)a->seq.len,
                                  .window = window,
                                  .sinks = a->sinks,
                                  .first = first,
                                  .q = view_of(q),
                                  .k = view_of(k),
                                  .v = view_of(v),
                                  .o = view_of(o),
                                  .lse = (float *)(uintptr_t)lse};
    return NF_OK;
}

static nf_status map(CUtensorMap *m, nf_in t, const struct nf_attention_arg *a, int box_rows)
{
    return nf_cuda_map(m, t->data, t->dim[1], a->seq.len, a->seq.rows, t->stride[0], a->seq.len * t->stride[0], box_rows);
}

nf_status nf_cuda_attention(nf_queue *queue, nf_out o, float *lse, nf_in q, nf_in k, nf_in v,
                            const struct nf_attention_arg *arg, void *scratch)
{
    const char *op = "attention";
    struct nf_carving c = {scratch, nf_cuda_attention_scratch(q, k, v, o, arg)};
    struct nf_cuda_attn call;
    struct nf_cuda_attn_maps m;

    if (nf_cuda_attention_dnn_takes(arg) && !empty(arg)) {
        NF_TRY(dnn_takes(op, q->dtype, arg, (nf_in[]){q, k, v, o}, 4));
        return nf_cuda_attention_dnn(nf_cuda_stream_of(queue), o, lse, q, k, v, arg, scratch);
    }
    NF_TRY(call_of(queue, op, q, k, v, o, lse, arg, &c, &call));
    if (!flash(q, k, v, NULL, arg))
        return nf_cuda_launched(op, nf_cuda_plain_attention(&call, q->dtype == NF_BF16, nf_cuda_stream_of(queue)));
    NF_TRY(map(&m.q, q, arg, NF_CUDA_ATTN_TILE));
    NF_TRY(map(&m.k, k, arg, NF_CUDA_ATTN_TILE));
    NF_TRY(map(&m.v, v, arg, NF_CUDA_ATTN_TILE));
    return nf_cuda_launched(op, nf_cuda_flash_forward(&call, &m, nf_cuda_stream_of(queue)));
}

static nf_status back_on_tensor_cores(const char *op, struct nf_cuda_attn_back *call, struct nf_carving *c, nf_in q, nf_in k,
                                      nf_in v, nf_in g, const struct nf_attention_arg *arg, cudaStream_t s)
{
    const int64_t T = arg->seq.rows * arg->seq.len, part = nf_cuda_attention_part(arg);
    struct nf_cuda_attn_maps m;

    call->parts = nf_cuda_attention_parts(call->f.rows, call->f.len, arg->heads, arg->kv_heads);
    if (call->parts > 1) {
        call->part_dk = nf_carve(c, (size_t)(call->parts * T * part) * sizeof(float));
        call->part_dv = nf_carve(c, (size_t)(call->parts * T * part) * sizeof(float));
        if (!call->part_dk || !call->part_dv)
            return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", op);
    }
    NF_TRY(map(&m.q, q, arg, NF_CUDA_ATTN_TILE));
    NF_TRY(map(&m.k, k, arg, NF_CUDA_ATTN_TILE));
    NF_TRY(map(&m.v, v, arg, NF_CUDA_ATTN_TILE));
    NF_TRY(map(&m.g, g, arg, NF_CUDA_ATTN_TILE));
    NF_TRY(map(&m.q64, q, arg, NF_CUDA_ATTN_QUERIES));
    NF_TRY(map(&m.g64, g, arg, NF_CUDA_ATTN_QUERIES));
    NF_TRY(nf_cuda_launched(op, nf_cuda_flash_backward(call, &m, s)));
    return call->parts > 1 ? nf_cuda_launched(op, nf_cuda_attention_sum_parts(call, s)) : NF_OK;
}

nf_status nf_cuda_attention_bwd(nf_queue *queue, nf_out dq, nf_out dk, nf_out dv, nf_grad dsinks, nf_in g, nf_in q, nf_in k,
                                nf_in v, nf_in o, const float *lse, const struct nf_attention_arg *arg, void *scratch)
{
    const char *op = "attention_bwd";
    struct nf_carving c = {scratch, nf_cuda_attention_bwd_scratch(q, k, v, o, arg)};
    struct nf_cuda_attn_back call = {
        .g = view_of(g), .dq = view_of(dq), .dk = view_of(dk), .dv = view_of(dv), .stride = (int)nf_cuda_attention_stride(arg)};
    const size_t stats = (size_t)(arg->heads * arg->seq.rows * call.stride) * sizeof(float);
    const cudaStream_t s = nf_cuda_stream_of(queue);
    const bool bf16 = q->dtype == NF_BF16;

    if (nf_cuda_attention_dnn_takes(arg) && !empty(arg)) {
        NF_TRY(dnn_takes(op, q->dtype, arg, (nf_in[]){q, k, v, o, g, dq, dk, dv}, 8));
        return nf_cuda_attention_dnn_bwd(s, dq, dk, dv, g, q, k, v, o, lse, arg, scratch);
    }
    NF_TRY(call_of(queue, op, q, k, v, o, lse, arg, &c, &call.f));
    call.shift = nf_carve(&c, stats);
    call.delta = nf_carve(&c, stats);
    call.dsinks = dsinks.t.data;
    call.dsinks_accumulate = dsinks.accumulate;
    if (!call.shift || !call.delta)
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", op);
    NF_TRY(nf_cuda_launched(op, nf_cuda_attention_prepare(&call, bf16, s)));
    if (flash(q, k, v, g, arg))
        NF_TRY(back_on_tensor_cores(op, &call, &c, q, k, v, g, arg, s));
    else
        NF_TRY(nf_cuda_launched(op, nf_cuda_plain_attention_back(&call, bf16, s)));
    return call.dsinks ? nf_cuda_launched(op, nf_cuda_attention_dsinks(&call, s)) : NF_OK;
}
