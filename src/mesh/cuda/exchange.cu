/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.cu: rows of listed tokens into the order in which they travel, and expert ids of those that arrived. */
#include <cuda_runtime.h>

extern "C" {
#include "comm.h"
}

namespace
{

enum { WARPS = 8, BLOCK = 32 * WARPS };

cudaStream_t stream_of(nf_gpu_queue *queue)
{
    return *(cudaStream_t *)queue; /* its first member: gpu.h */
}

nf_status launched(const char *what)
{
    const cudaError_t e = cudaGetLastError();
    return e == cudaSuccess ? NF_OK : nf_cuda_fail(NF_EDEVICE, "%s: CUDA: %s", what, cudaGetErrorString(e));
}

unsigned blocks_for(int64_t n, int64_t each)
{
    const int64_t b = (n + each - 1) / each;
    return (unsigned)(b > 1056 ? 1056 : b);
}

/* A warp a row: its elements as words of type V, its side band and its ids. */
template <typename V> __global__ void __launch_bounds__(BLOCK) gather(const struct nf_gpu_gather g, int64_t total)
{
    const int lane = threadIdx.x % 32;
    const int64_t words = (int64_t)(g.row / sizeof(V));

    for (int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; i < total; i += (int64_t)gridDim.x * WARPS) {
        int64_t of = i;
        int s = 0;
        while (of >= g.segment[s].rows)
            of -= g.segment[s++].rows;
        const int64_t to = g.segment[s].to + of;
        const int64_t token = g.list ? g.list[g.segment[s].from + of] - g.token0 : g.segment[s].from + of;
        const V *from = (const V *)((const char *)g.rows + token * (int64_t)g.stride);
        V *out = (V *)((char *)g.out_rows + to * (int64_t)g.row);
#pragma unroll 4
        for (int64_t w = lane; w < words; w += 32)
            out[w] = from[w];
        for (int j = lane; j < g.k; j += 32) {
            if (g.side)
                g.out_side[to * g.k + j] = g.side[token * g.k + j];
            g.out_ids[to * g.k + j] = g.ids[token * g.k + j];
        }
    }
}

__global__ void __launch_bounds__(BLOCK) localize(int32_t *ids, int64_t n, int32_t first, int32_t experts)
{
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.x * BLOCK) {
        const int32_t id = ids[i];
        ids[i] = id >= first && id < first + experts ? id - first : -1;
    }
}

} // namespace

extern "C" nf_status nf_cuda_gather(nf_gpu_queue *queue, const struct nf_gpu_gather *g)
{
    const size_t aligned = (size_t)g->rows | (size_t)g->out_rows | g->stride | g->row;
    const cudaStream_t s = stream_of(queue);
    int64_t total = 0;

    for (int i = 0; i < g->segments; i++)
        total += g->segment[i].rows;
    if (total == 0)
        return NF_OK;
    const unsigned b = blocks_for(total, WARPS);
    if (aligned % 16 == 0)
        gather<uint4><<<b, BLOCK, 0, s>>>(*g, total);
    else if (aligned % 4 == 0)
        gather<uint32_t><<<b, BLOCK, 0, s>>>(*g, total);
    else
        gather<uint16_t><<<b, BLOCK, 0, s>>>(*g, total);
    return launched("rows of a slice");
}

extern "C" nf_status nf_cuda_localize(nf_gpu_queue *queue, int32_t *ids, int64_t n, int32_t first, int32_t experts)
{
    if (n == 0)
        return NF_OK;
    localize<<<blocks_for(n, BLOCK), BLOCK, 0, stream_of(queue)>>>(ids, n, first, experts);
    return launched("ids of a slice");
}
