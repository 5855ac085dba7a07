/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gated_norm.cu: g = y silu(z), RMSNorm per group of channels, the weight. A warp takes a group of a row: its sums need no
 * other warp. Backward: a block takes one group of the rows of its part, its warps rows in turn, and keeps the sums for dw in
 * shared memory, one row of them a warp, added in the order of the warps at the end.
 */
#include "kit.cuh"

namespace
{

enum { WARPS = 8 };

template <int V, typename T, typename W>
__global__ void __launch_bounds__(32 * WARPS) forward(nf_strided<T> o, float *rstd, nf_strided<T> y, nf_strided<T> z,
                                                      const W *w, int64_t rows, int groups, int n, double eps)
{
    const int lane = threadIdx.x % 32;
    const int64_t item = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (item >= rows * groups)
        return;
    const int64_t row = item / groups, at = item % groups * n;
    const T *a = y.data + row * y.stride + at, *b = z.data + row * z.stride + at;
    T *out = o.data + row * o.stride + at;
    float square = 0;

    for (int i = lane * V; i < n; i += 32 * V) {
        float u[V], v[V];
        nf_load_floats<V>(u, a + i);
        nf_load_floats<V>(v, b + i);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float g = u[k] * nf_silu(v[k]);
            square += g * g;
        }
    }
    square = nf_warp_sum(square);
    const float r = (float)(1.0 / sqrt((double)square / (double)n + eps));
    if (lane == 0)
        rstd[item] = r;
    for (int i = lane * V; i < n; i += 32 * V) {
        float u[V], v[V], s[V];
        nf_load_floats<V>(u, a + i);
        nf_load_floats<V>(v, b + i);
        nf_load_floats<V>(s, w + at + i);
#pragma unroll
        for (int k = 0; k < V; k++)
            u[k] = u[k] * nf_silu(v[k]) * r * s[k];
        nf_store_floats<V>(out + i, u);
    }
}

/* What a warp does with one group of one row. sums: its row of the sums for dw, or NULL. */
template <int V, typename T, typename W>
__device__ void backward_group(T *dy, T *dz, T *again, float *sums, const T *d_o, const T *y, const T *z, const W *w, float r,
                               int n)
{
    const int lane = threadIdx.x % 32;
    float dot = 0;

    for (int i = lane * V; i < n; i += 32 * V) {
        float g[V], a[V], b[V], s[V];
        nf_load_floats<V>(g, d_o + i);
        nf_load_floats<V>(a, y + i);
        nf_load_floats<V>(b, z + i);
        nf_load_floats<V>(s, w + i);
#pragma unroll
        for (int k = 0; k < V; k++)
            dot += s[k] * g[k] * (a[k] * nf_silu(b[k]));
    }
    const float mean = nf_warp_sum(dot) * r * r / (float)n;
    for (int i = lane * V; i < n; i += 32 * V) {
        float g[V], a[V], b[V], s[V], o[V];
        nf_load_floats<V>(g, d_o + i);
        nf_load_floats<V>(a, y + i);
        nf_load_floats<V>(b, z + i);
        nf_load_floats<V>(s, w + i);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float gate = nf_silu(b[k]), x = a[k] * gate, dg = r * (s[k] * g[k] - mean * x);
            if (sums)
                sums[i + k] += g[k] * (x * r);
            o[k] = x * r * s[k];
            b[k] = dg * a[k] * nf_silu_grad(b[k]);
            a[k] = dg * gate;
        }
        nf_store_floats<V>(dy + i, a);
        nf_store_floats<V>(dz + i, b);
        if (again)
            nf_store_floats<V>(again + i, o);
    }
}

template <int V, typename T, typename W>
__global__ void __launch_bounds__(32 * WARPS)
    backward(nf_strided<T> dy, nf_strided<T> dz, nf_strided<T> again, float *part, nf_strided<T> d_o, nf_strided<T> y,
             nf_strided<T> z, const float *rstd, const W *w, int64_t rows, int groups, int n, int64_t run)
{
    extern __shared__ float shared[]; /* [warps, n] */
    const int group = blockIdx.y, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const int64_t first = blockIdx.x * run, last = first + run < rows ? first + run : rows, at = (int64_t)group * n;
    float *sums = part ? shared + warp * n : NULL;

    for (int i = threadIdx.x % 32; part && i < n; i += 32)
        sums[i] = 0;
    __syncwarp();
    for (int64_t row = first + warp; row < last; row += warps)
        backward_group<V>(dy.data + row * dy.stride + at, dz.data + row * dz.stride + at,
                          again.data ? again.data + row * again.stride + at : NULL, sums, d_o.data + row * d_o.stride + at,
                          y.data + row * y.stride + at, z.data + row * z.stride + at, w + at, rstd[row * groups + group], n);
    if (!part)
        return;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float s = shared[i];
        for (int k = 1; k < warps; k++)
            s += shared[k * n + i];
        part[(int64_t)blockIdx.x * groups * n + at + i] = s;
    }
}

