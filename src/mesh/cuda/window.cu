/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.cu: a slice out, and a chunk's partial rows home, each in one kernel of few blocks: it tells the others that its own
 * window may be written into, counts (the first of a plan), waits until theirs may, pushes its rows into them, tells them, and
 * waits for theirs. A warp moves a row: read once, stored once a destination.
 *
 * Rows lie where the counts say: by sender, and by token within. So the bits of a result do not depend on who is faster.
 */
#include "window_count.cuh"

extern "C" {
#include "comm.h"
}

namespace
{

NF_DEVICE nf_window_control *control_of(const scene &s, int r)
{
    return (nf_window_control *)(s.w.block[r] + s.w.control);
}

/* The kernel's beginning: the epoch of its slot, and this rank's window is ready. */
__device__ waiter begin(const scene &s, room &m, int way)
{
    const int r = threadIdx.x, slot = s.t.slot;
    if (r < s.w.ranks) {
        m.block[r] = s.w.block[r];
        m.control[r] = control_of(s, r);
    }
    if (r == 0) {
        m.epoch = control_of(s, s.w.rank)->epoch[way][slot] + 1;
        m.counts_epoch = control_of(s, s.w.rank)->counts_epoch + 1;
    }
    __syncthreads();
    if (blockIdx.x == 0 && r < s.w.ranks)
        store_release(&m.control[r]->ready[way][slot][s.w.rank], m.epoch);
    return {s.w.told, s.t.number, s.t.limit, way};
}

/* The chunk's numbers into shared memory, and all windows may be written into. */
__device__ void ready(const scene &s, room &m, const waiter &w)
{
    const int n = nf_window_table(s.w.ranks), r = threadIdx.x;
    for (int i = threadIdx.x; i < n; i += THREADS)
        m.table[i] = __ldcg(&s.t.table[s.t.chunk * n + i]);
    if (r < s.w.ranks)
        wait_for(&m.control[s.w.rank]->ready[w.way][s.t.slot][r], m.epoch, w, NF_WAIT_READY, r);
    __syncthreads();
}

/* This block has written all; block 0 waits for all blocks of all ranks, its own too. */
__device__ void finish(const scene &s, room &m, const waiter &w, int64_t sent)
{
    nf_window_control *own = m.control[s.w.rank];
    const int r = threadIdx.x, slot = s.t.slot;

    __syncthreads();
    if (r < s.w.ranks) {
        __threadfence_system();
        store_release(&m.control[r]->arrived[w.way][slot][s.w.rank][blockIdx.x], m.epoch);
    }
    if (blockIdx.x != 0)
        return;
    for (int i = r; i < s.w.ranks * NF_WINDOW_BLOCKS; i += THREADS) {
        const int from = i / NF_WINDOW_BLOCKS;
        wait_for(&own->arrived[w.way][slot][from][i % NF_WINDOW_BLOCKS], m.epoch, w, NF_WAIT_ARRIVED, from);
    }
    __syncthreads();
    if (r == 0) { /* all blocks have read these */
        own->epoch[w.way][slot] = m.epoch;
        if (s.t.count)
            own->counts_epoch = m.counts_epoch;
        own->sent[w.way] += sent;
        store_told(&s.w.told->sent[w.way], own->sent[w.way]);
    }
}

/* A row to all ranks of `to`; lane d has the address at rank d. */
template <typename V> __device__ __forceinline__ void push(const V *row, int words, uint32_t to, char *address)
{
    const int lane = threadIdx.x % 32, AT_ONCE = 4;
    V x[AT_ONCE];
    for (int at = lane; at - lane < words; at += 32 * AT_ONCE) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            if (at + 32 * i < words)
                x[i] = row[at + 32 * i];
        for (uint32_t left = to; left; left &= left - 1) {
            V *out = (V *)__shfl_sync(0xffffffffu, (unsigned long long)address, __ffs(left) - 1);
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++)
                if (at + 32 * i < words)
                    out[at + 32 * i] = x[i];
        }
    }
}

