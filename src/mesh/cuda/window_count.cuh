/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_count.cuh: counting, the first phase of a plan's first kernel. Tokens are counted tile by tile; from the tiles'
 * numbers each token's place in its chunk's list follows (by destination, tokens ascending: the order of ../xcounts.c). This
 * rank's counts go to all ranks at once, while places are written; when all have come, every rank derives from the same matrix
 * where its rows go and what does not fit.
 */
#ifndef NEMAFIT_MESH_CUDA_WINDOW_COUNT_CUH
#define NEMAFIT_MESH_CUDA_WINDOW_COUNT_CUH

#include "window_sync.cuh"

enum { THREADS = NF_WINDOW_TILE, WARPS = THREADS / 32, RANKS = NF_WINDOW_RANKS };

/* Shared memory of a block. */
struct room {
    nf_window_control *control[RANKS];
    char *block[RANKS];
    uint64_t epoch, counts_epoch;
    int32_t table[4 * RANKS + 2];
    int32_t warp_rows[WARPS][RANKS], rows[RANKS], expert_rows[RANKS], total[RANKS], first[RANKS];
    int64_t sum;
    int32_t fails;
};

struct scene {
    nf_gpu_windows w;
    nf_gpu_trip t;
};

/* The tokens of a tile: [token0, token0 + count). */
struct tile {
    int chunk, number; /* within its chunk */
    int64_t token0;
    int count;
};

NF_DEVICE int tiles_a_chunk(const nf_gpu_trip &t)
{
    return (int)nf_window_tiles(t.chunk_tokens, 1);
}

NF_DEVICE tile tile_of(const nf_gpu_trip &t, int index)
{
    const int each = tiles_a_chunk(t), chunk = index / each, number = index - chunk * each;
    const int64_t token0 = chunk * t.chunk_tokens + (int64_t)number * NF_WINDOW_TILE;
    int64_t end = (chunk + 1) * t.chunk_tokens;
    end = end < t.tokens ? end : t.tokens;
    const int64_t left = end - token0;
    return {chunk, number, token0, (int)(left < 0 ? 0 : left < NF_WINDOW_TILE ? left : NF_WINDOW_TILE)};
}

/* The ranks that a token goes to, as bits; expert rows for each are added to `expert_rows`. */
NF_DEVICE uint32_t ranks_of(const scene &s, int64_t token, int32_t *expert_rows, bool *bad)
{
    uint32_t mask = 0;
    for (int j = 0; j < s.t.k; j++) {
        const int32_t id = s.t.ids[token * s.t.k + j];
        if (id == -1)
            continue;
        if (id < 0 || id >= s.t.local * s.w.ranks) {
            *bad = true;
            continue;
        }
        mask |= 1u << (id / s.t.local);
        if (expert_rows)
            atomicAdd(&expert_rows[id / s.t.local], 1);
    }
    return mask;
}

/* Numbers of a tile, rows then expert rows for each rank: [tiles][2][ranks] */
NF_DEVICE int32_t *numbers_of(const scene &s, int index)
{
    return (int32_t *)(s.w.block[s.w.rank] + s.w.tiles) + (int64_t)index * 2 * s.w.ranks;
}

/* The tokens of a warp for each rank, into warp_rows. Returns this thread's ranks. */
NF_DEVICE uint32_t count_warps(const scene &s, room &m, const tile &x, int32_t *expert_rows, bool *bad)
{
    const bool mine = (int)threadIdx.x < x.count;
    const uint32_t mask = mine ? ranks_of(s, x.token0 + threadIdx.x, expert_rows, bad) : 0;
    for (int d = 0; d < s.w.ranks; d++) {
        const uint32_t there = __ballot_sync(0xffffffffu, mask >> d & 1);
        if (threadIdx.x % 32 == 0)
            m.warp_rows[threadIdx.x / 32][d] = __popc(there);
    }
    return mask;
}

static __device__ void count_tiles(const scene &s, room &m)
{
    const int tiles = tiles_a_chunk(s.t) * s.t.chunks, d = threadIdx.x;
    bool bad = false;

    for (int i = blockIdx.x; i < tiles; i += gridDim.x) {
        const tile x = tile_of(s.t, i);
        if (d < s.w.ranks)
            m.expert_rows[d] = 0;
        __syncthreads();
        count_warps(s, m, x, m.expert_rows, &bad);
        __syncthreads();
        if (d < s.w.ranks) {
            int32_t sum = 0;
            for (int w = 0; w < WARPS; w++)
                sum += m.warp_rows[w][d];
            numbers_of(s, i)[d] = sum;
            numbers_of(s, i)[s.w.ranks + d] = m.expert_rows[d];
        }
        __syncthreads();
    }
    if (bad)
        atomicOr(s.w.overflow, 2);
}

