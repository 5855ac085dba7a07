/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head.cu: head and loss by chunks of tokens whose logits fit the budget of sizes_gemm.h. Logits are in fp32; a block a row
 * finds log-sum-exp and loss, and turns the row into its own gradient, in the type of h and at the same place. Then dh and dw
 * follow by products; dw is added to from the second chunk on, so a bf16 dw is rounded once a chunk (one chunk up to 2,048
 * tokens of a vocabulary of 131,072).
 *
 * A target outside the vocabulary, which the readers of data refuse, gives a loss that is not a number.
 */
#include "kit.cuh"

extern "C" {
#include "gemm.h"
}

namespace
{

enum { THREADS = 512, V = 4, TILE = THREADS * V };

struct peak {
    float max, sum; /* sum of exp(z - max) */
};

__device__ __forceinline__ peak join(peak a, peak b)
{
    const float max = fmaxf(a.max, b.max);
    if (max == -INFINITY)
        return {max, 0.0f};
    return {max, a.sum * expf(a.max - max) + b.sum * expf(b.max - max)};
}

/* The same for all threads, joined in a fixed order */
__device__ peak block_peak(peak x)
{
    __shared__ peak part[THREADS / 32];
#pragma unroll
    for (int d = 16; d > 0; d >>= 1)
        x = join(x, {__shfl_xor_sync(0xffffffffu, x.max, d), __shfl_xor_sync(0xffffffffu, x.sum, d)});
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = x;
    __syncthreads();
    x = part[0];
    for (int i = 1; i < THREADS / 32; i++)
        x = join(x, part[i]);
    return x;
}

__device__ peak row_peak(const float *z, int n)
{
    peak x = {-INFINITY, 0.0f};
    for (int i = threadIdx.x * V; i < n; i += TILE) {
        float v[V], max = x.max;
        if (i + V <= n) {
            nf_load_floats<V>(v, z + i);
        } else {
#pragma unroll
            for (int k = 0; k < V; k++)
                v[k] = i + k < n ? z[i + k] : -INFINITY;
        }
#pragma unroll
        for (int k = 0; k < V; k++)
            max = v[k] > max || v[k] != v[k] ? v[k] : max;
        float sum = x.max == max ? x.sum : x.sum * expf(x.max - max);
#pragma unroll
        for (int k = 0; k < V; k++)
            sum += expf(v[k] - max);
        x = max == -INFINITY ? x : peak{max, sum};
    }
    return block_peak(x);
}

/* own [rows]: loss of each row. gradients: the row becomes (exp(z - lse) - [v = target]) scale, of type T at the same place; a
 * tile is read by all threads before any of its elements is written, and what is written lies at or before what has been read.
 */
template <typename T>
__global__ void __launch_bounds__(THREADS) rows(float *own, float *token_loss, float *logits, int64_t stride,
                                                const int32_t *target, const float *scale, int n, bool gradients)
{
    const int64_t row = blockIdx.x;
    float *z = logits + row * stride;
    T *dz = (T *)z;
    const int y = target[row];

    if (y == -100) {
        if (threadIdx.x == 0) {
            own[row] = 0;
            if (token_loss)
                token_loss[row] = 0;
        }
        const float zero[V] = {0, 0, 0, 0};
        for (int i = threadIdx.x * V; gradients && i < n; i += TILE)
            nf_store_floats<V>(dz + i, zero); /* rows are padded to whole packs */
        return;
    }
    const bool known = y >= 0 && y < n;
    const peak p = row_peak(z, n);
    const float lse = p.max + logf(p.sum), loss = known ? lse - z[y] : __int_as_float(0x7fffffff), factor = *scale;
    __syncthreads(); /* z[y] is read before it is overwritten */
    if (threadIdx.x == 0) {
        own[row] = loss;
        if (token_loss)
            token_loss[row] = loss;
    }
    if (!gradients)
        return;
    for (int base = 0; base < n; base += TILE) {
        const int i = base + threadIdx.x * V;
        float v[V];
        if (i < n)
            nf_load_floats<V>(v, z + i);
        __syncthreads();
        if (i >= n)
            continue;
#pragma unroll
        for (int k = 0; k < V; k++)
            v[k] = expf(v[k] - lse) * factor - (i + k == y ? factor : 0.0f);
        nf_store_floats<V>(dz + i, v);
    }
}

/* *loss += scale times the sum of own [n], in fp64 and in a fixed order */
__global__ void __launch_bounds__(1024) total(double *loss, const float *own, int64_t n, const float *scale)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += 1024)
        sum += (double)own[i];
    sum = nf_block_sum<1024>(sum);
    if (threadIdx.x == 0)
        *loss += (double)*scale * sum;
}

nf_tensor rows_of(nf_in t, int64_t first, int64_t count)
{
    nf_tensor r = *t;
    r.data = (char *)t->data + (size_t)(first * t->stride[0]) * (t->dtype == NF_F32 ? 4 : 2);
    r.dim[0] = count;
    return r;
}

} // namespace

extern "C" nf_status nf_cuda_head_loss(nf_queue *q, double *loss, float *token_loss, nf_out dh, nf_grad dw, nf_in h, nf_in w,
                                       const int32_t *target, const float *scale, void *scratch)
{
    const bool gradients = dh || dw.t.data;
    const int64_t T = h->dim[0], vocabulary = w->dim[0], stride = nf_cuda_head_stride(vocabulary);
    const int64_t most = nf_cuda_head_tokens(T, vocabulary);
    const bool half = h->dtype != NF_F32;
    nf_carving c = {(char *)scratch, nf_cuda_head_scratch(h, w, dh != NULL, dw)};
    NF_CARVE(&c, float, logits, most *stride);
    NF_CARVE(&c, float, own, T);
    nf_status s = NF_OK;

    for (int64_t t = 0; t < T && !s; t += most) {
        const int64_t n = T - t < most ? T - t : most;
        const nf_tensor hc = rows_of(h, t, n), z = {logits, NF_F32, 2, {n, vocabulary, 0}, {stride, 0}};
        const nf_tensor dz = {logits, h->dtype, 2, {n, vocabulary, 0}, {half ? 2 * stride : stride, 0}};
        s = nf_cuda_product(q, "head_loss", &z, NULL, &hc, false, w, true, c);
        if (s)
            break;
        const auto kernel = half ? rows<bf16> : rows<float>;
        kernel<<<(unsigned)n, THREADS, 0, nf_stream(q)>>>(own + t, token_loss ? token_loss + t : NULL, logits, stride,
                                                          target + t, scale, (int)vocabulary, gradients);
        s = nf_launched("head_loss");
        if (!s && dh) {
            const nf_tensor d = rows_of(dh, t, n);
            s = nf_cuda_product(q, "head_loss", &d, NULL, &dz, false, w, false, c);
        }
        if (!s && dw.t.data)
            s = nf_cuda_product(q, "head_loss", &dw.t, t || dw.accumulate ? &dw.t : NULL, &dz, true, &hc, false, c);
    }
    if (!s && T == 0 && dw.t.data && !dw.accumulate)
        s = nf_cuda_fill(q, &dw.t, 0.0f);
    if (s)
        return s;
    total<<<1, 1024, 0, nf_stream(q)>>>(loss, own, T, scale);
    return nf_launched("head_loss");
}

extern "C" nf_status nf_cuda_head_logits(nf_queue *q, nf_out logits, nf_in h, nf_in w, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_head_logits_scratch(h, w)};
    return nf_cuda_product(q, "head_logits", logits, NULL, h, false, w, true, c);
}