/* A token, the chunk's `number`th: row, side and local expert ids to each rank that has one of its experts and room for it. */
template <typename V> __device__ void send_token(const scene &s, room &m, int64_t token, int64_t number)
{
    const int P = s.w.ranks, k = s.t.k, lane = threadIdx.x % 32, slot = s.t.slot;
    const int32_t *ids = s.t.ids + token * k;
    uint32_t mask = 0;
    for (int j = lane; j < k; j += 32)
        if (ids[j] >= 0 && ids[j] < s.t.local * P)
            mask |= 1u << (ids[j] / s.t.local);
    mask = __reduce_or_sync(0xffffffffu, mask);

    int64_t at = -1;
    if (mask >> lane & 1) {
        const int32_t place = s.t.where[token * s.t.slots + __popc(mask & ((1u << lane) - 1))];
        at = (int64_t)m.table[nf_window_at(P, lane)] + place - m.table[nf_window_list(P, lane)];
    }
    const uint32_t to = __ballot_sync(0xffffffffu, at >= 0 && at < s.t.row_cap);
    char *row = to >> lane & 1 ? m.block[lane] + s.w.rows[slot] + (size_t)at * s.t.row : nullptr;
    push((const V *)((const char *)s.t.rows + (size_t)number * s.t.stride), (int)(s.t.row / sizeof(V)), to, row);
    for (uint32_t left = to; left; left &= left - 1) {
        const int d = __ffs(left) - 1;
        const int64_t there = __shfl_sync(0xffffffffu, at, d);
        int32_t *local = (int32_t *)(m.block[d] + s.w.ids[slot]) + there * k;
        float *side = (float *)(m.block[d] + s.w.side[slot]) + there * k;
        for (int j = lane; j < k; j += 32) {
            const int32_t id = ids[j] - d * s.t.local;
            local[j] = ids[j] >= 0 && id >= 0 && id < s.t.local ? id : -1;
            if (s.t.side)
                side[j] = s.t.side[number * k + j];
        }
    }
}

/* Rows of this rank that others got, as every thread finds them. */
__device__ int64_t rows_out(const scene &s, const room &m)
{
    const int P = s.w.ranks;
    int64_t sum = 0;
    for (int d = 0; d < P; d++) {
        const int64_t n = m.table[nf_window_list(P, d + 1)] - m.table[nf_window_list(P, d)];
        const int64_t room_left = s.t.row_cap - m.table[nf_window_at(P, d)];
        if (d != s.w.rank && room_left > 0)
            sum += n < room_left ? n : room_left;
    }
    return sum;
}

template <typename V> __global__ void __launch_bounds__(THREADS) window_out(const __grid_constant__ scene s)
{
    __shared__ room m;
    const waiter w = begin(s, m, NF_WAY_OUT);
    const int64_t first = s.t.chunk * s.t.chunk_tokens, after = first + s.t.chunk_tokens;
    const int64_t end = after < s.t.tokens ? after : s.t.tokens;
    const int warps = gridDim.x * WARPS, warp = blockIdx.x * WARPS + threadIdx.x / 32;

    if (s.t.count)
        count_all(s, m, w);
    ready(s, m, w);
    for (int64_t token = first + warp; token < end; token += warps)
        send_token<V>(s, m, token, token - first);

    const int64_t received = m.table[nf_window_begin(s.w.ranks, s.w.ranks)];
    float *own_side = (float *)(m.block[s.w.rank] + s.w.side[s.t.slot]);
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; !s.t.side && i < received * s.t.k; i += gridDim.x * THREADS)
        own_side[i] = 0; /* nobody sends any */
    if (blockIdx.x == 0 && threadIdx.x == 0)
        *(int32_t *)(m.block[s.w.rank] + s.w.count[s.t.slot]) = (int32_t)received;
    const size_t each = s.t.row + (size_t)s.t.k * (s.t.side ? 8 : 4);
    const size_t counts = s.t.count ? (size_t)(s.w.ranks - 1) * (size_t)s.t.chunks * (size_t)s.w.ranks * 8 : 0;
    finish(s, m, w, (int64_t)(counts + (size_t)rows_out(s, m) * each));
}

