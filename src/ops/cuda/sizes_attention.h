/* SPDX-License-Identifier: Apache-2.0 */
/* sizes_attention.h: scratch of the attention kernels, and what of their plan decides it. */
#ifndef NEMAFIT_OPS_CUDA_SIZES_ATTENTION_H
#define NEMAFIT_OPS_CUDA_SIZES_ATTENTION_H

#include "layout.h"

enum { NF_CUDA_ATTN_TILE = 128, NF_CUDA_ATTN_QUERIES = 64, NF_CUDA_ATTN_BLOCKS = 264 /* two for each processor of an H100 */ };

/* Whether the kernels on tensor cores are built for this shape; where rows do not start on 16 bytes they still cannot take it.
 */
static inline bool nf_cuda_attention_tiles(nf_dtype type, const struct nf_attention_arg *arg)
{
    return type == NF_BF16 && arg->d_qk == arg->d_v && (arg->d_qk == 64 || arg->d_qk == 128) &&
           arg->backend != NF_ATTN_REFERENCE;
}

/* In how many parts the query heads of a kv head are cut, so that the pass that owns keys has enough blocks: from the shape
 * alone, since sums are cut by it. */
static inline int nf_cuda_attention_parts(int64_t rows, int64_t len, int heads, int kv_heads)
{
    const int ratio = heads / kv_heads;
    const int64_t blocks = nf_ceil_div(len, NF_CUDA_ATTN_TILE) * rows * kv_heads;
    int parts = 1;

    while (parts < ratio && (blocks * parts < NF_CUDA_ATTN_BLOCKS || ratio % parts))
        parts++;
    return parts;
}

/* Floats of a token in a part of dk or dv. */
static inline int64_t nf_cuda_attention_part(const struct nf_attention_arg *arg)
{
    return (int64_t)arg->kv_heads * arg->d_qk;
}

/* Tokens of a row as the backward's statistics lie. */
static inline int64_t nf_cuda_attention_stride(const struct nf_attention_arg *arg)
{
    return nf_ceil_div(arg->seq.len, NF_CUDA_ATTN_QUERIES) * NF_CUDA_ATTN_QUERIES;
}

/*
 * What cuDNN's graphs cannot do of a call, in words, or NULL: it is refused before a run starts. Only calls of training go
 * there: plans are made for shapes that come again.
 */
static inline const char *nf_cuda_attention_dnn_lacks(nf_dtype type, const struct nf_attention_arg *arg)
{
    if (type != NF_BF16)
        return "has no fp32 kernels: model.dtype = 'bf16' is what it can do";
    if (arg->window > 0 && arg->window < arg->seq.len)
        return "has no sliding window here";
    if (arg->sinks)
        return "has no attention sinks here";
    if (arg->seq.segment)
        return "has no segments, and these data have some (rows packed of several documents, or with padding)";
    if (arg->d_qk % 8 || arg->d_v % 8 || arg->d_qk > 256 || arg->d_v > 256)
        return "wants heads whose width is a multiple of 8 and at most 256";
    return NULL;
}

static inline bool nf_cuda_attention_dnn_takes(const struct nf_attention_arg *arg)
{
    return arg->backend == NF_ATTN_CUDNN && arg->training;
}

/* Bytes that cuDNN asks for beside its tensors: with grouped queries dk and dv of each query head. Known of 9.19, which takes
 * 256 bytes more than that; a version that wants more than is left fails by name when it makes its plan. */
static inline size_t nf_cuda_attention_dnn_workspace(const struct nf_attention_arg *arg, bool backward)
{
    const int64_t heads = arg->seq.rows * arg->seq.len * arg->heads * (arg->d_qk + arg->d_v);
    return ((size_t)1 << 20) + (backward && arg->heads != arg->kv_heads ? (size_t)heads * 2 : 0);
}

/* Of its backward: dq in fp32, and a number for each token and head. */
static inline size_t nf_cuda_attention_dnn_sum(const struct nf_attention_arg *arg)
{
    return (size_t)(arg->seq.rows * arg->seq.len * arg->heads * arg->d_qk) * sizeof(float);
}
static inline size_t nf_cuda_attention_dnn_delta(const struct nf_attention_arg *arg)
{
    return (size_t)(arg->seq.rows * arg->seq.len * arg->heads) * sizeof(float);
}

static inline size_t nf_cuda_attention_scratch(nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg)
{
    (void)query, (void)key, (void)value, (void)o;
    if (nf_cuda_attention_dnn_takes(arg))
        return nf_part(nf_cuda_attention_dnn_workspace(arg, false));
    return arg->seq.segment ? nf_part((size_t)(arg->seq.rows * arg->seq.len) * sizeof(int32_t)) : 0;
}

static inline size_t nf_cuda_attention_bwd_scratch(nf_in query, nf_in key, nf_in value, nf_in o,
                                                   const struct nf_attention_arg *arg)
{
    const int64_t T = arg->seq.rows * arg->seq.len, stats = arg->heads * arg->seq.rows * nf_cuda_attention_stride(arg);
    const int parts = nf_cuda_attention_tiles(query->dtype, arg)
                          ? nf_cuda_attention_parts(arg->seq.rows, arg->seq.len, arg->heads, arg->kv_heads)
                          : 1;
    const size_t part = nf_part((size_t)(parts * T * nf_cuda_attention_part(arg)) * sizeof(float));

    if (nf_cuda_attention_dnn_takes(arg))
        return nf_part(nf_cuda_attention_dnn_workspace(arg, true)) + nf_part(nf_cuda_attention_dnn_sum(arg)) +
               nf_part(nf_cuda_attention_dnn_delta(arg));
    return nf_cuda_attention_scratch(query, key, value, o, arg) + 2 * nf_part((size_t)stats * sizeof(float)) +
           (parts > 1 ? 2 * part : 0);
}

#endif
