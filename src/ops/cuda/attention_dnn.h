/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_dnn.h: attention by cuDNN: bf16, causal, grouped-query, dense rows. Its backward adds in an order of its own each
 * time, so its bits do not repeat: backend.deterministic = .false. alone.
 */
#ifndef NF_OPS_CUDA_ATTENTION_DNN_H
#define NF_OPS_CUDA_ATTENTION_DNN_H

#include "nemafit/ops.h"

#include <cuda_runtime_api.h>

/*
 * As the slots of these names, with conditions checked: nf_cuda_attention_dnn_lacks() has nothing to say, rows of all tensors
 * start on 16 bytes. A plan is made when a shape is first met, which takes about a second, and kept.
 * Scratch  the size functions of sizes_attention.h
 */
nf_status nf_cuda_attention_dnn(cudaStream_t stream, nf_out o, float *lse, nf_in q, nf_in k, nf_in v,
                                const struct nf_attention_arg *arg, void *scratch);
nf_status nf_cuda_attention_dnn_bwd(cudaStream_t stream, nf_out dq, nf_out dk, nf_out dv, nf_in g, nf_in q, nf_in k, nf_in v,
                                    nf_in o, const float *lse, const struct nf_attention_arg *arg, void *scratch);

#endif
