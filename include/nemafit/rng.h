/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h: counter-based random numbers. A number is a function of its meaning (seed, purpose, step, layer, row, position),
 * never of a rank, a thread or a call order, so every mesh draws the same ones.
 *
 * Source  Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": Philox4x32-10
 */
#ifndef NEMAFIT_RNG_H
#define NEMAFIT_RNG_H

#include "nemafit/base.h"

/* What a stream of numbers is for. Appended to, never renumbered: runs would change. */
enum nf_rng_purpose {
    NF_RNG_INIT = 1,    /* layer = logical parameter, row = element / 4 */
    NF_RNG_SHUFFLE = 2, /* step = epoch */
    NF_RNG_GATE = 3,    /* row = global row, position = token in row */
    NF_RNG_MOCK = 4,    /* row = dataset row */
    NF_RNG_SAMPLE = 5,  /* position = generated token */
    NF_RNG_ROUND = 6,   /* stochastic rounding: step = update t, layer = logical parameter; see nf_adamw (ops.h) */
    NF_RNG_TEST = 100
};

typedef struct nf_rng_key {
    uint64_t seed, step;
    uint32_t purpose, layer;
} nf_rng_key;

/* 64-bit Philox key made of the four fields; a CUDA kernel takes it by value. */
uint64_t nf_rng_mix(nf_rng_key key);
/* Four 32-bit numbers at counter (row, position). */
void nf_rng_block(uint64_t mixed, uint64_t row, uint64_t position, uint32_t out[4]);
uint32_t nf_rng_u32(nf_rng_key key, uint64_t row, uint64_t position);
float nf_rng_uniform(uint32_t bits);                      /* [0, 1), 24 bits */
void nf_rng_normal(const uint32_t bits[4], float out[4]); /* Box-Muller, two pairs */
/* Element i of a keyed permutation of 0..n-1 (a Feistel network with cycle walking): no table, any element alone. */
uint64_t nf_rng_permute(nf_rng_key key, uint64_t i, uint64_t n);

#endif
