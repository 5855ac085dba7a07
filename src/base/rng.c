/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers as a function of what they are for. Philox4x32-10 (Salmon et al. 2011) is a keyed permutation of a 128-bit
 * counter: here row and position; the key is a mixture of the four fields of nf_rng_key. Changing anything in this file changes
 * every run: the tests hold published and own values.
 */
#include "nemafit/rng.h"

#include <math.h>

/* Bijective on 64 bits; finalizer of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mixed_up(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);

/* One field after the other, so that exchanging two of them does not give the same key. */
uint64_t nf_rng_mix(nf_rng_key key)
{
    uint64_t x = mixed_up(key.seed + golden);
    x = mixed_up((x ^ key.step) + golden);
    return mixed_up((x ^ ((uint64_t)key.purpose << 32 | key.layer)) + golden);
}

void nf_rng_block(uint64_t mixed, uint64_t row, uint64_t position, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)row, c1 = (uint32_t)(row >> 32), c2 = (uint32_t)position, c3 = (uint32_t)(position >> 32);
    uint32_t k0 = (uint32_t)mixed, k1 = (uint32_t)(mixed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53 * c0, p1 = (uint64_t)0xcd9e8d57 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t nf_rng_u32(nf_rng_key key, uint64_t row, uint64_t position)
{
    uint32_t out[4];
    nf_rng_block(nf_rng_mix(key), row, position, out);
    return out[0];
}

float nf_rng_uniform(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

/* In double, rounded once: the float then hardly depends on the last bit of a library's logarithm. The radius comes from
 * (0, 1], so the largest value is sqrt(2 ln 2^32) = 6.66. */
void nf_rng_normal(const uint32_t bits[4], float out[4])
{
    for (int i = 0; i < 4; i += 2) {
        double radius = sqrt(-2 * log(((double)bits[i] + 1) * 0x1p-32));
        double angle = 6.283185307179586476925 * ((double)bits[i + 1] * 0x1p-32);
        out[i] = (float)(radius * cos(angle));
        out[i + 1] = (float)(radius * sin(angle));
    }
}

/*
 * A balanced Feistel network permutes 0 .. 4^half - 1, the smallest such range that holds n; walking along its cycle from i
 * until an element below n is met permutes 0 .. n - 1. The range is less than 4 n, so the walk is short on average.
 */
uint64_t nf_rng_permute(nf_rng_key key, uint64_t i, uint64_t n)
{
    enum { ROUNDS = 8 };
    if (i >= n) /* not an element: the walk might never end */
        return i;
    int half = 1;
    while (half < 32 && (n - 1) >> (2 * half) != 0)
        half++;
    uint64_t mask = (UINT64_C(1) << half) - 1, mixed = nf_rng_mix(key);
    do {
        uint64_t left = i >> half, right = i & mask;
        for (int round = 0; round < ROUNDS; round++) {
            uint64_t next = left ^ (mixed_up(mixed + golden * ((uint64_t)round + 1) + mixed_up(right + golden)) >> 32 & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
