/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h: what the attention kernels are told, in plain C. Query i of a row sees the keys first[i] to i of the row. */
#ifndef NF_OPS_CUDA_ATTENTION_H
#define NF_OPS_CUDA_ATTENTION_H

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nf_cuda_view {
    void *data;
    int64_t ld; /* elements */
    bool vec;   /* rows start on 16 bytes */
};

struct nf_cuda_attn {
    int heads, kv_heads, d_qk, d_v;
    float scale;
    int rows, len, window; /* window 0: none */
    const float *sinks;    /* [heads] or NULL */
    const int32_t *first;  /* [rows len], ascending in a row (padding: its own place + 1), or NULL: by the window alone */
    struct nf_cuda_view q, k, v, o;
    float *lse; /* [heads, rows len] */
};

/* Of the backward. stride: floats between rows of tokens in `shift` and `delta` [heads, rows, stride], a multiple of 64 with
 * all tokens behind the last one and padding as keys without mass: shift = lse log2(e), or infinity. */
struct nf_cuda_attn_back {
    struct nf_cuda_attn f;
    struct nf_cuda_view g, dq, dk, dv;
    float *shift, *delta;
    int stride, parts;        /* parts: the query heads of a kv head are cut in so many */
    float *part_dk, *part_dv; /* parts > 1: [parts, rows len, kv_heads d] */
    float *dsinks;            /* [heads] or NULL */
    bool dsinks_accumulate;
};

/* first [rows len] from segments (NULL: one a row) and window. */
cudaError_t nf_cuda_attention_first(int32_t *first, const int32_t *segment, int rows, int len, int window, cudaStream_t stream);

/*
 * On tensor cores: bf16, d_qk = d_v = 64 or 128. Maps: [rows, len, heads d] with boxes 64 columns wide, of 128 rows for
 * q, k, v and g, of 64 rows for q64 and g64.
 */
struct nf_cuda_attn_maps {
    CUtensorMap q, k, v, g, q64, g64;
};
cudaError_t nf_cuda_flash_forward(const struct nf_cuda_attn *call, const struct nf_cuda_attn_maps *maps, cudaStream_t stream);
cudaError_t nf_cuda_flash_backward(const struct nf_cuda_attn_back *call, const struct nf_cuda_attn_maps *maps,
                                   cudaStream_t stream);

/* On plain arithmetic: fp32 or bf16, widths up to 256. The backward uses delta and shift as above, and no parts. */
cudaError_t nf_cuda_plain_attention(const struct nf_cuda_attn *call, bool bf16, cudaStream_t stream);
cudaError_t nf_cuda_plain_attention_back(const struct nf_cuda_attn_back *call, bool bf16, cudaStream_t stream);

/* Before either backward: delta = sum g o and shift; after it, with delta: dsinks; sums of the parts. */
cudaError_t nf_cuda_attention_prepare(const struct nf_cuda_attn_back *call, bool bf16, cudaStream_t stream);
cudaError_t nf_cuda_attention_dsinks(const struct nf_cuda_attn_back *call, cudaStream_t stream);
cudaError_t nf_cuda_attention_sum_parts(const struct nf_cuda_attn_back *call, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
