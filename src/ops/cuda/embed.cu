/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.cu: rows by token, and their gradient. Backward: the tokens of each id are listed in ascending order without sorting
 * all: counts by integer atomics (whole numbers: any order gives the same), offsets by a scan, places in any order, then each
 * token finds its rank among those of its id. A block per row of dw sums its list in fp32 and writes once.
 *
 * An id outside the vocabulary, which the readers of data refuse, gives a row of NaN and no gradient.
 */
#include "kit.cuh"

namespace
{

enum { THREADS = 256, SCAN = 1024, COLUMNS = 256 };

template <int V, typename T>
__global__ void __launch_bounds__(THREADS)
    forward(T *y, int64_t ldy, const int32_t *ids, const T *w, int64_t ldw, int64_t vocabulary, int n)
{
    const int64_t t = blockIdx.x, id = ids[t];
    const bool known = id >= 0 && id < vocabulary;

    for (int i = threadIdx.x * V; i < n; i += THREADS * V) {
        if (known) {
            nf_store<V>(y + t * ldy + i, nf_load<V>(w + id * ldw + i));
            continue;
        }
        float nan[V];
#pragma unroll
        for (int k = 0; k < V; k++)
            nan[k] = __int_as_float(0x7fffffff);
        nf_store_floats<V>(y + t * ldy + i, nan);
    }
}

__global__ void __launch_bounds__(THREADS) count_ids(int32_t *count, const int32_t *ids, int64_t tokens, int64_t vocabulary)
{
    const int64_t t = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (t < tokens && ids[t] >= 0 && ids[t] < vocabulary)
        atomicAdd(&count[ids[t]], 1);
}

/* first[v] = sum of count[u], u < v; next[v] = the same. One block. */
__global__ void __launch_bounds__(SCAN) scan(int32_t *first, int32_t *next, const int32_t *count, int64_t n)
{
    __shared__ int32_t sums[SCAN];
    const int64_t run = (n + SCAN - 1) / SCAN, begin = threadIdx.x * run, end = begin + run < n ? begin + run : n;
    int32_t sum = 0;

    for (int64_t i = begin; i < end; i++)
        sum += count[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int d = 1; d < SCAN; d *= 2) {
        const int32_t before = threadIdx.x >= d ? sums[threadIdx.x - d] : 0;
        __syncthreads();
        sums[threadIdx.x] += before;
        __syncthreads();
    }
    int32_t at = sums[threadIdx.x] - sum;
    for (int64_t i = begin; i < end; i++) {
        first[i] = next[i] = at;
        at += count[i];
    }
}

__global__ void __launch_bounds__(THREADS)
    place(int32_t *list, int32_t *next, const int32_t *ids, int64_t tokens, int64_t vocabulary)
{
    const int64_t t = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (t < tokens && ids[t] >= 0 && ids[t] < vocabulary)
        list[atomicAdd(&next[ids[t]], 1)] = (int32_t)t;
}

/* sorted: the list with the tokens of each id ascending */
__global__ void __launch_bounds__(THREADS) rank(int32_t *sorted, const int32_t *list, const int32_t *first,
                                                const int32_t *count, const int32_t *ids, int64_t tokens, int64_t vocabulary)
{
    const int64_t t = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (t >= tokens || ids[t] < 0 || ids[t] >= vocabulary)
        return;
    const int32_t begin = first[ids[t]], end = begin + count[ids[t]];
    int32_t before = begin;
    for (int32_t i = begin; i < end; i++)
        before += list[i] < t;
    sorted[before] = (int32_t)t;
}

template <typename T>
__global__ void __launch_bounds__(COLUMNS) backward(nf_grad dw, const T *dy, int64_t ldy, const int32_t *sorted,
                                                    const int32_t *first, const int32_t *count, int32_t pad_id, int n)
{
    const int64_t v = blockIdx.x;
    const int col = blockIdx.y * COLUMNS + threadIdx.x;
    const bool pad = v == pad_id; /* zero, also what other uses of this row gave */
    const int32_t begin = first[v], tokens = pad ? 0 : count[v];

    if (col >= n || (tokens == 0 && dw.accumulate && !pad))
        return;
    float sum = 0;
    int32_t i = 0;
    for (; i + 4 <= tokens; i += 4) { /* four loads under way, added in order */
        float x[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            x[k] = nf_to_float(dy[sorted[begin + i + k] * ldy + col]);
#pragma unroll
        for (int k = 0; k < 4; k++)
            sum += x[k];
    }
    for (; i < tokens; i++)
        sum += nf_to_float(dy[sorted[begin + i] * ldy + col]);
    nf_grad_put(dw.t.data, dw.t.dtype != NF_F32, dw.accumulate && !pad, v * dw.t.stride[0] + col, sum);
}

template <typename T> nf_status run_forward(nf_queue *q, nf_in y, const int32_t *ids, nf_in w)
{
    if (y->dim[0] == 0 || y->dim[1] == 0)
        return NF_OK;
    constexpr int V = 16 / sizeof(T);
    const auto kernel = nf_packable(y, V) && nf_packable(w, V) ? forward<V, T> : forward<1, T>;
    kernel<<<(unsigned)y->dim[0], THREADS, 0, nf_stream(q)>>>((T *)y->data, y->stride[0], ids, (const T *)w->data, w->stride[0],
                                                              w->dim[0], (int)y->dim[1]);
    return nf_launched("embed");
}

template <typename T>
void run_backward(nf_queue *q, nf_grad dw, nf_in dy, const int32_t *sorted, const int32_t *first, const int32_t *count,
                  int32_t pad_id)
{
    const int n = (int)dy->dim[1];
    backward<T><<<dim3((unsigned)dw.t.dim[0], (unsigned)nf_ceil_div(n, COLUMNS)), COLUMNS, 0, nf_stream(q)>>>(
        dw, (const T *)dy->data, dy->stride[0], sorted, first, count, pad_id, n);
}

} // namespace

extern "C" nf_status nf_cuda_embed(nf_queue *q, nf_out y, const int32_t *ids, nf_in w)
{
    return NF_BY_TYPE(y->dtype, run_forward, q, y, ids, w);
}

extern "C" nf_status nf_cuda_embed_bwd(nf_queue *q, nf_grad dw, const int32_t *ids, nf_in dy, int32_t pad_id, void *scratch)
{
    const int64_t T = dy->dim[0], vocabulary = dw.t.dim[0];
    const unsigned blocks = (unsigned)nf_ceil_div(T, THREADS);
    const cudaStream_t s = nf_stream(q);
    nf_carving c = {(char *)scratch, nf_cuda_embed_bwd_scratch(T, dw)};
    NF_CARVE(&c, int32_t, count, vocabulary);
    NF_CARVE(&c, int32_t, first, vocabulary);
    NF_CARVE(&c, int32_t, next, vocabulary);
    NF_CARVE(&c, int32_t, list, T);
    NF_CARVE(&c, int32_t, sorted, T);

    if (vocabulary == 0 || dy->dim[1] == 0)
        return NF_OK;
    cudaMemsetAsync(count, 0, (size_t)vocabulary * sizeof *count, s);
    if (T)
        count_ids<<<blocks, THREADS, 0, s>>>(count, ids, T, vocabulary);
    scan<<<1, SCAN, 0, s>>>(first, next, count, vocabulary);
    if (T) {
        place<<<blocks, THREADS, 0, s>>>(list, next, ids, T, vocabulary);
        rank<<<blocks, THREADS, 0, s>>>(sorted, list, first, count, ids, T, vocabulary);
    }
    if (dy->dtype == NF_F32)
        run_backward<float>(q, dw, dy, sorted, first, count, pad_id);
    else
        run_backward<bf16>(q, dw, dy, sorted, first, count, pad_id);
    return nf_launched("embed_bwd");
}
