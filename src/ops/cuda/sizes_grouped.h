/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes_grouped.h: scratch of the experts' linear layers.
 *
 *   grouped   own kernels: next to nothing
 *   eager     the product of one group in fp32, where something follows it; a group may have all rows
 *   batched   rows packed to the same number for each expert, and their products. That number follows from the shape: the rows
 *             that there is room for, shared out evenly. Rows of an expert beyond it go to the own kernels.
 */
#ifndef NEMAFIT_OPS_CUDA_SIZES_GROUPED_H
#define NEMAFIT_OPS_CUDA_SIZES_GROUPED_H

#include "sizes_gemm.h"

enum { NF_CUDA_BATCH_ROWS = 128 }; /* rows of an expert in a batch are a multiple of this */

static inline int64_t nf_cuda_batch_rows(int64_t rows, int64_t experts)
{
    return experts ? nf_ceil_div(nf_ceil_div(rows, experts), NF_CUDA_BATCH_ROWS) * NF_CUDA_BATCH_ROWS : 0;
}

/* Places of the packed rows, and where the rest of each group begins. */
static inline size_t nf_cuda_batch_lists(int64_t rows, int64_t experts, const struct nf_groups *groups)
{
    return nf_part((size_t)(experts * nf_cuda_batch_rows(rows, experts)) * sizeof(int32_t)) +
           nf_part((size_t)groups->count * sizeof(int32_t));
}

/* Of products [., cols] of rows [rows, depth] with something behind them or not. */
static inline size_t nf_cuda_products_scratch(nf_in in, int64_t cols, int64_t experts, bool finished,
                                              const struct nf_groups *groups, const struct nf_grouped_arg *arg)
{
    const int64_t rows = in->dim[0], packed = experts * nf_cuda_batch_rows(rows, experts);

    if (arg->backend == NF_EXPERTS_GROUPED)
        return 0;
    if (arg->backend == NF_EXPERTS_EAGER)
        return nf_part(NF_CUDA_GEMM_WORKSPACE) + (finished ? nf_part((size_t)(rows * cols) * sizeof(float)) : 0);
    return nf_part(NF_CUDA_GEMM_WORKSPACE) + nf_cuda_batch_lists(rows, experts, groups) +
           nf_part((size_t)(packed * in->dim[1]) * nf_real_size(in->dtype)) +
           nf_part((size_t)(packed * cols) * (finished ? sizeof(float) : nf_real_size(in->dtype)));
}

/* Whether a product is the result, or has something behind it: then it is made in fp32. */
static inline bool nf_cuda_forward_finishes(bool pre, const struct nf_grouped_arg *arg)
{
    return arg->act.kind != NF_ACT_NONE || pre || arg->row_weight || (arg->bias && arg->bias->data);
}
static inline bool nf_cuda_dgrad_finishes(bool pre, const struct nf_grouped_arg *arg)
{
    return pre || arg->row_weight;
}

static inline size_t nf_cuda_grouped_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                                    const struct nf_grouped_arg *arg)
{
    (void)y;
    return nf_cuda_products_scratch(x, arg->in_out ? w->dim[2] : w->dim[1], w->dim[0],
                                    nf_cuda_forward_finishes(pre != NULL, arg), groups, arg);
}

/* A row of sums for each column tile, the narrowest being 64 wide. */
static inline size_t nf_cuda_dots_scratch(const float *drow_weight, nf_in dy, int64_t cols)
{
    return drow_weight ? nf_part((size_t)(nf_ceil_div(cols, 64) * dy->dim[0]) * sizeof(float)) : 0;
}

static inline size_t nf_cuda_grouped_dgrad_scratch(nf_out dx, nf_out again, const float *drow_weight, nf_in dy, nf_in w,
                                                   nf_in pre, const struct nf_groups *groups, const struct nf_grouped_arg *arg)
{
    const int64_t K = arg->in_out ? w->dim[1] : w->dim[2];

    (void)dx, (void)again;
    return nf_cuda_dots_scratch(drow_weight, dy, K) +
           nf_cuda_products_scratch(dy, K, w->dim[0], nf_cuda_dgrad_finishes(pre != NULL, arg), groups, arg);
}

/* Weighted rows of dy, for own kernels on tensor cores. */
static inline size_t nf_cuda_weighed_scratch(nf_in dy, const struct nf_grouped_arg *arg)
{
    return arg->row_weight && dy->dtype == NF_BF16 ? nf_part((size_t)(dy->dim[0] * dy->dim[1]) * 2) : 0;
}

/* Eager: weighted rows of one group, and a sum in fp32 where a bf16 gradient has several terms. */
static inline size_t nf_cuda_eager_wgrad_scratch(nf_grad dw, nf_in dy, const struct nf_groups *groups,
                                                 const struct nf_grouped_arg *arg)
{
    const bool sums = dw.t.dtype == NF_BF16 && groups->count > dw.t.dim[0];
    size_t bytes = nf_part(NF_CUDA_GEMM_WORKSPACE);

    if (arg->row_weight)
        bytes += nf_part((size_t)(dy->dim[0] * dy->dim[1]) * nf_real_size(dy->dtype));
    return bytes + (sums ? nf_part((size_t)(dw.t.dim[1] * dw.t.dim[2]) * sizeof(float)) : 0);
}

static inline size_t nf_cuda_batched_wgrad_scratch(nf_grad dw, nf_in dy, nf_in x, const struct nf_groups *groups,
                                                   const struct nf_grouped_arg *arg)
{
    const int64_t rows = dy->dim[0], packed = dw.t.dim[0] * nf_cuda_batch_rows(rows, dw.t.dim[0]);
    const size_t size = nf_real_size(dy->dtype);

    return nf_part(NF_CUDA_GEMM_WORKSPACE) + nf_cuda_batch_lists(rows, dw.t.dim[0], groups) +
           nf_part((size_t)(packed * dy->dim[1]) * size) + nf_part((size_t)(packed * x->dim[1]) * size) +
           nf_cuda_weighed_scratch(dy, arg);
}

static inline size_t nf_cuda_grouped_wgrad_scratch(nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                                                   const struct nf_grouped_arg *arg)
{
    (void)dbias;
    if (!dw.t.data)
        return 0;
    return arg->backend == NF_EXPERTS_EAGER     ? nf_cuda_eager_wgrad_scratch(dw, dy, groups, arg)
           : arg->backend == NF_EXPERTS_BATCHED ? nf_cuda_batched_wgrad_scratch(dw, dy, x, groups, arg)
                                                : nf_cuda_weighed_scratch(dy, arg);
}

#endif
