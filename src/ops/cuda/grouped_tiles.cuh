/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_tiles.cuh: the list of row tiles of all groups, as each block works it out for itself from the device arrays:
 * first[g] is the number of a group's first tile. No list in memory, no launch before the product, no count on the host.
 */
#ifndef NF_OPS_CUDA_GROUPED_TILES_CUH
#define NF_OPS_CUDA_GROUPED_TILES_CUH

#include "grouped.h"

/* All threads of the block (a multiple of 32, at most 1024); first [count + 1] in shared memory. Ends with a barrier. */
static __device__ __forceinline__ void tiles_number(int *first, const struct nf_cuda_groups &groups, int tile_rows)
{
    __shared__ int sums[32];
    const int each = (groups.count + (int)blockDim.x - 1) / (int)blockDim.x;
    const int from = min((int)threadIdx.x * each, groups.count), to = min(from + each, groups.count);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int own = 0, before = 0;

    for (int g = from; g < to; g++) {
        const int tiles = (groups.end[g] - groups.begin[g] + tile_rows - 1) / tile_rows;
        first[g] = tiles;
        own += tiles;
    }
    int scan = own;
    for (int d = 1; d < 32; d *= 2) {
        const int left = __shfl_up_sync(0xFFFFFFFFu, scan, d);
        scan += lane >= d ? left : 0;
    }
    if (lane == 31)
        sums[warp] = scan;
    __syncthreads();
    for (int w = 0; w < warp; w++)
        before += sums[w];
    int at = before + scan - own;
    for (int g = from; g < to; g++) {
        const int tiles = first[g];
        first[g] = at;
        at += tiles;
    }
    if (threadIdx.x == blockDim.x - 1)
        first[groups.count] = before + scan;
    __syncthreads();
}

/* The last group whose first tile is not behind `tile`: it owns it, since empty groups have no tile of their own. */
static __device__ __forceinline__ int tiles_group(const int *first, int count, int tile)
{
    int lo = 0, hi = count - 1;

    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;
        if (first[mid] <= tile)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

struct row_tile {
    int row, end, expert; /* rows [row, end) of the tensors, at most a tile's */
};

static __device__ __forceinline__ struct row_tile tiles_rows(const int *first, const struct nf_cuda_groups &groups, int tile,
                                                             int tile_rows)
{
    const int g = tiles_group(first, groups.count, tile);
    const int row = groups.begin[g] - groups.base + (tile - first[g]) * tile_rows;

    return {row, min(row + tile_rows, groups.end[g] - groups.base), groups.expert[g]};
}

/* The groups of an expert in the order of the array: head[e], then next[g], -1 at the end. All threads; ends with a barrier. */
static __device__ __forceinline__ void chains_build(int *head, int *next, const struct nf_cuda_groups &groups, int experts)
{
    for (int e = threadIdx.x; e < experts; e += blockDim.x)
        head[e] = -1;
    __syncthreads();
    for (int g = threadIdx.x; g < groups.count; g += blockDim.x) {
        const int e = groups.expert[g];
        int after = g + 1, before = g - 1;
        if (e < 0 || e >= experts)
            continue;
        while (after < groups.count && groups.expert[after] != e)
            after++;
        while (before >= 0 && groups.expert[before] != e)
            before--;
        next[g] = after < groups.count ? after : -1;
        if (before < 0)
            head[e] = g;
    }
    __syncthreads();
}

#endif
