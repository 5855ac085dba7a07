/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_plain.cu: attention in plain fp32 arithmetic: a warp owns one query (or one key) of one head, its lanes share the
 * head's columns, and it walks over what it sees, four at a time. What golden comparisons in fp32 run on, the 'reference'
 * back end, and what takes widths that the tensor core kernels are not built for.
 */
#include "attention.h"

#include "kit.cuh"

#include <math_constants.h>

enum { WARPS = 4, MOST = 8 /* columns a lane: widths up to 256 */, AT_ONCE = 4 };

static __device__ __forceinline__ int first_key(const struct nf_cuda_attn &p, int row, int i)
{
    if (p.first)
        return p.first[(int64_t)row * p.len + i];
    return p.window > 0 && i + 1 > p.window ? i + 1 - p.window : 0;
}

template <typename T> static __device__ __forceinline__ const T *token(const struct nf_cuda_view &m, int64_t t, int head, int d)
{
    return (const T *)m.data + t * m.ld + head * d;
}

/* A lane's share of d columns, times `by`; zeros behind them. */
template <typename T> static __device__ __forceinline__ void load(float (&x)[MOST], const T *from, int d, float by)
{
#pragma unroll
    for (int c = 0; c < MOST; c++)
        x[c] = (int)threadIdx.x % 32 + 32 * c < d ? by * nf_to_float(*(from + threadIdx.x % 32 + 32 * c)) : 0.0f;
}
template <typename T>
static __device__ __forceinline__ void store(const struct nf_cuda_view &m, int64_t t, int head, int d, const float (&x)[MOST],
                                             float by)
{
    T *to = (T *)m.data + t * m.ld + head * d;
#pragma unroll
    for (int c = 0; c < MOST; c++)
        if ((int)threadIdx.x % 32 + 32 * c < d)
            to[threadIdx.x % 32 + 32 * c] = nf_from_float<T>(by * x[c]);
}
template <typename T> static __device__ __forceinline__ float dot(const float (&x)[MOST], const T *y, int d)
{
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < MOST; c++)
        if ((int)threadIdx.x % 32 + 32 * c < d)
            sum += x[c] * nf_to_float(*(y + threadIdx.x % 32 + 32 * c));
    return sum;
}
template <typename T> static __device__ __forceinline__ void add(float (&x)[MOST], const T *y, int d, float by)
{
#pragma unroll
    for (int c = 0; c < MOST; c++)
        if ((int)threadIdx.x % 32 + 32 * c < d)
            x[c] += by * nf_to_float(*(y + threadIdx.x % 32 + 32 * c));
}

template <typename T> static __global__ void __launch_bounds__(WARPS * 32) forward(const __grid_constant__ nf_cuda_attn p)
{
    const int i = (int)(blockIdx.x * WARPS + threadIdx.x / 32), head = blockIdx.y, row = blockIdx.z,
              kv = head / (p.heads / p.kv_heads);
    const int64_t t0 = (int64_t)row * p.len;
    float q[MOST], o[MOST] = {}, max = p.sinks ? p.sinks[head] : -CUDART_INF_F, sum = p.sinks ? 1.0f : 0.0f;

    if (i >= p.len)
        return;
    const int begin = first_key(p, row, i);
    load(q, token<T>(p.q, t0 + i, head, p.d_qk), p.d_qk, p.scale);
    for (int j = begin; j <= i; j += AT_ONCE) {
        float s[AT_ONCE], top = max;
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++)
            s[n] = j + n <= i ? dot(q, token<T>(p.k, t0 + j + n, kv, p.d_qk), p.d_qk) : 0.0f;
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++) {
            s[n] = j + n <= i ? nf_warp_sum(s[n]) : -CUDART_INF_F;
            top = fmaxf(top, s[n]);
        }
        const float shrink = expf(max - top);
        sum *= shrink;
#pragma unroll
        for (int c = 0; c < MOST; c++)
            o[c] *= shrink;
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++)
            if (j + n <= i) {
                const float x = expf(s[n] - top);
                sum += x;
                add(o, token<T>(p.v, t0 + j + n, kv, p.d_v), p.d_v, x);
            }
        max = top;
    }
    const bool none = begin > i;
    store<T>(p.o, t0 + i, head, p.d_v, o, none ? 0.0f : 1.0f / sum);
    if (threadIdx.x % 32 == 0)
        p.lse[(int64_t)head * p.rows * p.len + t0 + i] = none ? 0.0f : max + logf(sum);
}

/* exp(scale q k - lse) and its product with (g v - delta), of one pair */
struct pair {
    float p, ds;
};
template <typename T>
static __device__ __forceinline__ pair weigh(const float (&a)[MOST], const T *b, int d_qk, const float (&g)[MOST], const T *v,
                                             int d_v, float shift, float delta)
{
    const float s = nf_warp_sum(dot(a, b, d_qk)), d = nf_warp_sum(dot(g, v, d_v)), p = expf(s - shift);
    return {p, p * (d - delta)};
}

