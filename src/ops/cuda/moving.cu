/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moving.cu: rows to expert order and back: expand, collapse, combine. A warp a row, 16 bytes a lane. Sums run in expert order
 * or rank order, in fp32, and are rounded once: never in order of arrival.
 */
#include "kit.cuh"

namespace
{

enum { WARPS = 8 };

unsigned blocks_for(int64_t rows)
{
    return (unsigned)nf_ceil_div(rows, WARPS);
}

/* Rows outside all groups are not touched. */
template <int V, typename T>
__global__ void __launch_bounds__(32 * WARPS)
    expand(T *to, int64_t ld_to, const T *from, int64_t ld_from, const int32_t *source, const int32_t *begin,
           const int32_t *end, int experts, int64_t base, int64_t cap, int n)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= cap)
        return;
    bool mine = false;
    for (int e = lane; e < experts; e += 32)
        mine |= row + base >= begin[e] && row + base < end[e];
    if (!__any_sync(0xffffffffu, mine))
        return;
    const T *x = from + source[row] * ld_from;
    for (int i = lane * V; i < n; i += 32 * V)
        nf_store<V>(to + row * ld_to + i, nf_load<V>(x + i));
}

template <typename T> struct sums {
    T *to;
    const T *from, *add;
    int64_t ld_to, ld_from, ld_add, rows;
    const int32_t *list; /* [rows, slots] rows of `from`, -1: none */
    int64_t slots;
    int n;
};

template <int V, typename T> __device__ void sum_row(const sums<T> &s, int64_t row)
{
    const int32_t *list = s.list + row * s.slots;
    for (int i = threadIdx.x % 32 * V; i < s.n; i += 32 * V) {
        float sum[V] = {0}, x[V];
        for (int64_t r = 0; r < s.slots; r++) {
            const int32_t at = list[r];
            if (at < 0)
                continue;
            nf_load_floats<V>(x, s.from + at * s.ld_from + i);
#pragma unroll
            for (int k = 0; k < V; k++)
                sum[k] += x[k];
        }
        if (s.add) {
            nf_load_floats<V>(x, s.add + row * s.ld_add + i);
#pragma unroll
            for (int k = 0; k < V; k++)
                sum[k] += x[k];
        }
        nf_store_floats<V>(s.to + row * s.ld_to + i, sum);
    }
}

template <int V, typename T>
__global__ void __launch_bounds__(32 * WARPS)
    collapse(sums<T> s, float *side, const float *row_side, const int32_t *slot, const int32_t *count)
{
    const int lane = threadIdx.x % 32, k = (int)s.slots;
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= s.rows || row >= *count)
        return;
    sum_row<V>(s, row);
    if (!side)
        return;
    for (int i = lane; i < k; i += 32)
        side[row * k + i] = 0;
    __syncwarp();
    for (int i = lane; i < k; i += 32) {
        const int32_t at = s.list[row * k + i];
        if (at >= 0)
            side[row * k + slot[at]] = row_side[at];
    }
}

template <int V, typename T>
__global__ void __launch_bounds__(32 * WARPS) combine(sums<T> s, float *weights, const float *side, int k)
{
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= s.rows)
        return;
    sum_row<V>(s, row);
    for (int i = threadIdx.x % 32; weights && i < k; i += 32) {
        float sum = 0;
        for (int64_t r = 0; r < s.slots; r++) {
            const int32_t at = s.list[row * s.slots + r];
            if (at >= 0)
                sum += side[(int64_t)at * k + i];
        }
        weights[row * k + i] = sum;
    }
}

template <typename T> sums<T> sums_of(nf_in to, nf_in from, nf_in add, const int32_t *list, int64_t slots)
{
    return {(T *)to->data,
            (const T *)from->data,
            add ? (const T *)add->data : NULL,
            to->stride[0],
            from->stride[0],
            add ? add->stride[0] : 0,
            to->dim[0],
            list,
            slots,
            (int)to->dim[1]};
}

template <typename T> nf_status run_expand(nf_queue *q, nf_in rows, nf_in received, const struct nf_order *o)
{
    if (rows->dim[0] == 0 || rows->dim[1] == 0)
        return NF_OK;
    constexpr int V = 16 / sizeof(T);
    const auto kernel = nf_packable(rows, V) && nf_packable(received, V) ? expand<V, T> : expand<1, T>;
    kernel<<<blocks_for(rows->dim[0]), 32 * WARPS, 0, nf_stream(q)>>>(
        (T *)rows->data, rows->stride[0], (const T *)received->data, received->stride[0], o->source, o->begin, o->end,
        o->experts, o->base, rows->dim[0], (int)rows->dim[1]);
    return nf_launched("expand");
}

template <typename T>
nf_status run_collapse(nf_queue *q, nf_in partial, float *side, nf_in rows, const float *row_side, const struct nf_order *o,
                       const int32_t *count)
{
    if (partial->dim[0] == 0)
        return NF_OK;
    constexpr int V = 16 / sizeof(T);
    const auto kernel = nf_packable(rows, V) && nf_packable(partial, V) ? collapse<V, T> : collapse<1, T>;
    kernel<<<blocks_for(partial->dim[0]), 32 * WARPS, 0, nf_stream(q)>>>(sums_of<T>(partial, rows, NULL, o->place, o->k), side,
                                                                         row_side, o->slot, count);
    return nf_launched("collapse");
}

template <typename T>
nf_status run_combine(nf_queue *q, nf_in y, float *weights, nf_in returned, const float *side, const int32_t *where,
                      int64_t slots, int k, nf_in add)
{
    if (y->dim[0] == 0)
        return NF_OK;
    constexpr int V = 16 / sizeof(T);
    const auto kernel = nf_packable(y, V) && nf_packable(returned, V) && nf_packable(add, V) ? combine<V, T> : combine<1, T>;
    kernel<<<blocks_for(y->dim[0]), 32 * WARPS, 0, nf_stream(q)>>>(sums_of<T>(y, returned, add, where, slots), weights, side,
                                                                   k);
    return nf_launched("combine");
}

} // namespace

extern "C" nf_status nf_cuda_expand(nf_queue *q, nf_out rows, nf_in received, const struct nf_order *order)
{
    return NF_BY_TYPE(rows->dtype, run_expand, q, rows, received, order);
}

extern "C" nf_status nf_cuda_collapse(nf_queue *q, nf_out partial, float *side, nf_in rows, const float *row_side,
                                      const struct nf_order *order, const int32_t *count)
{
    return NF_BY_TYPE(rows->dtype, run_collapse, q, partial, side, rows, row_side, order, count);
}

extern "C" nf_status nf_cuda_combine(nf_queue *q, nf_out y, float *weights, nf_in returned, const float *side,
                                     const int32_t *where, int64_t slots, int k, nf_in add)
{
    return NF_BY_TYPE(y->dtype, run_combine, q, y, weights, returned, side, where, slots, k, add);
}
