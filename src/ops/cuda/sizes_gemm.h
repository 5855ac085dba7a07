/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes_gemm.h: scratch of linear layers and of head and loss.
 *
 * cuBLASLt multiplies operands of one type: bf16 into bf16 or fp32, fp32 into fp32. Of a mixed pair the bf16 operand is widened
 * first, and a product of fp32 operands with a bf16 result is rounded afterwards: both take scratch (nf_cuda_product_scratch).
 */
#ifndef NEMAFIT_OPS_CUDA_SIZES_GEMM_H
#define NEMAFIT_OPS_CUDA_SIZES_GEMM_H

#include "layout.h"

#define NF_CUDA_GEMM_WORKSPACE ((size_t)32 << 20) /* what NVIDIA recommends for this architecture */
#define NF_CUDA_HEAD_BUDGET ((size_t)1 << 30)     /* bytes of logits */

/* Of a product [m, n] of a and b with a result of type d */
static inline size_t nf_cuda_product_scratch(nf_in a, nf_in b, nf_dtype d, int64_t m, int64_t n)
{
    const bool mixed = a->dtype != b->dtype;
    nf_in half = a->dtype == NF_BF16 ? a : b;
    size_t bytes = nf_part(NF_CUDA_GEMM_WORKSPACE);

    if (mixed)
        bytes += nf_part((size_t)(half->dim[0] * half->dim[1]) * sizeof(float));
    if (d == NF_BF16 && (mixed || a->dtype == NF_F32))
        bytes += nf_part((size_t)(m * n) * sizeof(float));
    return bytes;
}

static inline bool nf_cuda_gated(const struct nf_act_arg *act)
{
    return act->kind == NF_ACT_SWIGLU || act->kind == NF_ACT_SWIGLU_CLAMP;
}

/* Whether the value before bias and activation, if it is not kept, lies elsewhere than the result: where it is wider, and where
 * the result may be what is still to be added. */
static inline bool nf_cuda_value_apart(const struct nf_linear_arg *arg)
{
    return nf_cuda_gated(&arg->act) || (arg->add && (arg->act.kind != NF_ACT_NONE || (arg->bias && arg->bias->data)));
}

static inline size_t nf_cuda_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg)
{
    const int64_t T = x->dim[0], N = w->dim[0];
    size_t bytes = nf_cuda_product_scratch(x, w, pre ? pre->dtype : y->dtype, T, N);

    if (!pre && nf_cuda_value_apart(arg))
        bytes += nf_part((size_t)(T * N) * (y->dtype == NF_F32 ? 4 : 2));
    return bytes;
}

static inline size_t nf_cuda_linear_dgrad_scratch(nf_out dx, nf_out again, nf_in dy, nf_in w, nf_in pre,
                                                  const struct nf_linear_arg *arg)
{
    const int64_t T = dy->dim[0], K = w->dim[1];
    size_t bytes = nf_cuda_product_scratch(dy, w, dx->dtype, T, K);

    (void)again, (void)pre;
    if (arg->act.kind != NF_ACT_NONE) /* the gradient of the activation's value */
        bytes += nf_part((size_t)(T * K) * (dx->dtype == NF_F32 ? 4 : 2));
    return bytes;
}

static inline int64_t nf_cuda_column_parts(int64_t rows)
{
    const int64_t parts = nf_ceil_div(rows, 64);
    return parts < 1 ? 1 : parts > 128 ? 128 : parts;
}

static inline size_t nf_cuda_linear_wgrad_scratch(nf_grad dw, nf_grad db, nf_in dy, nf_in x)
{
    size_t bytes = 0;

    if (dw.t.data)
        bytes += nf_cuda_product_scratch(dy, x, dw.t.dtype, dy->dim[1], x->dim[1]);
    if (db.t.data)
        bytes += nf_part((size_t)(nf_cuda_column_parts(dy->dim[0]) * dy->dim[1]) * sizeof(float));
    return bytes;
}

/* Logits lie in fp32 with rows on 32 bytes. */
static inline int64_t nf_cuda_head_stride(int64_t vocabulary)
{
    return (vocabulary + 7) / 8 * 8;
}

/* Tokens whose logits are made at once */
static inline int64_t nf_cuda_head_tokens(int64_t tokens, int64_t vocabulary)
{
    const int64_t row = nf_cuda_head_stride(vocabulary) * (int64_t)sizeof(float);
    int64_t fit = (int64_t)NF_CUDA_HEAD_BUDGET / (row > 0 ? row : 1);

    fit = fit > 128 ? fit / 128 * 128 : fit < 1 ? 1 : fit;
    return tokens < fit ? tokens : fit;
}

/* The three products of head and loss, one after the other, share what the largest of them takes. */
static inline size_t nf_cuda_head_scratch(nf_in h, nf_in w, bool gradients, nf_grad dw)
{
    const int64_t V = w->dim[0], H = w->dim[1], C = nf_cuda_head_tokens(h->dim[0], V);
    const nf_tensor rows = {NULL, h->dtype, 2, {C, H, 0}, {H, 0}}, dz = {NULL, h->dtype, 2, {C, V, 0}, {V, 0}};
    size_t most = nf_cuda_product_scratch(&rows, w, NF_F32, C, V), one;

    one = gradients ? nf_cuda_product_scratch(&dz, w, h->dtype, C, H) : 0;
    most = one > most ? one : most;
    one = dw.t.data ? nf_cuda_product_scratch(&dz, &rows, dw.t.dtype, V, H) : 0;
    most = one > most ? one : most;
    return most + nf_part((size_t)(C * nf_cuda_head_stride(V)) * sizeof(float)) + nf_part((size_t)h->dim[0] * sizeof(float));
}

static inline size_t nf_cuda_head_logits_scratch(nf_in h, nf_in w)
{
    return nf_cuda_product_scratch(h, w, NF_F32, h->dim[0], w->dim[0]);
}

#endif
