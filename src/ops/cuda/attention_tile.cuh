/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_tile.cuh: what the three attention kernels on tensor cores share: three warpgroups (one copies, two multiply 64
 * rows each), tiles of boxes 64 columns wide, and what a query sees.
 */
#ifndef NF_OPS_CUDA_ATTENTION_TILE_CUH
#define NF_OPS_CUDA_ATTENTION_TILE_CUH

#include "attention.h"
#include "hopper.cuh"

#include <math_constants.h>

enum { ATTN_THREADS = 384, TILE = 128, QUERIES = 64 };
#define NF_LOG2E 1.4426950408889634f
#define NF_LN2 0.6931471805599453f

/* 2^x on the special-function unit: 2 units in the last place; -inf gives 0. */
static __device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The D columns of one head, tokens [at, at + ROWS) of a row. */
template <int D, int ROWS>
static __device__ __forceinline__ void load_tile(uint32_t to, const CUtensorMap *map, uint32_t bar, int head, int at, int row)
{
#pragma unroll
    for (int b = 0; b < D / 64; b++)
        load_box(to + b * ROWS * NF_BOX_ROW, map, bar, head * D + b * 64, at, row);
}

/* d = a bT, both [., D] with rows along memory: a 64 rows of a tile of AR, b N = BR rows. */
template <int D, int AR, int BR> static __device__ __forceinline__ void product_rows(float (&d)[BR / 2], uint32_t a, uint32_t b)
{
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        const int box = k / 4, in = k % 4 * 32;
        wgmma<BR>::template ss<0, 0>(d, operand(a + box * AR * NF_BOX_ROW + in, 0), operand(b + box * BR * NF_BOX_ROW + in, 0),
                                     k);
    }
}

/* d [64, D] += a b: a [64, ROWS] from fragments, b the tile [ROWS, D] read across. */
template <int D, int ROWS>
static __device__ __forceinline__ void product_across(float (&d)[D / 2], const uint32_t (&a)[ROWS / 16][4], uint32_t b)
{
#pragma unroll
    for (int k = 0; k < ROWS / 16; k++)
        wgmma<D>::template rs<1>(d, a[k], operand(b + k * 16 * NF_BOX_ROW, ROWS * NF_BOX_ROW), 1);
}

/* Accumulators [64, N] as bf16 fragments of a left operand. */
template <int N> static __device__ __forceinline__ void to_fragments(uint32_t (&a)[N / 16][4], const float (&d)[N / 2])
{
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            a[k][r] = pack_bf16(d[8 * k + 2 * r], d[8 * k + 2 * r + 1]);
}

static __device__ __forceinline__ int first_key(const struct nf_cuda_attn &p, int row, int i)
{
    if (p.first)
        return i < p.len ? p.first[(int64_t)row * p.len + i] : i + 1;
    return p.window > 0 && i + 1 > p.window ? i + 1 - p.window : 0;
}

/* Columns of `row` from accumulators of this lane: x [64, D], row i of the pair, times `by`. All lanes. */
template <int D>
static __device__ __forceinline__ void store_row(const struct nf_cuda_view &m, int64_t row, int col, bool live,
                                                 const float (&x)[D / 2], int i, float by)
{
    __nv_bfloat16 *to = (__nv_bfloat16 *)m.data + row * m.ld + col;
#pragma unroll
    for (int g = 0; g < D / 32; g++) {
        uint32_t w[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            w[j] = pack_bf16(by * x[(4 * g + j) * 4 + 2 * i], by * x[(4 * g + j) * 4 + 2 * i + 1]);
        quad_transpose(w);
        __nv_bfloat16 *at = to + 32 * g + 8 * (threadIdx.x & 3);
        if (live && m.vec) {
            *(uint4 *)at = make_uint4(w[0], w[1], w[2], w[3]);
        } else if (live) {
#pragma unroll
            for (int e = 0; e < 8; e++)
                ((uint16_t *)at)[e] = (uint16_t)(w[e / 2] >> 16 * (e % 2));
        }
    }
}

#endif