/* The sender of a received row: the last whose rows begin at it or before. */
NF_DEVICE int sender_of(const scene &s, const room &m, int64_t row)
{
    const int lane = threadIdx.x % 32, P = s.w.ranks;
    const bool before = lane < P && m.table[nf_window_begin(P, lane)] <= row;
    return 31 - __clz(__ballot_sync(0xffffffffu, before));
}

template <typename V> __global__ void __launch_bounds__(THREADS) window_back(const __grid_constant__ scene s)
{
    __shared__ room m;
    const waiter w = begin(s, m, NF_WAY_BACK);
    const int P = s.w.ranks, k = s.t.k, lane = threadIdx.x % 32;
    const int warps = gridDim.x * WARPS, warp = blockIdx.x * WARPS + threadIdx.x / 32;

    ready(s, m, w);
    const int64_t received = m.table[nf_window_begin(P, P)];
    for (int64_t row = warp; row < received; row += warps) {
        const int to = sender_of(s, m, row);
        const int64_t place = m.table[nf_window_home(P, to)] + row - m.table[nf_window_begin(P, to)];
        char *home = m.block[to] + s.w.home_rows[s.t.slot] + (size_t)place * s.t.row;
        float *side = (float *)(m.block[to] + s.w.home_side[s.t.slot]) + place * k;
        push((const V *)((const char *)s.t.rows + (size_t)row * s.t.row), (int)(s.t.row / sizeof(V)), 1u, home);
        for (int j = lane; s.t.side && j < k; j += 32)
            side[j] = s.t.side[row * k + j];
    }
    const int64_t own = m.table[nf_window_begin(P, s.w.rank + 1)] - m.table[nf_window_begin(P, s.w.rank)];
    finish(s, m, w, (received - own) * (int64_t)(s.t.row + (s.t.side ? (size_t)k * 4 : 0)));
}

template <typename V> nf_status launch(cudaStream_t stream, const scene &s, bool out)
{
    if (out)
        window_out<V><<<NF_WINDOW_BLOCKS, THREADS, 0, stream>>>(s);
    else
        window_back<V><<<NF_WINDOW_BLOCKS, THREADS, 0, stream>>>(s);
    const cudaError_t e = cudaGetLastError();
    return e == cudaSuccess ? NF_OK : nf_cuda_fail(NF_EDEVICE, "token exchange: CUDA: %s", cudaGetErrorString(e));
}

nf_status run(nf_gpu_queue *queue, const nf_gpu_windows *w, const nf_gpu_trip *t, bool out)
{
    const scene s = {*w, *t};
    const cudaStream_t stream = *(cudaStream_t *)queue; /* its first member: gpu.h */
    const size_t odd = (size_t)t->rows | t->row | (out ? t->stride : 0);

    if (w->ranks > RANKS)
        return nf_cuda_fail(NF_EBUG, "token exchange: windows of %d ranks", w->ranks);
    return odd % 16 == 0  ? launch<uint4>(stream, s, out)
           : odd % 4 == 0 ? launch<uint32_t>(stream, s, out)
                          : launch<uint16_t>(stream, s, out);
}

template <typename V> cudaError_t load()
{
    cudaFuncAttributes a;
    const cudaError_t e = cudaFuncGetAttributes(&a, window_out<V>);
    return e == cudaSuccess ? cudaFuncGetAttributes(&a, window_back<V>) : e;
}

} // namespace

extern "C" nf_status nf_cuda_window_out(nf_gpu_queue *queue, const nf_gpu_windows *w, const nf_gpu_trip *t)
{
    return run(queue, w, t, true);
}

extern "C" nf_status nf_cuda_window_back(nf_gpu_queue *queue, const nf_gpu_windows *w, const nf_gpu_trip *t)
{
    return run(queue, w, t, false);
}

/* Modules are loaded now: later a load could have to wait for a kernel that waits for others. */
extern "C" int nf_cuda_window_load(void)
{
    const cudaError_t a = load<uint4>(), b = load<uint32_t>(), c = load<uint16_t>();
    return (int)(a != cudaSuccess ? a : b != cudaSuccess ? b : c);
}
