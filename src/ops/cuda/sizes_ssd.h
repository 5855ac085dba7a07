/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes_ssd.h: how the CUDA scan cuts its rows, what it keeps and its scratch. Per head and token, [heads][T]: dt and the
 * cumulative decay as hi + lo (ops/cpu/ssd.h); per chunk and group the Q x Q products of C and B; per chunk and head a state.
 */
#ifndef NEMAFIT_OPS_CUDA_SIZES_SSD_H
#define NEMAFIT_OPS_CUDA_SIZES_SSD_H

#include "layout.h"

enum { NF_SSD_Q = 128 }; /* tokens of a chunk: arg->chunk is advice, this is what the kernels are made for */

static inline int64_t nf_cuda_ssd_chunks(const struct nf_ssd_arg *arg) /* of all rows */
{
    return arg->seq.rows * nf_ceil_div(arg->seq.len, NF_SSD_Q);
}

static inline int64_t nf_cuda_ssd_states(const struct nf_ssd_arg *arg)
{
    return nf_cuda_ssd_chunks(arg) * arg->heads * arg->head_dim * arg->state;
}

/* dt, hi, lo, first (ssd.cuh), the products */
static inline size_t nf_cuda_ssd_common(const struct nf_ssd_arg *arg)
{
    const size_t T = (size_t)(arg->seq.rows * arg->seq.len);
    return 3 * nf_part(T * (size_t)arg->heads * sizeof(float)) + nf_part(T * sizeof(int32_t)) +
           nf_part((size_t)(nf_cuda_ssd_chunks(arg) * arg->groups) * NF_SSD_Q * NF_SSD_Q * sizeof(float));
}

/* The states that enter the chunks, in the type of x. */
static inline size_t nf_cuda_ssd_kept(const struct nf_ssd_arg *arg)
{
    return (size_t)nf_cuda_ssd_states(arg) * (arg->dtype == NF_F32 ? 4u : 2u);
}

static inline size_t nf_cuda_ssd_scratch(nf_in y, bool kept, nf_in x, nf_in b, nf_in c, const struct nf_ssd_arg *arg)
{
    (void)y, (void)x, (void)b, (void)c;
    return nf_cuda_ssd_common(arg) + nf_part((size_t)nf_cuda_ssd_states(arg) * sizeof(float)) +
           (kept ? 0 : nf_part(nf_cuda_ssd_kept(arg)));
}

/* Besides: gradients of states, the products' gradients, and five numbers a head and token. */
static inline size_t nf_cuda_ssd_bwd_scratch(nf_in x, nf_in b, const struct nf_ssd_arg *arg)
{
    const size_t T = (size_t)(arg->seq.rows * arg->seq.len);
    (void)x, (void)b;
    return nf_cuda_ssd_common(arg) + nf_part((size_t)nf_cuda_ssd_states(arg) * sizeof(float)) +
           nf_part((size_t)(nf_cuda_ssd_chunks(arg) * arg->groups) * NF_SSD_Q * NF_SSD_Q * sizeof(float)) +
           5 * nf_part(T * (size_t)arg->heads * sizeof(float));
}

#endif
