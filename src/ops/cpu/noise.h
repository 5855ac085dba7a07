/* SPDX-License-Identifier: Apache-2.0 */
/*
 * noise.h: the random numbers of many consecutive counters as one vector loop. The same numbers as nf_rng_block (base), which
 * is their definition: Philox4x32-10; validation/ops/t_state.c holds them together.
 */
#ifndef NEMAFIT_OPS_CPU_NOISE_H
#define NEMAFIT_OPS_CPU_NOISE_H

#include "nemafit/rng.h"
#include "vmath.h"

/* out[4 i ... 4 i + 3] = block (row + i, position) */
NF_CLONES static void nf_noise_words(uint32_t *restrict out, uint64_t mixed, uint64_t row, uint64_t position, int64_t blocks)
{
    const uint32_t key0 = (uint32_t)mixed, key1 = (uint32_t)(mixed >> 32);
    const uint32_t at2 = (uint32_t)position, at3 = (uint32_t)(position >> 32);

#define ROUND(i)                                                                                                               \
    do {                                                                                                                       \
        uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;                                             \
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ (key0 + (i)*0x9e3779b9u);                                                             \
        c1 = (uint32_t)p1;                                                                                                     \
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ (key1 + (i)*0xbb67ae85u);                                                             \
        c3 = (uint32_t)p0;                                                                                                     \
    } while (0)
    NF_SIMD
    for (int64_t i = 0; i < blocks; i++) {
        const uint64_t r = row + (uint64_t)i;
        uint32_t c0 = (uint32_t)r, c1 = (uint32_t)(r >> 32), c2 = at2, c3 = at3;
        ROUND(0u);
        ROUND(1u);
        ROUND(2u);
        ROUND(3u);
        ROUND(4u);
        ROUND(5u);
        ROUND(6u);
        ROUND(7u);
        ROUND(8u);
        ROUND(9u);
        out[4 * i] = c0;
        out[4 * i + 1] = c1;
        out[4 * i + 2] = c2;
        out[4 * i + 3] = c3;
    }
#undef ROUND
}

/* Each word as two halves, the low one first. */
static inline void nf_noise_halves(uint16_t *restrict half, const uint32_t *restrict word, int64_t words)
{
    for (int64_t i = 0; i < words; i++) {
        half[2 * i] = (uint16_t)word[i];
        half[2 * i + 1] = (uint16_t)(word[i] >> 16);
    }
}

#endif
