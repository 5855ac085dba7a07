/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_prepare.cu: what lies before and after the attention kernels: the first key that each query sees, delta = sum g o
 * and the shifts of the backward, gradients of sinks, and the sum of what parts of the query heads gave. All sums in fixed
 * order.
 */
#include "attention.h"

#include "kit.cuh"

#include <math_constants.h>

enum { SCAN = 1024, WARPS = 8 };

/* One block a row: each thread knows where the last segment before its share began once the others' are scanned. */
static __global__ void first_keys(int32_t *first, const int32_t *segment, int len, int window)
{
    __shared__ int begun[SCAN];
    const int each = (len + SCAN - 1) / SCAN, from = min((int)threadIdx.x * each, len), to = min(from + each, len);
    const int32_t *seg = segment ? segment + (int64_t)blockIdx.x * len : nullptr;
    int start = -1;

    for (int i = from; i < to; i++)
        if (i == 0 || (seg && seg[i] != seg[i - 1]))
            start = i;
    begun[threadIdx.x] = start;
    __syncthreads();
    for (int d = 1; d < SCAN; d *= 2) {
        const int left = (int)threadIdx.x >= d ? begun[threadIdx.x - d] : -1;
        __syncthreads();
        begun[threadIdx.x] = max(begun[threadIdx.x], left);
        __syncthreads();
    }
    start = threadIdx.x > 0 ? begun[threadIdx.x - 1] : 0;
    for (int i = from; i < to; i++) {
        if (seg && i > 0 && seg[i] != seg[i - 1])
            start = i;
        int key = window > 0 ? max(start, i + 1 - window) : start;
        first[(int64_t)blockIdx.x * len + i] = seg && seg[i] == 0 ? i + 1 : key;
    }
}

/* A warp takes one token of one head; tokens from len to stride are without mass. */
template <typename T> static __global__ void prepare(const __grid_constant__ nf_cuda_attn_back p)
{
    const int t = (int)(blockIdx.x * WARPS + threadIdx.x / 32), lane = threadIdx.x % 32, head = blockIdx.y, row = blockIdx.z;
    const int64_t at = ((int64_t)head * p.f.rows + row) * p.stride + t, token = (int64_t)row * p.f.len + t;
    const bool mass = t < p.f.len && !(p.f.first && p.f.first[token] > t);
    float sum = 0.0f;

    if (t >= p.stride)
        return;
    if (mass) {
        const T *g = (const T *)p.g.data + token * p.g.ld + head * p.f.d_v,
                *o = (const T *)p.f.o.data + token * p.f.o.ld + head * p.f.d_v;
        for (int c = lane; c < p.f.d_v; c += 32)
            sum += nf_to_float(*(g + c)) * nf_to_float(*(o + c));
        for (int d = 16; d > 0; d /= 2)
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, d);
    }
    if (lane == 0) {
        p.delta[at] = sum;
        p.shift[at] = mass ? p.f.lse[(int64_t)head * p.f.rows * p.f.len + token] * 1.4426950408889634f : CUDART_INF_F;
    }
}

static __global__ void dsinks(const __grid_constant__ nf_cuda_attn_back p)
{
    __shared__ float sums[256];
    const int head = blockIdx.x;
    const int64_t n = (int64_t)p.f.rows * p.stride;
    const float sink = p.f.sinks[head] * 1.4426950408889634f;
    float sum = 0.0f;

    for (int64_t i = threadIdx.x; i < n; i += 256) /* 2^-inf: nothing from tokens without mass */
        sum -= exp2f(sink - p.shift[head * n + i]) * p.delta[head * n + i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int d = 128; d > 0; d /= 2) {
        if ((int)threadIdx.x < d)
            sums[threadIdx.x] += sums[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        p.dsinks[head] = sums[0] + (p.dsinks_accumulate ? p.dsinks[head] : 0.0f);
}

/* dk and dv [tokens, width], two columns a thread. */
static __global__ void sum_parts(nf_cuda_view dk, nf_cuda_view dv, const float *part_dk, const float *part_dv, int parts,
                                 int64_t tokens, int width)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, token = i / (width / 2), col = i % (width / 2) * 2;
    const nf_cuda_view to = blockIdx.y ? dv : dk;
    const float *from = (blockIdx.y ? part_dv : part_dk) + token * width + col;
    float2 sum = make_float2(0.0f, 0.0f);

    if (token >= tokens)
        return;
    for (int part = 0; part < parts; part++) {
        const float2 x = *(const float2 *)(from + part * tokens * width);
        sum.x += x.x;
        sum.y += x.y;
    }
    __nv_bfloat16 *out = (__nv_bfloat16 *)to.data + token * to.ld + col;
    out[0] = __float2bfloat16(sum.x);
    out[1] = __float2bfloat16(sum.y);
}

extern "C" cudaError_t nf_cuda_attention_first(int32_t *first, const int32_t *segment, int rows, int len, int window,
                                               cudaStream_t s)
{
    if (rows && len)
        first_keys<<<(unsigned)rows, SCAN, 0, s>>>(first, segment, len, window);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_attention_prepare(const struct nf_cuda_attn_back *p, bool bf16, cudaStream_t s)
{
    const dim3 grid((unsigned)(p->stride + WARPS - 1) / WARPS, (unsigned)p->f.heads, (unsigned)p->f.rows);

    if (p->f.rows == 0 || p->f.len == 0)
        return cudaSuccess;
    if (bf16)
        prepare<__nv_bfloat16><<<grid, WARPS * 32, 0, s>>>(*p);
    else
        prepare<float><<<grid, WARPS * 32, 0, s>>>(*p);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_attention_dsinks(const struct nf_cuda_attn_back *p, cudaStream_t s)
{
    dsinks<<<(unsigned)p->f.heads, 256, 0, s>>>(*p);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_attention_sum_parts(const struct nf_cuda_attn_back *p, cudaStream_t s)
{
    const int64_t tokens = (int64_t)p->f.rows * p->f.len, n = tokens * p->f.kv_heads * p->f.d_qk / 2;

    if (n)
        sum_parts<<<dim3((unsigned)((n + 255) / 256), 2), 256, 0, s>>>(p->dk, p->dv, p->part_dk, p->part_dv, p->parts, tokens,
                                                                       p->f.kv_heads * p->f.d_qk);
    return cudaGetLastError();
}
