/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_pack.cu: around the products of grouped_products.h: rows to the places that a batch wants and what follows a product:
 * bias, activation and its derivative, routing weights. A block takes a row; all sums in fixed order.
 */
#include "act.cuh"

#include "grouped_products.h"

namespace
{

enum { THREADS = 128, PLACERS = 256 };

/* A block an expert: it walks its groups in the order of the array. */
__global__ void __launch_bounds__(PLACERS) place_rows(int32_t *row, int32_t *over, nf_cuda_groups groups, int each)
{
    const int e = blockIdx.x;
    int at = 0;

    row += (int64_t)e * each;
    for (int g = 0; g < groups.count; g++) {
        if (groups.expert[g] != e)
            continue;
        const int begin = groups.begin[g], n = groups.end[g] - begin, fit = min(n, each - at);
        for (int i = threadIdx.x; i < fit; i += PLACERS)
            row[at + i] = begin - groups.base + i;
        if (threadIdx.x == 0)
            over[g] = begin + fit;
        at += fit;
    }
    for (int i = at + threadIdx.x; i < each; i += PLACERS)
        row[i] = -1;
}

__device__ __forceinline__ int row_of(const nf_cuda_entries &s, int i)
{
    return s.row ? s.row[i] : s.first + i;
}

template <int V, typename T>
__global__ void __launch_bounds__(THREADS) gather(T *to, nf_cuda_operand from, int cols, nf_cuda_entries s, const float *weight)
{
    for (int i = blockIdx.x; i < s.count; i += gridDim.x) {
        const int r = row_of(s, i);
        const float by = weight && r >= 0 ? weight[r] : 1.0f;
        const T *x = (const T *)from.data + (r < 0 ? 0 : r) * from.ld;
        T *y = to + (int64_t)i * cols;
        for (int c = (int)threadIdx.x * V; c < cols; c += THREADS * V) {
            nf_pack<T, V> p = {};
            if (r >= 0)
                p = nf_load<V>(x + c);
            if (weight) {
#pragma unroll
                for (int k = 0; k < V; k++)
                    p.v[k] = nf_from_float<T>(r < 0 ? 0.0f : by * nf_to_float(p.v[k]));
            }
            nf_store<V>(y + c, p);
        }
    }
}

template <int V, typename T>
__global__ void __launch_bounds__(THREADS) scatter(nf_cuda_matrix to, const T *from, int cols, nf_cuda_entries s)
{
    for (int i = blockIdx.x; i < s.count; i += gridDim.x) {
        const int r = row_of(s, i);
        T *y = (T *)to.data + (r < 0 ? 0 : r) * to.ld;
        for (int c = (int)threadIdx.x * V; r >= 0 && c < cols; c += THREADS * V)
            nf_store<V>(y + c, nf_load<V>(from + (int64_t)i * cols + c));
    }
}

__device__ constexpr bool has_gate(int kind)
{
    return kind == NF_ACT_SWIGLU || kind == NF_ACT_SWIGLU_CLAMP;
}

template <typename T> __device__ __forceinline__ T *at(const nf_cuda_matrix &m, int row, int col)
{
    return (T *)m.data + (int64_t)row * m.ld + col;
}

template <int V, int KIND, typename T>
__global__ void __launch_bounds__(THREADS) finish_forward(nf_cuda_rows p, nf_cuda_entries s, const float *product)
{
    constexpr bool GATE = has_gate(KIND), FAST = sizeof(T) == 2;

    for (int i = blockIdx.x; i < s.count; i += gridDim.x) {
        const int r = row_of(s, i);
        if (r < 0)
            continue;
        const float by = p.row_weight ? p.row_weight[r] : 1.0f, *x = product + (int64_t)i * p.cols * (GATE ? 2 : 1);
        const T *bias = p.bias ? (const T *)p.bias + (int64_t)(s.expert + i / s.each) * p.bias_ld : NULL;
        for (int c = (int)threadIdx.x * V; c < p.cols; c += THREADS * V) {
            float u[V], v[V], y[V];
#pragma unroll
            for (int half = 0; half < (GATE ? 2 : 1); half++) {
                float(&z)[V] = half ? v : u;
                nf_load_floats<V>(z, x + half * p.cols + c);
#pragma unroll
                for (int k = 0; k < V; k++)
                    z[k] += bias ? nf_to_float(bias[half * p.cols + c + k]) : 0.0f;
                if (p.pre.data)
                    nf_store_floats<V>(at<T>(p.pre, r, half * p.cols + c), z);
            }
#pragma unroll
            for (int k = 0; k < V; k++)
                y[k] = by * nf_act<KIND, FAST>(u[k], GATE ? v[k] : 0.0f, p.act.alpha, p.act.limit);
            nf_store_floats<V>(at<T>(p.out, r, c), y);
        }
    }
}

template <int V, int KIND, typename T>
__global__ void __launch_bounds__(THREADS) finish_dgrad(nf_cuda_rows p, nf_cuda_entries s, const float *product)
{
    constexpr bool GATE = has_gate(KIND), FAST = sizeof(T) == 2;

    for (int i = blockIdx.x; i < s.count; i += gridDim.x) {
        const int r = row_of(s, i);
        if (r < 0)
            continue;
        const float by = p.row_weight ? p.row_weight[r] : 1.0f, *x = product + (int64_t)i * p.cols;
        float dot = 0.0f;
        for (int c = (int)threadIdx.x * V; c < p.cols; c += THREADS * V) {
            float b[V], u[V] = {}, v[V] = {}, du[V], dv[V];
            nf_load_floats<V>(b, x + c);
            if (p.pre.data)
                nf_load_floats<V>(u, at<const T>(p.pre, r, c));
            if (GATE)
                nf_load_floats<V>(v, at<const T>(p.pre, r, p.cols + c));
            if (p.again.data || p.dot) {
                float y[V];
#pragma unroll
                for (int k = 0; k < V; k++) {
                    y[k] = nf_act<KIND, FAST>(u[k], GATE ? v[k] : 0.0f, p.act.alpha, p.act.limit);
                    dot += b[k] * y[k];
                }
                if (p.again.data)
                    nf_store_floats<V>(at<T>(p.again, r, c), y);
            }
#pragma unroll
            for (int k = 0; k < V; k++)
                nf_act_grad<KIND, FAST>(du[k], dv[k], by * b[k], u[k], GATE ? v[k] : 0.0f, p.act.alpha, p.act.limit);
            nf_store_floats<V>(at<T>(p.out, r, c), du);
            if (GATE)
                nf_store_floats<V>(at<T>(p.out, r, p.cols + c), dv);
        }
        if (p.dot) {
            dot = nf_block_sum<THREADS>(dot);
            if (threadIdx.x == 0)
                p.dot[r] = dot;
        }
    }
}

/* Whether rows can be walked in packs of 8: addresses and strides on 16 bytes, which `vec` says of bf16. */
bool packs(const nf_cuda_matrix &m, bool bf16)
{
    return !m.data || (bf16 ? m.vec : (uintptr_t)m.data % 16 == 0 && m.ld % 4 == 0);
}

bool packs(const nf_cuda_rows *p, bool bf16)
{
    return p->cols % 8 == 0 && packs(p->out, bf16) && packs(p->pre, bf16) && packs(p->again, bf16);
}

template <bool DGRAD, int KIND, typename T>
cudaError_t finish(const nf_cuda_rows *p, const nf_cuda_entries *s, const float *product, cudaStream_t stream)
{
    const unsigned blocks = nf_blocks(s->count, 1);
    const bool wide = packs(p, sizeof(T) == 2);

    if (DGRAD)
        (wide ? finish_dgrad<8, KIND, T> : finish_dgrad<1, KIND, T>)<<<blocks, THREADS, 0, stream>>>(*p, *s, product);
    else
        (wide ? finish_forward<8, KIND, T> : finish_forward<1, KIND, T>)<<<blocks, THREADS, 0, stream>>>(*p, *s, product);
    return cudaGetLastError();
}

template <bool DGRAD, typename T>
cudaError_t by_act(const nf_cuda_rows *p, const nf_cuda_entries *s, const float *product, cudaStream_t stream)
{
    if (s->count == 0 || p->cols == 0)
        return cudaSuccess;
    switch (p->act.kind) {
    case NF_ACT_NONE: return finish<DGRAD, NF_ACT_NONE, T>(p, s, product, stream);
    case NF_ACT_RELU2: return finish<DGRAD, NF_ACT_RELU2, T>(p, s, product, stream);
    case NF_ACT_SWIGLU: return finish<DGRAD, NF_ACT_SWIGLU, T>(p, s, product, stream);
    case NF_ACT_SWIGLU_CLAMP: return finish<DGRAD, NF_ACT_SWIGLU_CLAMP, T>(p, s, product, stream);
    }
    return cudaErrorInvalidValue;
}

template <typename T>
cudaError_t gather_by_width(T *to, nf_cuda_operand from, int cols, const nf_cuda_entries *s, const float *weight,
                            cudaStream_t stream)
{
    constexpr int V = 16 / sizeof(T);
    const bool wide = cols % V == 0 && from.ld % V == 0 && (uintptr_t)from.data % 16 == 0;

    if (s->count && cols)
        (wide ? gather<V, T> : gather<1, T>)<<<nf_blocks(s->count, 1), THREADS, 0, stream>>>(to, from, cols, *s, weight);
    return cudaGetLastError();
}

template <typename T>
cudaError_t scatter_by_width(nf_cuda_matrix to, const T *from, int cols, const nf_cuda_entries *s, cudaStream_t stream)
{
    constexpr int V = 16 / sizeof(T);
    const bool wide = cols % V == 0 && to.ld % V == 0 && (uintptr_t)to.data % 16 == 0;

    if (s->count && cols)
        (wide ? scatter<V, T> : scatter<1, T>)<<<nf_blocks(s->count, 1), THREADS, 0, stream>>>(to, from, cols, *s);
    return cudaGetLastError();
}

} // namespace