template <typename T> static __global__ void __launch_bounds__(WARPS * 32) dq_pass(const __grid_constant__ nf_cuda_attn_back p)
{
    const int i = (int)(blockIdx.x * WARPS + threadIdx.x / 32), head = blockIdx.y, row = blockIdx.z;
    const int kv = head / (p.f.heads / p.f.kv_heads);
    const int64_t t0 = (int64_t)row * p.f.len, stats = ((int64_t)head * p.f.rows + row) * p.stride + i;
    float q[MOST], g[MOST], dq[MOST] = {};

    if (i >= p.f.len)
        return;
    load(q, token<T>(p.f.q, t0 + i, head, p.f.d_qk), p.f.d_qk, p.f.scale);
    load(g, token<T>(p.g, t0 + i, head, p.f.d_v), p.f.d_v, 1.0f);
    const float shift = p.f.lse[(int64_t)head * p.f.rows * p.f.len + t0 + i], delta = p.delta[stats];
    for (int j = first_key(p.f, row, i); j <= i; j++) {
        const T *k = token<T>(p.f.k, t0 + j, kv, p.f.d_qk);
        const pair x = weigh(q, k, p.f.d_qk, g, token<T>(p.f.v, t0 + j, kv, p.f.d_v), p.f.d_v, shift, delta);
        add(dq, k, p.f.d_qk, x.ds);
    }
    store<T>(p.dq, t0 + i, head, p.f.d_qk, dq, p.f.scale);
}

template <typename T> static __global__ void __launch_bounds__(WARPS * 32) dkv_pass(const __grid_constant__ nf_cuda_attn_back p)
{
    const int j = (int)(blockIdx.x * WARPS + threadIdx.x / 32), kv = blockIdx.y, row = blockIdx.z,
              ratio = p.f.heads / p.f.kv_heads;
    const int64_t t0 = (int64_t)row * p.f.len;
    float k[MOST], v[MOST], dk[MOST] = {}, dv[MOST] = {};

    if (j >= p.f.len)
        return;
    load(k, token<T>(p.f.k, t0 + j, kv, p.f.d_qk), p.f.d_qk, p.f.scale);
    load(v, token<T>(p.f.v, t0 + j, kv, p.f.d_v), p.f.d_v, 1.0f);
    for (int head = kv * ratio; head < (kv + 1) * ratio; head++)
        for (int i = j; i < p.f.len && first_key(p.f, row, i) <= j; i++) { /* `first` ascends; padding at j sees nothing */
            const T *q = token<T>(p.f.q, t0 + i, head, p.f.d_qk), *g = token<T>(p.g, t0 + i, head, p.f.d_v);
            const pair x = weigh(k, q, p.f.d_qk, v, g, p.f.d_v, p.f.lse[(int64_t)head * p.f.rows * p.f.len + t0 + i],
                                 p.delta[((int64_t)head * p.f.rows + row) * p.stride + i]);
            add(dk, q, p.f.d_qk, x.ds);
            add(dv, g, p.f.d_v, x.p);
        }
    store<T>(p.dk, t0 + j, kv, p.f.d_qk, dk, p.f.scale);
    store<T>(p.dv, t0 + j, kv, p.f.d_v, dv, 1.0f);
}

static dim3 grid(int len, int heads, int rows)
{
    return dim3((unsigned)(len + WARPS - 1) / WARPS, (unsigned)heads, (unsigned)rows);
}

extern "C" cudaError_t nf_cuda_plain_attention(const struct nf_cuda_attn *p, bool bf16, cudaStream_t s)
{
    if (p->rows == 0 || p->len == 0)
        return cudaSuccess;
    if (bf16)
        forward<__nv_bfloat16><<<grid(p->len, p->heads, p->rows), WARPS * 32, 0, s>>>(*p);
    else
        forward<float><<<grid(p->len, p->heads, p->rows), WARPS * 32, 0, s>>>(*p);
    return cudaGetLastError();
}

template <typename T> static void back(const struct nf_cuda_attn_back *p, cudaStream_t s)
{
    dkv_pass<T><<<grid(p->f.len, p->f.kv_heads, p->f.rows), WARPS * 32, 0, s>>>(*p);
    dq_pass<T><<<grid(p->f.len, p->f.heads, p->f.rows), WARPS * 32, 0, s>>>(*p);
}

extern "C" cudaError_t nf_cuda_plain_attention_back(const struct nf_cuda_attn_back *p, bool bf16, cudaStream_t s)
{
    if (p->f.rows == 0 || p->f.len == 0)
        return cudaSuccess;
    if (bf16)
        back<__nv_bfloat16>(p, s);
    else
        back<float>(p, s);
    return cudaGetLastError();
}
