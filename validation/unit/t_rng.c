/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers: the published values of Philox4x32-10 (kat_vectors of Random123 1.14), values of our own that must never
 * change (every run would), distributions, and permutations. All keys are fixed, so no bound here can fail by chance.
 */
#include "nemafit/rng.h"
#include "validation/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool block_is(uint64_t key, uint64_t row, uint64_t position, const uint32_t want[4])
{
    uint32_t got[4];
    nf_rng_block(key, row, position, got);
    return memcmp(got, want, sizeof got) == 0;
}

static void known_answers(void)
{
    static const uint32_t zeros[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    static const uint32_t pi[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    tap_ok(block_is(0, 0, 0, zeros), "Philox of zeros");
    tap_ok(block_is(UINT64_MAX, UINT64_MAX, UINT64_MAX, ones), "Philox of ones");
    tap_ok(block_is(UINT64_C(0x299f31d0a4093822), UINT64_C(0x85a308d3243f6a88), UINT64_C(0x0370734413198a2e), pi),
           "Philox of the digits of pi");
}

static void keys(void)
{
    nf_rng_key base = {7, 7, 7, 7}, other[4] = {base, base, base, base};
    other[0].seed = 8;
    other[1].step = 8;
    other[2].purpose = 8;
    other[3].layer = 8;
    bool differ = true;
    for (int i = 0; i < 4; i++) {
        differ &= nf_rng_mix(base) != nf_rng_mix(other[i]);
        for (int j = 0; j < i; j++)
            differ &= nf_rng_mix(other[i]) != nf_rng_mix(other[j]);
    }
    tap_ok(differ, "each field of a key counts, each in its way");
    uint32_t block[4];
    nf_rng_block(nf_rng_mix(base), 3, 5, block);
    tap_ok(nf_rng_u32(base, 3, 5) == block[0] && nf_rng_u32(base, 5, 3) != block[0], "u32 is the first of a block");
}

static void uniform(void)
{
    enum { N = 100000, BINS = 20 };
    nf_rng_key key = {1, 2, NF_RNG_TEST, 0};
    int bin[BINS] = {0};
    for (int i = 0; i < N; i++)
        bin[(int)(nf_rng_uniform(nf_rng_u32(key, (uint64_t)i, 0)) * BINS)]++;
    double chi = 0;
    for (int i = 0; i < BINS; i++)
        chi += (bin[i] - N / BINS) * (double)(bin[i] - N / BINS) / (N / BINS);
    tap_ok(chi < 43.8, "uniform: chi-square %.1f of 19 degrees, below the 0.1 %% point 43.8", chi);
    tap_ok(nf_rng_uniform(0) == 0 && nf_rng_uniform(UINT32_MAX) == 1 - 0x1p-24f, "uniform: 0 and the largest, below 1");
}

static void normal(void)
{
    enum { N = 50000 };
    nf_rng_key key = {3, 0, NF_RNG_TEST, 1};
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, cross = 0;
    uint64_t mixed = nf_rng_mix(key);
    for (int i = 0; i < N; i++) {
        uint32_t bits[4];
        float x[4];
        nf_rng_block(mixed, (uint64_t)i, 0, bits);
        nf_rng_normal(bits, x);
        cross += (double)x[0] * x[1];
        for (int k = 0; k < 4; k++) {
            double v = x[k];
            m1 += v;
            m2 += v * v;
            m3 += v * v * v;
            m4 += v * v * v * v;
        }
    }
    m1 /= 4 * N, m2 /= 4 * N, m3 /= 4 * N, m4 /= 4 * N, cross /= N;
    double s = 1 / sqrt(4.0 * N); /* 4 standard deviations of each mean; variances of x^k: 1, 2, 15, 96 */
    tap_ok(fabs(m1) < 4 * s && fabs(m2 - 1) < 4 * sqrt(2) * s && fabs(m3) < 4 * sqrt(15) * s && fabs(m4 - 3) < 4 * sqrt(96) * s,
           "normal: moments %.4f %.4f %.4f %.4f", m1, m2, m3, m4);
    tap_ok(fabs(cross) < 4 / sqrt(N), "normal: the two of a pair are not correlated (%.4f)", cross);
    uint32_t extreme[4] = {0, 0, UINT32_MAX, UINT32_MAX};
    float x[4];
    nf_rng_normal(extreme, x);
    tap_ok(fabsf(x[0] - 6.6604f) < 1e-3f && x[1] == 0 && isfinite(x[2]) && isfinite(x[3]), "normal: finite at the ends");
}

/* Every element of 0..n-1 met once. */
static bool is_permutation(nf_rng_key key, uint64_t n)
{
    unsigned char *seen = calloc(n, 1);
    bool good = seen != NULL;
    for (uint64_t i = 0; good && i < n; i++) {
        uint64_t p = nf_rng_permute(key, i, n);
        good = p < n && !seen[p];
        if (good)
            seen[p] = 1;
    }
    free(seen);
    return good;
}

static void permutations(void)
{
    nf_rng_key key = {5, 0, NF_RNG_SHUFFLE, 0};
    bool small = true, large = true;
    for (uint64_t n = 1; n <= 300; n++)
        small &= is_permutation(key, n);
    tap_ok(small, "permutation of 0..n-1 for each n up to 300");
    static const uint64_t size[] = {1023, 1024, 1025, 4096, 4097, 65535, 65536, 65537, 100003, 1 << 20};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        large &= is_permutation(key, size[i]);
    tap_ok(large, "and for larger n around powers of two and four");

    bool inside = true;
    int upper = 0; /* of a thousand, 500 lie in the upper half, with standard deviation 16 */
    uint64_t huge = UINT64_MAX, some = UINT64_C(1) << 62;
    for (uint64_t i = 0; i < 1000; i++) {
        inside &= nf_rng_permute(key, i, huge) < huge && nf_rng_permute(key, some - 1 - i, some) < some;
        inside &= nf_rng_permute(key, huge - 1 - i, huge) < huge;
    }
    for (uint64_t i = 0; i < 1000; i++)
        upper += nf_rng_permute(key, i, huge) > huge / 2;
    tap_ok(inside && upper > 420 && upper < 580, "n up to 2^64 - 1: inside, and over all of it (%d in the upper half)", upper);
    tap_ok(nf_rng_permute(key, 0, 1) == 0 && nf_rng_permute(key, 9, 5) == 9 && nf_rng_permute(key, 0, 0) == 0,
           "what is no element stays and ends");

    /* where does element 0 (and the last) go over many epochs? */
    enum { N = 10, EPOCHS = 20000 };
    int first[N] = {0}, last[N] = {0};
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        key.step = epoch;
        first[nf_rng_permute(key, 0, N)]++;
        last[nf_rng_permute(key, N - 1, N)]++;
    }
    double chi = 0;
    for (int i = 0; i < N; i++)
        chi += pow(first[i] - EPOCHS / N, 2) / (EPOCHS / N) + pow(last[i] - EPOCHS / N, 2) / (EPOCHS / N);
    tap_ok(chi < 42.3, "an element goes everywhere alike: chi-square %.1f of 18 degrees, below the 0.1 %% point 42.3", chi);

    /* neighbours must not stay neighbours: of n - 1 pairs, two in expectation */
    key.step = 0;
    int close = 0;
    for (uint64_t i = 0; i + 1 < 100000; i++) {
        int64_t d = (int64_t)nf_rng_permute(key, i + 1, 100000) - (int64_t)nf_rng_permute(key, i, 100000);
        close += d == 1 || d == -1;
    }
    tap_ok(close <= 10, "neighbours do not stay together (%d of 100000)", close);
}

/* Ours: seen once, kept for ever. */
static void frozen(void)
{
    nf_rng_key key = {1234, 5, NF_RNG_INIT, 6};
    tap_ok(nf_rng_mix(key) == UINT64_C(0xaf8a0af2df3c95bd), "the mixture of a key (%llx)", (unsigned long long)nf_rng_mix(key));
    tap_ok(nf_rng_u32(key, 7, 8) == 0x754bf646, "a number (%x)", nf_rng_u32(key, 7, 8));
    tap_ok(nf_rng_permute(key, 11, 1000) == 44 && nf_rng_permute(key, 12, 1000) == 43,
           "two elements of a permutation (%llu %llu)", (unsigned long long)nf_rng_permute(key, 11, 1000),
           (unsigned long long)nf_rng_permute(key, 12, 1000));
}

int main(void)
{
    tap_open();
    known_answers();
    keys();
    uniform();
    normal();
    permutations();
    frozen();
    return tap_done();
}