extern "C" cudaError_t nf_cuda_place_rows(int32_t *row, int32_t *over, const struct nf_cuda_groups *groups, int experts,
                                          int each, cudaStream_t s)
{
    if (experts)
        place_rows<<<(unsigned)experts, PLACERS, 0, s>>>(row, over, *groups, each);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_gather_rows(void *to, struct nf_cuda_operand from, int cols,
                                           const struct nf_cuda_entries *entries, const float *weight, bool bf16_rows,
                                           cudaStream_t s)
{
    return bf16_rows ? gather_by_width((bf16 *)to, from, cols, entries, weight, s)
                     : gather_by_width((float *)to, from, cols, entries, weight, s);
}

extern "C" cudaError_t nf_cuda_scatter_rows(struct nf_cuda_matrix to, const void *from, int cols,
                                            const struct nf_cuda_entries *entries, bool bf16_rows, cudaStream_t s)
{
    return bf16_rows ? scatter_by_width(to, (const bf16 *)from, cols, entries, s)
                     : scatter_by_width(to, (const float *)from, cols, entries, s);
}

extern "C" cudaError_t nf_cuda_finish_forward(const struct nf_cuda_rows *call, const struct nf_cuda_entries *entries,
                                              const float *product, bool bf16_rows, cudaStream_t s)
{
    return bf16_rows ? by_act<false, bf16>(call, entries, product, s) : by_act<false, float>(call, entries, product, s);
}

extern "C" cudaError_t nf_cuda_finish_dgrad(const struct nf_cuda_rows *call, const struct nf_cuda_entries *entries,
                                            const float *product, bool bf16_rows, cudaStream_t s)
{
    return bf16_rows ? by_act<true, bf16>(call, entries, product, s) : by_act<true, float>(call, entries, product, s);
}