/* Places of the tokens of this block's tiles; -1 behind them. */
static __device__ void place_tiles(const scene &s, room &m)
{
    const int each = tiles_a_chunk(s.t), tiles = each * s.t.chunks, d = threadIdx.x, lane = threadIdx.x % 32;

    for (int i = blockIdx.x; i < tiles; i += gridDim.x) {
        const tile x = tile_of(s.t, i);
        bool bad = false;
        const uint32_t mask = count_warps(s, m, x, nullptr, &bad);
        if (d < s.w.ranks) {
            int32_t before = 0, total = 0;
            for (int t = 0; t < each; t++) {
                const int32_t n = __ldcg(&numbers_of(s, x.chunk * each + t)[d]);
                before += t < x.number ? n : 0;
                total += n;
            }
            m.total[d] = total;
            m.first[d] = before;
        }
        __syncthreads();
        if (d < s.w.ranks) {
            int32_t at = m.first[d];
            for (int lower = 0; lower < d; lower++)
                at += m.total[lower];
            for (int w = 0; w < WARPS; w++) {
                const int32_t n = m.warp_rows[w][d];
                m.warp_rows[w][d] = at;
                at += n;
            }
        }
        __syncthreads();
        int used = 0;
        int32_t *where = s.t.where + (x.token0 + threadIdx.x) * s.t.slots;
        for (int to = 0; to < s.w.ranks; to++) {
            const uint32_t there = __ballot_sync(0xffffffffu, mask >> to & 1);
            if (mask >> to & 1)
                where[used++] = m.warp_rows[threadIdx.x / 32][to] + __popc(there & ((1u << lane) - 1));
        }
        for (; used < s.t.slots && (int)threadIdx.x < x.count; used++)
            where[used] = -1;
        __syncthreads();
    }
}

/* Row `source` of the matrix in the block of rank r: [chunks][ranks][2] */
NF_DEVICE int32_t *matrix_row(const scene &s, const room &m, int r, int source)
{
    return (int32_t *)(m.block[r] + s.w.counts[m.counts_epoch & 1]) + (int64_t)source * s.t.chunks * s.w.ranks * 2;
}

/* Block 0: this rank's sums to everybody. */
static __device__ void send_counts(const scene &s, const room &m)
{
    const int each = tiles_a_chunk(s.t), pairs = s.t.chunks * s.w.ranks * 2;

    for (int i = threadIdx.x; i < pairs; i += THREADS) {
        const int chunk = i / (2 * s.w.ranks), d = i / 2 % s.w.ranks, kind = i % 2;
        int32_t sum = 0;
        for (int t = 0; t < each; t++)
            sum += __ldcg(&numbers_of(s, chunk * each + t)[kind * s.w.ranks + d]);
        for (int r = 0; r < s.w.ranks; r++)
            matrix_row(s, m, r, s.w.rank)[i] = sum;
    }
    __syncthreads();
    if ((int)threadIdx.x < s.w.ranks) {
        __threadfence_system();
        store_release(&m.control[threadIdx.x]->counted[s.w.rank], m.counts_epoch);
    }
}

/* Number (source, chunk, d, kind) of the matrix. */
NF_DEVICE int64_t counted(const scene &s, const room &m, int source, int chunk, int d, int kind)
{
    return __ldcg(&matrix_row(s, m, s.w.rank, source)[(chunk * s.w.ranks + d) * 2 + kind]);
}

/* Block 0, when all counts are here: the plan's table, and whether everything fits. */
static __device__ void derive(const scene &s, const room &m)
{
    const int P = s.w.ranks, me = s.w.rank;

    for (int i = threadIdx.x; i < s.t.chunks * (P + 1); i += THREADS) {
        const int c = i / (P + 1), x = i % (P + 1); /* x == P: the ends */
        int32_t *table = s.t.table + c * nf_window_table(P);
        int64_t list = 0, begin = 0, at = 0, home = 0, rows = 0, expert_rows = 0;
        for (int r = 0; r < x; r++) {
            list += counted(s, m, me, c, r, 0);
            begin += counted(s, m, r, c, me, 0);
        }
        table[nf_window_list(P, x)] = (int32_t)list;
        table[nf_window_begin(P, x)] = (int32_t)(begin < s.t.row_cap ? begin : s.t.row_cap);
        if (x == P)
            continue;
        for (int r = 0; r < me; r++) {
            at += counted(s, m, r, c, x, 0);
            home += counted(s, m, x, c, r, 0);
        }
        for (int r = 0; r < P; r++) {
            rows += counted(s, m, r, c, x, 0);
            expert_rows += counted(s, m, r, c, x, 1);
        }
        table[nf_window_at(P, x)] = (int32_t)at;
        table[nf_window_home(P, x)] = (int32_t)home;
        if (rows > s.t.row_cap || expert_rows > s.t.expert_cap)
            atomicOr(s.w.overflow, 1);
    }
}

/* All blocks. */
static __device__ void count_all(const scene &s, room &m, const waiter &w)
{
    nf_window_control *own = m.control[s.w.rank];

    count_tiles(s, m);
    grid_barrier(&own->turns);
    if (blockIdx.x == 0)
        send_counts(s, m);
    place_tiles(s, m);
    if (blockIdx.x == 0) {
        if ((int)threadIdx.x < s.w.ranks)
            wait_for(&own->counted[threadIdx.x], m.counts_epoch, w, NF_WAIT_COUNTS, threadIdx.x);
        __syncthreads();
        derive(s, m);
    }
    grid_barrier(&own->turns);
}

#endif
