/* SPDX-License-Identifier: Apache-2.0 */
/*
 * add_norm.cu: residual sum and RMSNorm. Forward: a block a row, which is read once from memory and a second time from the
 * cache. Backward: a block walks the rows of its part; each thread keeps the sums for dw of its own columns in shared memory.
 *
 * With bf16 storage the norm is of the sum as it is stored, and NF_ROUND_XHAT rounds xhat before the weight is multiplied.
 */
#include "kit.cuh"

namespace
{

enum { THREADS = 256 };

template <int V, typename T, typename W>
__global__ void __launch_bounds__(THREADS) forward(nf_strided<T> stream, nf_strided<T> y, float *rstd, nf_strided<T> prev,
                                                   nf_strided<T> branch, const W *w, int n, double eps, bool round_xhat)
{
    const int64_t row = blockIdx.x;
    const T *p = prev.data + row * prev.stride;
    float square = 0;

    if (branch.data) {
        const T *b = branch.data + row * branch.stride;
        T *s = stream.data + row * stream.stride;
        for (int i = threadIdx.x * V; i < n; i += THREADS * V) {
            float a[V], c[V];
            nf_load_floats<V>(a, p + i);
            nf_load_floats<V>(c, b + i);
#pragma unroll
            for (int k = 0; k < V; k++) {
                a[k] = nf_to_float(nf_from_float<T>(a[k] + c[k]));
                square += a[k] * a[k];
            }
            nf_store_floats<V>(s + i, a);
        }
        p = s; /* each thread reads again what it wrote itself */
    } else {
        for (int i = threadIdx.x * V; i < n; i += THREADS * V) {
            float a[V];
            nf_load_floats<V>(a, p + i);
#pragma unroll
            for (int k = 0; k < V; k++)
                square += a[k] * a[k];
        }
    }
    square = nf_block_sum<THREADS>(square);
    const float r = (float)(1.0 / sqrt((double)square / (double)n + eps));
    if (threadIdx.x == 0)
        rstd[row] = r;
    T *o = y.data + row * y.stride;
    for (int i = threadIdx.x * V; i < n; i += THREADS * V) {
        float x[V], g[V];
        nf_load_floats<V>(x, p + i);
        nf_load_floats<V>(g, w + i);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float h = x[k] * r;
            x[k] = (round_xhat ? nf_to_float(nf_from_float<T>(h)) : h) * g[k];
        }
        nf_store_floats<V>(o + i, x);
    }
}

template <int V, typename T, typename W>
__global__ void __launch_bounds__(THREADS)
    backward(nf_strided<T> dstream, bool accumulate, float *part, nf_strided<T> dy, nf_strided<T> stream, const float *rstd,
             const W *w, int64_t rows, int n, int64_t run)
{
    extern __shared__ float dw[]; /* [n]: a thread's own columns alone */
    const int64_t first = blockIdx.x * run, last = first + run < rows ? first + run : rows;

    if (part)
        for (int i = threadIdx.x * V; i < n; i += THREADS * V)
#pragma unroll
            for (int k = 0; k < V; k++)
                dw[i + k] = 0;
    for (int64_t row = first; row < last; row++) {
        const T *g = dy.data + row * dy.stride, *x = stream.data + row * stream.stride;
        T *d = dstream.data + row * dstream.stride;
        const float r = rstd[row];
        float dot = 0;
        for (int i = threadIdx.x * V; i < n; i += THREADS * V) {
            float a[V], b[V], c[V];
            nf_load_floats<V>(a, g + i);
            nf_load_floats<V>(b, x + i);
            nf_load_floats<V>(c, w + i);
#pragma unroll
            for (int k = 0; k < V; k++)
                dot += c[k] * a[k] * b[k];
        }
        dot = nf_block_sum<THREADS>(dot);
        const float mean = dot * r * r / (float)n;
        for (int i = threadIdx.x * V; i < n; i += THREADS * V) {
            float a[V], b[V], c[V], old[V];
            nf_load_floats<V>(a, g + i);
            nf_load_floats<V>(b, x + i);
            nf_load_floats<V>(c, w + i);
            if (accumulate)
                nf_load_floats<V>(old, d + i);
#pragma unroll
            for (int k = 0; k < V; k++) {
                const float v = r * (c[k] * a[k] - mean * b[k]);
                if (part)
                    dw[i + k] += a[k] * (b[k] * r);
                a[k] = accumulate ? old[k] + v : v;
            }
            nf_store_floats<V>(d + i, a);
        }
    }
    if (part)
        for (int i = threadIdx.x * V; i < n; i += THREADS * V)
#pragma unroll
            for (int k = 0; k < V; k++)
                part[(int64_t)blockIdx.x * n + i + k] = dw[i + k];
}

