/* SPDX-License-Identifier: Apache-2.0 */
/* sizes_grouped.h: scratch of the experts' linear layers. */
#ifndef NEMAFIT_OPS_CUDA_SIZES_GROUPED_H
#define NEMAFIT_OPS_CUDA_SIZES_GROUPED_H

#include "layout.h"

static inline size_t nf_cuda_grouped_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                                    const struct nf_grouped_arg *arg)
{
    (void)y, (void)pre, (void)x, (void)w, (void)groups, (void)arg;
    return 0;
}

/* A row of sums for each column tile, the narrowest being 64 wide. */
static inline size_t nf_cuda_grouped_dgrad_scratch(nf_out dx, nf_out again, const float *drow_weight, nf_in dy, nf_in w,
                                                   nf_in pre, const struct nf_groups *groups, const struct nf_grouped_arg *arg)
{
    const int64_t K = arg->in_out ? w->dim[1] : w->dim[2];

    (void)dx, (void)again, (void)pre, (void)groups;
    return drow_weight ? nf_part((size_t)(nf_ceil_div(K, 64) * dy->dim[0]) * sizeof(float)) : 0;
}

/* Weighted rows of dy. */
static inline size_t nf_cuda_grouped_wgrad_scratch(nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                                                   const struct nf_grouped_arg *arg)
{
    (void)dbias, (void)x, (void)groups;
    return dw.t.data && arg->row_weight && dy->dtype == NF_BF16 ? nf_part((size_t)(dy->dim[0] * dy->dim[1]) * 2) : 0;
}

#endif
