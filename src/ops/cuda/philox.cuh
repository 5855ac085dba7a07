/* SPDX-License-Identifier: Apache-2.0 */
/* philox.cuh: the random numbers of rng.h on the device: the same numbers for the same meaning. src/base/rng.c is the
 * definition. */
#ifndef NEMAFIT_OPS_CUDA_PHILOX_CUH
#define NEMAFIT_OPS_CUDA_PHILOX_CUH

#include "kit.cuh"

__device__ __forceinline__ uint64_t nf_mixed_up(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

__device__ __forceinline__ uint64_t nf_device_rng_mix(uint64_t seed, uint64_t step, uint32_t purpose, uint32_t layer)
{
    const uint64_t golden = 0x9e3779b97f4a7c15ull;
    uint64_t x = nf_mixed_up(seed + golden);
    x = nf_mixed_up((x ^ step) + golden);
    return nf_mixed_up((x ^ ((uint64_t)purpose << 32 | layer)) + golden);
}

__device__ __forceinline__ uint4 nf_device_rng_block(uint64_t mixed, uint64_t row, uint64_t position)
{
    uint32_t c0 = (uint32_t)row, c1 = (uint32_t)(row >> 32), c2 = (uint32_t)position, c3 = (uint32_t)(position >> 32);
    uint32_t k0 = (uint32_t)mixed, k1 = (uint32_t)(mixed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return make_uint4(c0, c1, c2, c3);
}

#endif
