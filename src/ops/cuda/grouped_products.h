/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_products.h: the experts' layers as products of cuBLASLt, for the back ends 'eager' (grouped_eager.c: a product a
 * group, counts read on the host) and 'batched' (grouped_batched.c: one batch for all experts, each padded to the same rows).
 * Products that something follows are made in fp32 and finished by the kernels here, so that results are rounded once, as by
 * our own kernels.
 */
#ifndef NF_OPS_CUDA_GROUPED_PRODUCTS_H
#define NF_OPS_CUDA_GROUPED_PRODUCTS_H

#include "gemm.h"
#include "grouped.h"
#include "sizes_grouped.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Entries that are rows of the tensors: entry i is row row[i] of them (-1: none) or, with row NULL, first + i, of expert
 * expert + i / each.
 */
struct nf_cuda_entries {
    const int32_t *row;
    int count, first, expert, each;
};

/* grouped_pack.cu */

/*
 * Places for `each` rows of each of `experts` experts, in the order of its groups: row [experts each], -1 where there are
 * fewer. What has no place: rows [over[g], end[g]) of the groups, base included.
 */
cudaError_t nf_cuda_place_rows(int32_t *row, int32_t *over, const struct nf_cuda_groups *groups, int experts, int each,
                               cudaStream_t stream);
/* to [count, cols] dense = weight (NULL: 1) from, row by row; zeros for entries that are no row. */
cudaError_t nf_cuda_gather_rows(void *to, struct nf_cuda_operand from, int cols, const struct nf_cuda_entries *entries,
                                const float *weight, bool bf16, cudaStream_t stream);
/* The other way: rows of `to` = from [count, cols] dense; entries that are no row are left out. */
cudaError_t nf_cuda_scatter_rows(struct nf_cuda_matrix to, const void *from, int cols, const struct nf_cuda_entries *entries,
                                 bool bf16, cudaStream_t stream);
/* What follows a product [count, columns] in fp32: as struct nf_cuda_rows says, its groups apart; dot has one part. */
cudaError_t nf_cuda_finish_forward(const struct nf_cuda_rows *call, const struct nf_cuda_entries *entries, const float *product,
                                   bool bf16, cudaStream_t stream);
cudaError_t nf_cuda_finish_dgrad(const struct nf_cuda_rows *call, const struct nf_cuda_entries *entries, const float *product,
                                 bool bf16, cudaStream_t stream);

/* The two back ends; conditions checked, `call` filled, groups on the device. dgrad ends with `dot` in its one part. */
struct nf_cuda_experts {
    nf_queue *queue;
    const char *op;
    const struct nf_groups *groups;
    const struct nf_grouped_arg *arg;
    struct nf_carving scratch;
};
nf_status nf_cuda_eager_rows(const struct nf_cuda_experts *x, bool dgrad, const struct nf_cuda_rows *call, nf_in in, nf_in w);
nf_status nf_cuda_eager_wgrad(const struct nf_cuda_experts *x, nf_grad dw, nf_in dy, nf_in in);

/* over: rows [over, end) of the groups are still to be computed, by own kernels; of the gradient they are to be added. What is
 * left of the scratch is for that. */
nf_status nf_cuda_batched_rows(const struct nf_cuda_experts *x, bool dgrad, const struct nf_cuda_rows *call, nf_in in, nf_in w,
                               const int32_t **over);
nf_status nf_cuda_batched_wgrad(struct nf_cuda_experts *x, nf_grad dw, nf_in dy, nf_in in, const int32_t **over);

#ifdef __cplusplus
}
#endif
#endif
