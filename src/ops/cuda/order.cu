/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.cu: where received rows lie among expert rows. The entries (row, slot) are cut into chunks; each is counted by expert,
 * a scan over the chunks gives where the rows of each expert begin in each, and a warp walks a chunk 32 entries at a time:
 * lanes of one expert find each other by __match_any_sync and line up in the order of entries. So the order is stable and no
 * launch needs to know a count.
 *
 * What does not fit (the layer's slices see to it that nothing ever is) is left out, never written beyond.
 */
#include "kit.cuh"

namespace
{

enum { CHUNK = NF_CUDA_ORDER_CHUNK, THREADS = 256 };

struct entries {
    const int32_t *ids, *count;
    int64_t row_cap;
    int k, experts;
};

__device__ __forceinline__ int64_t entries_of(const entries &s)
{
    const int64_t rows = *s.count;
    return (rows < 0 ? 0 : rows < s.row_cap ? rows : s.row_cap) * s.k;
}

/* A block a chunk: counts [chunk][expert] */
__global__ void __launch_bounds__(THREADS) count_chunk(int32_t *counts, entries s)
{
    extern __shared__ int32_t here[];
    const int64_t n = entries_of(s), begin = (int64_t)blockIdx.x * CHUNK, end = begin + CHUNK < n ? begin + CHUNK : n;

    for (int e = threadIdx.x; e < s.experts; e += THREADS)
        here[e] = 0;
    __syncthreads();
    for (int64_t i = begin + threadIdx.x; i < end; i += THREADS)
        if (s.ids[i] >= 0 && s.ids[i] < s.experts)
            atomicAdd(&here[s.ids[i]], 1);
    __syncthreads();
    for (int e = threadIdx.x; e < s.experts; e += THREADS)
        counts[(int64_t)blockIdx.x * s.experts + e] = here[e];
}

struct groups {
    int32_t *begin, *end, *expert;
    int64_t base, cap;
    int pad;
};

/* One block. counts [chunk][expert] become the places where the rows of an expert in a chunk begin. */
__global__ void __launch_bounds__(THREADS) lay_out(groups g, int32_t *counts, int64_t chunks, int experts)
{
    extern __shared__ int32_t total[]; /* rows of each expert, then where they begin */

    for (int e = threadIdx.x; e < experts; e += THREADS) {
        int32_t sum = 0;
        for (int64_t c = 0; c < chunks; c++)
            sum += counts[c * experts + e];
        total[e] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int64_t at = 0;
        for (int e = 0; e < experts; e++) {
            const int64_t rows = total[e], first = (at + g.pad - 1) / g.pad * g.pad;
            at = first + rows;
            g.expert[e] = e;
            g.begin[e] = (int32_t)(g.base + (first < g.cap ? first : g.cap));
            g.end[e] = (int32_t)(g.base + (at < g.cap ? at : g.cap));
            total[e] = (int32_t)first;
        }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < experts; e += THREADS) {
        int32_t at = total[e];
        for (int64_t c = 0; c < chunks; c++) {
            const int32_t rows = counts[c * experts + e];
            counts[c * experts + e] = at;
            at += rows;
        }
    }
}

struct places {
    int32_t *source, *slot, *to; /* to [row_cap, k]: expert row of an entry, or -1 */
    float *weight;
    const float *side;
    int64_t cap;
};

/* A warp a chunk */
__global__ void __launch_bounds__(32) place_chunk(places p, const int32_t *first, entries s)
{
    extern __shared__ int32_t next[]; /* [experts] */
    const int lane = threadIdx.x;
    const int64_t n = entries_of(s), begin = (int64_t)blockIdx.x * CHUNK, end = begin + CHUNK < n ? begin + CHUNK : n;

    for (int e = lane; e < s.experts; e += 32)
        next[e] = first[(int64_t)blockIdx.x * s.experts + e];
    __syncwarp();
    for (int64_t at = begin; at < end; at += 32) {
        const int64_t i = at + lane;
        const int32_t id = i < end ? s.ids[i] : -1;
        const int32_t e = id < s.experts ? id : -1;
        const unsigned same = __match_any_sync(0xffffffffu, e);
        const int32_t to = e >= 0 ? next[e] + __popc(same & ((1u << lane) - 1)) : -1;
        __syncwarp();
        if (e >= 0 && lane == __ffs(same) - 1)
            next[e] += __popc(same);
        __syncwarp();
        const bool fits = to >= 0 && to < p.cap;
        if (fits) {
            p.source[to] = (int32_t)(i / s.k);
            p.slot[to] = (int32_t)(i % s.k);
            p.weight[to] = p.side ? p.side[i] : 0.0f;
        }
        if (i < end)
            p.to[i] = fits ? to : -1;
    }
}

/* The places of each row, ascending, then -1: an insertion sort of k numbers a thread */
__global__ void __launch_bounds__(THREADS) sort_rows(int32_t *place, const int32_t *to, entries s)
{
    const int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (row * s.k >= entries_of(s))
        return;
    int32_t *out = place + row * s.k;
    int used = 0;
    for (int i = 0; i < s.k; i++) {
        const int32_t x = to[row * s.k + i];
        if (x < 0)
            continue;
        int at = used++;
        for (; at > 0 && out[at - 1] > x; at--)
            out[at] = out[at - 1];
        out[at] = x;
    }
    for (; used < s.k; used++)
        out[used] = -1;
}

} // namespace

extern "C" nf_status nf_cuda_order_build(nf_queue *q, const struct nf_order *o, const int32_t *ids, const float *side,
                                         const int32_t *count, int pad, void *scratch)
{
    const entries s = {ids, count, o->row_cap, o->k, o->experts};
    const int64_t chunks = nf_ceil_div(o->row_cap * o->k, CHUNK);
    const size_t shared = (size_t)o->experts * sizeof(int32_t);
    const cudaStream_t stream = nf_stream(q);
    nf_carving c = {(char *)scratch, nf_cuda_order_scratch(o)};
    NF_CARVE(&c, int32_t, counts, chunks * o->experts);
    NF_CARVE(&c, int32_t, to, o->row_cap * o->k);

    if (shared > 48 * 1024)
        return nf_cuda_fail(NF_EBUG, "order_build: %d local experts; the CUDA backend has room for 12288", o->experts);
    if (chunks)
        count_chunk<<<(unsigned)chunks, THREADS, shared, stream>>>(counts, s);
    lay_out<<<1, THREADS, shared, stream>>>({o->begin, o->end, o->expert, o->base, o->expert_cap, pad}, counts, chunks,
                                            o->experts);
    if (chunks) {
        place_chunk<<<(unsigned)chunks, 32, shared, stream>>>({o->source, o->slot, to, o->weight, side, o->expert_cap}, counts,
                                                              s);
        sort_rows<<<(unsigned)nf_ceil_div(o->row_cap, THREADS), THREADS, 0, stream>>>(o->place, to, s);
    }
    return nf_launched("order_build");
}
