/* SPDX-License-Identifier: Apache-2.0 */
/* attention_graph.h: causal attention as the graphs of operations that cuDNN knows how to fuse. */
#ifndef NF_OPS_CUDA_ATTENTION_GRAPH_H
#define NF_OPS_CUDA_ATTENTION_GRAPH_H

#include "dnn.h"

/* What a plan depends on. ld: elements between tokens. Compared byte by byte: no padding inside. */
struct nf_attn_shape {
    int64_t rows, len, heads, kv_heads, d_qk, d_v;
    struct {
        int64_t q, k, v, o, g, dq, dk, dv;
    } ld; /* of the forward: q, k, v, o, the others 0 */
};

/* Tensors of a graph by name. The backward has lse as an input, and as scratch delta [rows, heads, len] and the fp32
 * sum dq_sum [rows, heads, len, d_qk], which must be zeros at the start. Numbers: scale, -infinity and 1. */
struct nf_attn_tensors {
    int q, k, v, o, lse, scale, least, one;
    int g, dq, dk, dv, delta, dq_sum;
};

void nf_attn_forward_graph(struct nf_dnn_graph *graph, const struct nf_attn_shape *shape, struct nf_attn_tensors *tensors);
void nf_attn_backward_graph(struct nf_dnn_graph *graph, const struct nf_attn_shape *shape, struct nf_attn_tensors *tensors);

#endif
