/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conv_silu.cu: depthwise causal convolution and SiLU on channel-last rows. A thread takes V neighbouring channels and walks
 * along PART tokens with the last K inputs in registers.
 *
 *   a_t = b + sum_m w[m] x_{t-K+1+m},  y = silu(a);   da_t = dy_t silu'(a_t)
 *   dx_t = sum_m w[m] da_{t+K-1-m},  dw[m] = sum_t da_t x_{t-K+1+m},  db = sum_t da_t
 *
 * Backward: it goes on K - 1 tokens beyond its part, whose da it makes again, so that each dx is written once; sums for dw and
 * db are kept in registers and written as one part a thread. A tap counts if its token lies in the same row of the batch and in
 * the same segment.
 *
 * K is a constant of a kernel: 1 to 4, and room for 8 or 16, of which the first K - count taps are not there.
 */
#include "kit.cuh"

namespace
{

enum { PART = NF_CUDA_CONV_PART };

struct tokens {
    int64_t T, len;
    const int32_t *segment;
};

__device__ __forceinline__ bool reaches(const tokens &s, int64_t from, int64_t t)
{
    return from >= t / s.len * s.len && (!s.segment || s.segment[from] == s.segment[t]);
}

struct taps {
    const void *w, *b;
    bool w_half, b_half;
    int64_t stride;
    int count;
};

/* The taps in front that are not there; up to 4 all are. */
template <int K> __device__ __forceinline__ int absent(const taps &p)
{
    return K <= 4 ? 0 : K - p.count;
}

/* Taps and bias of V channels, in fp32 */
template <int V, int K> __device__ __forceinline__ void load_taps(float (&w)[K][V], float (&b)[V], const taps &p, int64_t c)
{
#pragma unroll
    for (int k = 0; k < V; k++) {
#pragma unroll
        for (int m = 0; m < K; m++) {
            const int64_t i = (c + k) * p.stride + m - absent<K>(p);
            w[m][k] = m < absent<K>(p) ? 0.0f : p.w_half ? nf_to_float(((const bf16 *)p.w)[i]) : ((const float *)p.w)[i];
        }
        b[k] = !p.b ? 0.0f : p.b_half ? nf_to_float(((const bf16 *)p.b)[c + k]) : ((const float *)p.b)[c + k];
    }
}

/* x[K-1] becomes that of token t, the others move down; then a */
template <int V, int K, typename T>
__device__ __forceinline__ void step(float (&a)[V], bool (&there)[K], float (&x)[K][V], const float (&w)[K][V],
                                     const float (&b)[V], int absent, const tokens &s, const T *row, int64_t t)
{
#pragma unroll
    for (int m = 0; m + 1 < K; m++)
#pragma unroll
        for (int k = 0; k < V; k++)
            x[m][k] = x[m + 1][k];
    nf_load_floats<V>(x[K - 1], row);
#pragma unroll
    for (int k = 0; k < V; k++)
        a[k] = b[k];
#pragma unroll
    for (int m = 0; m < K; m++) {
        there[m] = m == K - 1 || (m >= absent && reaches(s, t - K + 1 + m, t));
#pragma unroll
        for (int k = 0; k < V; k++)
            a[k] += there[m] ? w[m][k] * x[m][k] : 0.0f;
    }
}

/* The K - 1 inputs before token t, zeros where there are none */
template <int V, int K, typename T>
__device__ __forceinline__ void history(float (&x)[K][V], const nf_strided<T> &from, int64_t t, int64_t c)
{
#pragma unroll
    for (int m = 1; m < K; m++) { /* step() moves them down first */
        const int64_t at = t - K + m;
        if (at >= 0)
            nf_load_floats<V>(x[m], (const T *)from.data + at * from.stride + c);
        else
#pragma unroll
            for (int k = 0; k < V; k++)
                x[m][k] = 0;
    }
}

template <int V, int K, typename T>
__global__ void __launch_bounds__(128) forward(nf_strided<T> y, nf_strided<T> x, taps p, tokens s, int64_t channels)
{
    const int64_t c = ((int64_t)blockIdx.x * 128 + threadIdx.x) * V, first = (int64_t)blockIdx.y * PART;
    if (c >= channels)
        return;
    const int64_t last = first + PART < s.T ? first + PART : s.T;
    float w[K][V], b[V], h[K][V], a[V];
    bool there[K];

    load_taps<V, K>(w, b, p, c);
    history<V, K>(h, x, first, c);
    for (int64_t t = first; t < last; t++) {
        step<V, K>(a, there, h, w, b, absent<K>(p), s, (const T *)x.data + t * x.stride + c, t);
#pragma unroll
        for (int k = 0; k < V; k++)
            a[k] = nf_silu(a[k]);
        nf_store_floats<V>(y.data + t * y.stride + c, a);
    }
}

template <int V, int K, typename T>
__global__ void __launch_bounds__(128)
    backward(nf_strided<T> dx, float *part, nf_strided<T> dy, nf_strided<T> x, taps p, tokens s, int64_t channels)
{
    const int64_t c = ((int64_t)blockIdx.x * 128 + threadIdx.x) * V, first = (int64_t)blockIdx.y * PART;
    if (c >= channels)
        return;
    const int64_t last = first + PART < s.T ? first + PART : s.T, beyond = last + K - 1 < s.T ? last + K - 1 : s.T;
    float w[K][V], b[V], h[K][V], a[V], g[V];
    float out[K][V], dw[K][V], db[V]; /* out[m]: what is known of dx of token t - K + 1 + m */
    bool there[K];

    load_taps<V, K>(w, b, p, c);
    history<V, K>(h, x, first, c);
#pragma unroll
    for (int k = 0; k < V; k++) {
        db[k] = 0;
#pragma unroll
        for (int m = 0; m < K; m++)
            out[m][k] = dw[m][k] = 0;
    }
    for (int64_t t = first; t < last + K - 1; t++) {
#pragma unroll
        for (int m = 0; m < K; m++)
#pragma unroll
            for (int k = 0; k < V; k++)
                out[m][k] = m + 1 < K ? out[m + 1][k] : 0.0f;
        if (t < beyond) {
            step<V, K>(a, there, h, w, b, absent<K>(p), s, (const T *)x.data + t * x.stride + c, t);
            nf_load_floats<V>(g, (const T *)dy.data + t * dy.stride + c);
#pragma unroll
            for (int k = 0; k < V; k++)
                g[k] *= nf_silu_grad(a[k]);
#pragma unroll
            for (int m = 0; m < K; m++)
#pragma unroll
                for (int k = 0; k < V; k++) {
                    out[m][k] += there[m] ? w[m][k] * g[k] : 0.0f;
                    dw[m][k] += there[m] && t < last ? g[k] * h[m][k] : 0.0f;
                }
#pragma unroll
            for (int k = 0; k < V; k++)
                db[k] += t < last ? g[k] : 0.0f;
        }
        const int64_t done = t - K + 1;
        if (done >= first && done < last)
            nf_store_floats<V>(dx.data + done * dx.stride + c, out[0]);
    }
    if (!part)
        return;
    part += (int64_t)blockIdx.y * (p.count + 1) * channels + c;
#pragma unroll
    for (int k = 0; k < V; k++) {
#pragma unroll
        for (int m = 0; m < K; m++)
            if (m >= absent<K>(p))
                part[(m - absent<K>(p)) * channels + k] = dw[m][k];
        part[p.count * channels + k] = db[k];
    }
}

/* The sums of dw and db lie in one part: columns m C + c, then K C + c */
__global__ void __launch_bounds__(256) finish(nf_grad dw, nf_grad db, const float *part, int64_t count, int64_t channels, int K)
{
    __shared__ float sum[8][32];
    const int64_t n = (K + 1) * channels, j = (int64_t)blockIdx.x * 32 + threadIdx.x;
    float v = 0;

    if (j < n)
        for (int64_t i = threadIdx.y; i < count; i += 8)
            v += part[i * n + j];
    sum[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y || j >= n)
        return;
#pragma unroll
    for (int k = 1; k < 8; k++)
        v += sum[k][threadIdx.x];
    const int64_t m = j / channels, c = j % channels;
    if (m < K && dw.t.data)
        nf_grad_put(dw.t.data, dw.t.dtype != NF_F32, dw.accumulate, c * dw.t.stride[0] + m, v);
    if (m == K && db.t.data)
        nf_grad_put(db.t.data, db.t.dtype != NF_F32, db.accumulate, c, v);
}

taps taps_of(nf_in w, nf_in b)
{
    const bool has = b && b->data;
    return {w->data, has ? b->data : NULL, w->dtype != NF_F32, has && b->dtype != NF_F32, w->stride[0], (int)w->dim[1]};
}

dim3 grid(int64_t channels, int V, int64_t T)
{
    return dim3((unsigned)nf_ceil_div(channels, 128 * V), (unsigned)nf_ceil_div(T, PART));
}

template <int K, typename T> nf_status run_forward(nf_queue *q, nf_in y, nf_in x, nf_in w, nf_in b, const nf_seq *seq)
{
    const tokens s = {x->dim[0], seq->len, seq->segment};
    const int64_t C = x->dim[1];
    if (s.T == 0 || C == 0)
        return NF_OK;
    constexpr int V = K <= 4 ? 4 : 2;
    const bool packs = nf_packable(x, V) && nf_packable(y, V);
    const auto kernel = packs ? forward<V, K, T> : forward<1, K, T>;
    kernel<<<grid(C, packs ? V : 1, s.T), 128, 0, nf_stream(q)>>>(nf_strided_of<T>(y), nf_strided_of<T>(x), taps_of(w, b), s,
                                                                  C);
    return nf_launched("conv_silu");
}

template <int K, typename T>
nf_status run_backward(nf_queue *q, nf_in dx, nf_grad dw, nf_grad db, nf_in dy, nf_in x, nf_in w, nf_in b, const nf_seq *seq,
                       float *part)
{
    const tokens s = {x->dim[0], seq->len, seq->segment};
    const int64_t C = x->dim[1], count = nf_ceil_div(s.T, PART);
    const bool sums = dw.t.data || db.t.data;
    if (C == 0)
        return NF_OK;
    if (s.T > 0) {
        constexpr int V = K <= 4 ? 4 : 2;
        const bool packs = nf_packable(x, V) && nf_packable(dx, V) && nf_packable(dy, V);
        const auto kernel = packs ? backward<V, K, T> : backward<1, K, T>;
        kernel<<<grid(C, packs ? V : 1, s.T), 128, 0, nf_stream(q)>>>(
            nf_strided_of<T>(dx), sums ? part : NULL, nf_strided_of<T>(dy), nf_strided_of<T>(x), taps_of(w, b), s, C);
        const nf_status status = nf_launched("conv_silu_bwd");
        if (status)
            return status;
    }
    if (!sums)
        return NF_OK;
    const int n = (int)w->dim[1];
    finish<<<(unsigned)nf_ceil_div((n + 1) * C, 32), dim3(32, 8), 0, nf_stream(q)>>>(dw, db, part, count, C, n);
    return nf_launched("conv_silu_bwd");
}

/* f<K, T>(...): 4 taps are what Mamba-2 has */
#define BY_TAPS(K, T, f, ...)                                                                                                  \
    ((K) == 1    ? f<1, T>(__VA_ARGS__)                                                                                        \
     : (K) == 2  ? f<2, T>(__VA_ARGS__)                                                                                        \
     : (K) == 3  ? f<3, T>(__VA_ARGS__)                                                                                        \
     : (K) == 4  ? f<4, T>(__VA_ARGS__)                                                                                        \
     : (K) <= 8  ? f<8, T>(__VA_ARGS__)                                                                                        \
     : (K) <= 16 ? f<16, T>(__VA_ARGS__)                                                                                       \
                 : nf_cuda_fail(NF_EBUG, "conv_silu: %d taps; the CUDA backend has 1 to 16", (int)(K)))

} // namespace

extern "C" nf_status nf_cuda_conv_silu(nf_queue *q, nf_out y, nf_in x, nf_in w, nf_in b, const nf_seq *seq, void *)
{
    return x->dtype == NF_F32 ? BY_TAPS(w->dim[1], float, run_forward, q, y, x, w, b, seq)
                              : BY_TAPS(w->dim[1], bf16, run_forward, q, y, x, w, b, seq);
}

extern "C" nf_status nf_cuda_conv_silu_bwd(nf_queue *q, nf_out dx, nf_grad dw, nf_grad db, nf_in dy, nf_in x, nf_in w, nf_in b,
                                           const nf_seq *seq, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_conv_silu_bwd_scratch(dx, dy, x, w)};
    NF_CARVE(&c, float, part, nf_ceil_div(x->dim[0], PART) * (w->dim[1] + 1) * x->dim[1]);
    return x->dtype == NF_F32 ? BY_TAPS(w->dim[1], float, run_backward, q, dx, dw, db, dy, x, w, b, seq, part)
                              : BY_TAPS(w->dim[1], bf16, run_backward, q, dx, dw, db, dy, x, w, b, seq, part);
}
