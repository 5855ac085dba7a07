/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strips.cuh: accumulators to and from matrices of bf16 in memory, 32 columns of a row at a time: four neighbouring lanes turn
 * their fragments into one 16-byte access each, without shared memory.
 */
#ifndef NEMAFIT_OPS_CUDA_STRIPS_CUH
#define NEMAFIT_OPS_CUDA_STRIPS_CUH

#include "grouped.h"
#include "hopper.cuh"

/* 8 values of this lane's row: columns col + 8 j + 2 q + {0, 1}, q = lane % 4. All lanes of the warp call together. */
struct strip {
    float x[8];
};
static __device__ __forceinline__ void store_strip(const struct nf_cuda_matrix &m, int row, int col, int end, bool live,
                                                   const strip &s)
{
    uint32_t w[4];
#pragma unroll
    for (int j = 0; j < 4; j++)
        w[j] = pack_bf16(s.x[2 * j], s.x[2 * j + 1]);
    quad_transpose(w);
    const int at = col + 8 * (threadIdx.x & 3);
    __nv_bfloat16 *to = (__nv_bfloat16 *)m.data + (int64_t)row * m.ld + at;
    if (!live)
        return;
    if (m.vec && at + 8 <= end) {
        *(uint4 *)to = make_uint4(w[0], w[1], w[2], w[3]);
        return;
    }
#pragma unroll
    for (int e = 0; e < 8; e++)
        if (at + e < end)
            ((uint16_t *)to)[e] = (uint16_t)(w[e / 2] >> 16 * (e % 2));
}
/* The same of memory: fetched, and turned once they are needed. Zeros where not live and behind `end`. */
struct words {
    uint32_t w[4];
};
static __device__ __forceinline__ words load_words(const struct nf_cuda_matrix &m, int row, int col, int end, bool live)
{
    const int at = col + 8 * (threadIdx.x & 3);
    const __nv_bfloat16 *from = (const __nv_bfloat16 *)m.data + (int64_t)row * m.ld + at;
    words x = {{0, 0, 0, 0}};

    if (live && m.vec && at + 8 <= end) {
        const uint4 v = *(const uint4 *)from;
        x.w[0] = v.x, x.w[1] = v.y, x.w[2] = v.z, x.w[3] = v.w;
    } else if (live) {
#pragma unroll
        for (int e = 0; e < 8; e++)
            if (at + e < end)
                x.w[e / 2] |= (uint32_t)((const uint16_t *)from)[e] << 16 * (e % 2);
    }
    return x;
}
static __device__ __forceinline__ strip strip_from(words x)
{
    strip s;
    quad_transpose(x.w);
#pragma unroll
    for (int j = 0; j < 4; j++)
        s.x[2 * j] = low_bf16(x.w[j]), s.x[2 * j + 1] = high_bf16(x.w[j]);
    return s;
}

/* The part of the accumulators that is row 8 i of this lane in columns 32 g to 32 g + 31. */
template <int N> static __device__ __forceinline__ strip strip_of(const float (&d)[N], int g, int i)
{
    strip s;
#pragma unroll
    for (int e = 0; e < 8; e++)
        s.x[e] = d[(4 * g + e / 2) * 4 + 2 * i + e % 2];
    return s;
}

#endif