template <typename T, typename W>
nf_status run_forward(nf_queue *q, nf_in o, float *rstd, nf_in y, nf_in z, nf_in w, int groups, double eps)
{
    const int64_t rows = y->dim[0], n = y->dim[1] / groups;
    if (rows == 0 || n == 0)
        return NF_OK;
    constexpr int V = sizeof(T) == 2 ? 8 : 4;
    const bool packs = n % V == 0 && nf_packable(o, V) && nf_packable(y, V) && nf_packable(z, V) && nf_packable(w, V);
    const auto kernel = packs ? forward<V, T, W> : forward<1, T, W>;
    kernel<<<(unsigned)nf_ceil_div(rows * groups, WARPS), 32 * WARPS, 0, nf_stream(q)>>>(
        nf_strided_of<T>(o), rstd, nf_strided_of<T>(y), nf_strided_of<T>(z), (const W *)w->data, rows, groups, (int)n, eps);
    return nf_launched("gated_norm");
}

template <typename T, typename W>
nf_status run_backward(nf_queue *q, nf_in dy, nf_in dz, nf_in again, nf_grad dw, nf_in d_o, nf_in y, nf_in z, const float *rstd,
                       nf_in w, int groups, float *part)
{
    const int64_t rows = y->dim[0], n = y->dim[1] / groups, count = nf_cuda_row_parts(rows), run = nf_ceil_div(rows, count);
    if (n == 0)
        return NF_OK;
    constexpr int V = sizeof(T) == 2 ? 8 : 4;
    const bool packs = n % V == 0 && nf_packable(dy, V) && nf_packable(dz, V) && nf_packable(again, V) && nf_packable(d_o, V) &&
                       nf_packable(y, V) && nf_packable(z, V) && nf_packable(w, V);
    const int warps = n * WARPS * 4 <= 160 * 1024 ? WARPS : 1; /* by the shape alone: the order of the sums */
    const size_t shared = dw.t.data ? (size_t)n * (size_t)warps * sizeof(float) : 0;
    const auto kernel = packs ? backward<V, T, W> : backward<1, T, W>;
    NF_SHARED("gated_norm_bwd", kernel, shared);
    kernel<<<dim3((unsigned)count, (unsigned)groups), 32 * warps, shared, nf_stream(q)>>>(
        nf_strided_of<T>(dy), nf_strided_of<T>(dz), nf_strided_of<T>(again), dw.t.data ? part : NULL, nf_strided_of<T>(d_o),
        nf_strided_of<T>(y), nf_strided_of<T>(z), rstd, (const W *)w->data, rows, groups, (int)n, run);
    const nf_status s = nf_launched("gated_norm_bwd");
    return s ? s : nf_cuda_add_parts(q, "gated_norm_bwd", dw, n * groups, 1, part, count);
}

} // namespace

extern "C" nf_status nf_cuda_gated_norm(nf_queue *q, nf_out o, float *rstd, nf_in y, nf_in z, nf_in w, int groups, double eps,
                                        void *)
{
    return NF_BY_TYPES(y->dtype, w->dtype, run_forward, q, o, rstd, y, z, w, groups, eps);
}

extern "C" nf_status nf_cuda_gated_norm_bwd(nf_queue *q, nf_out dy, nf_out dz, nf_out o_again, nf_grad dw, nf_in d_o, nf_in y,
                                            nf_in z, const float *rstd, nf_in w, int groups, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_gated_norm_bwd_scratch(dy, dz, o_again, d_o, y, z, w)};
    NF_CARVE(&c, float, part, nf_cuda_row_parts(y->dim[0]) * y->dim[1]);
    return NF_BY_TYPES(y->dtype, w->dtype, run_backward, q, dy, dz, o_again, dw, d_o, y, z, rstd, w, groups, part);
}
