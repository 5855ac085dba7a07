/* SPDX-License-Identifier: Apache-2.0 */
/* sizes_rows.h: scratch of the ops that walk rows or flat runs: mostly partial sums, added in a fixed order by a second kernel.
 */
#ifndef NEMAFIT_OPS_CUDA_SIZES_ROWS_H
#define NEMAFIT_OPS_CUDA_SIZES_ROWS_H

#include "layout.h"

/* Blocks of a sum over a flat run. The number is part of the order of the sum, so it follows from the length alone. */
static inline int64_t nf_cuda_sum_blocks(int64_t n)
{
    const int64_t blocks = nf_ceil_div(n, 4096);
    return blocks < 1 ? 1 : blocks > 1024 ? 1024 : blocks;
}

/* Parts of a sum over rows, a block each: 16 rows or more in one, so that the parts are few beside the rows. At least one,
 * which writes zeros where there are no rows. */
static inline int64_t nf_cuda_row_parts(int64_t rows)
{
    const int64_t parts = nf_ceil_div(rows, 16);
    return parts < 1 ? 1 : parts > 264 ? 264 : parts;
}

enum { NF_CUDA_CONV_PART = 64 /* tokens that a thread of the convolution walks along */ };

static inline size_t nf_cuda_sumsq_scratch(nf_in x)
{
    return nf_part((size_t)nf_cuda_sum_blocks(x->dim[0]) * sizeof(double));
}

static inline size_t nf_cuda_embed_bwd_scratch(int64_t tokens, nf_grad dw)
{
    return 3 * nf_part((size_t)dw.t.dim[0] * sizeof(int32_t)) + 2 * nf_part((size_t)tokens * sizeof(int32_t));
}

static inline size_t nf_cuda_add_norm_scratch(nf_out stream, nf_out y, nf_in prev, nf_in branch, nf_in w)
{
    (void)stream, (void)y, (void)prev, (void)branch, (void)w;
    return 0;
}

static inline size_t nf_cuda_add_norm_bwd_scratch(nf_out dstream, nf_in dy, nf_in stream, nf_in w)
{
    (void)dstream, (void)stream, (void)w;
    return nf_part((size_t)(nf_cuda_row_parts(dy->dim[0]) * dy->dim[1]) * sizeof(float));
}

static inline size_t nf_cuda_gated_norm_scratch(nf_out o, nf_in y, nf_in z, nf_in w)
{
    (void)o, (void)y, (void)z, (void)w;
    return 0;
}

static inline size_t nf_cuda_gated_norm_bwd_scratch(nf_out dy, nf_out dz, nf_out o_again, nf_in d_o, nf_in y, nf_in z, nf_in w)
{
    (void)dy, (void)dz, (void)o_again, (void)d_o, (void)z, (void)w;
    return nf_part((size_t)(nf_cuda_row_parts(y->dim[0]) * y->dim[1]) * sizeof(float));
}

static inline size_t nf_cuda_conv_silu_scratch(nf_out y, nf_in x, nf_in w)
{
    (void)y, (void)x, (void)w;
    return 0;
}

static inline size_t nf_cuda_conv_silu_bwd_scratch(nf_out dx, nf_in dy, nf_in x, nf_in w)
{
    (void)dx, (void)dy;
    return nf_part((size_t)(nf_ceil_div(x->dim[0], NF_CUDA_CONV_PART) * (w->dim[1] + 1) * x->dim[1]) * sizeof(float));
}

static inline size_t nf_cuda_route_scratch(int64_t experts, const struct nf_route_arg *arg)
{
    (void)experts, (void)arg;
    return 0;
}

enum { NF_CUDA_ORDER_CHUNK = 512 /* entries (row, slot) that one warp puts in order */ };

static inline size_t nf_cuda_order_scratch(const struct nf_order *order)
{
    const int64_t entries = order->row_cap * order->k, chunks = nf_ceil_div(entries, NF_CUDA_ORDER_CHUNK);
    return nf_part((size_t)(chunks * order->experts) * sizeof(int32_t)) + nf_part((size_t)entries * sizeof(int32_t));
}

#endif