template <typename T, typename W>
nf_status run_forward(nf_queue *q, nf_in stream, nf_in y, float *rstd, nf_in prev, nf_in branch, nf_in w, double eps, bool xhat)
{
    const int64_t rows = prev->dim[0], n = prev->dim[1];
    if (rows == 0 || n == 0)
        return NF_OK;
    const nf_strided<T> s = nf_strided_of<T>(branch ? stream : NULL), o = nf_strided_of<T>(y), p = nf_strided_of<T>(prev),
                        b = nf_strided_of<T>(branch);
    constexpr int V = sizeof(T) == 2 ? 8 : 4;
    if (nf_packable(y, V) && nf_packable(prev, V) && nf_packable(branch, V) && nf_packable(branch ? stream : NULL, V) &&
        nf_packable(w, V))
        forward<V, T, W><<<(unsigned)rows, THREADS, 0, nf_stream(q)>>>(s, o, rstd, p, b, (const W *)w->data, (int)n, eps, xhat);
    else
        forward<1, T, W><<<(unsigned)rows, THREADS, 0, nf_stream(q)>>>(s, o, rstd, p, b, (const W *)w->data, (int)n, eps, xhat);
    return nf_launched("add_norm");
}

template <typename T, typename W>
nf_status run_backward(nf_queue *q, nf_in dstream, bool accumulate, nf_grad dw, nf_in dy, nf_in stream, const float *rstd,
                       nf_in w, float *part)
{
    const int64_t rows = dy->dim[0], n = dy->dim[1], count = nf_cuda_row_parts(rows), run = nf_ceil_div(rows, count);
    if (n == 0)
        return NF_OK;
    constexpr int V = sizeof(T) == 2 ? 8 : 4;
    const size_t shared = (size_t)n * sizeof(float);
    const bool packs = nf_packable(dstream, V) && nf_packable(dy, V) && nf_packable(stream, V) && nf_packable(w, V);
    const auto kernel = packs ? backward<V, T, W> : backward<1, T, W>;
    NF_SHARED("add_norm_bwd", kernel, shared);
    kernel<<<(unsigned)count, THREADS, shared, nf_stream(q)>>>(nf_strided_of<T>(dstream), accumulate, dw.t.data ? part : NULL,
                                                               nf_strided_of<T>(dy), nf_strided_of<T>(stream), rstd,
                                                               (const W *)w->data, rows, (int)n, run);
    const nf_status s = nf_launched("add_norm_bwd");
    return s ? s : nf_cuda_add_parts(q, "add_norm_bwd", dw, n, 1, part, count);
}

} // namespace

extern "C" nf_status nf_cuda_add_norm(nf_queue *q, nf_out stream, nf_out y, float *rstd, nf_in prev, nf_in branch, nf_in w,
                                      double eps, enum nf_norm_rounding rounding, void *)
{
    const bool xhat = prev->dtype == NF_BF16 && rounding == NF_ROUND_XHAT;
    return NF_BY_TYPES(prev->dtype, w->dtype, run_forward, q, stream, y, rstd, prev, branch, w, eps, xhat);
}

extern "C" nf_status nf_cuda_add_norm_bwd(nf_queue *q, nf_out dstream, bool accumulate, nf_grad dw, nf_in dy, nf_in stream,
                                          const float *rstd, nf_in w, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_add_norm_bwd_scratch(dstream, dy, stream, w)};
    NF_CARVE(&c, float, part, nf_cuda_row_parts(dy->dim[0]) * dy->dim[1]);
    return NF_BY_TYPES(dy->dtype, w->dtype, run_backward, q, dstream, accumulate, dw, dy, stream, rstd, w, part);
}
