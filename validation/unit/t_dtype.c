/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bf16 and fp16: all 65536 patterns widened against their definition in double; narrowing against a reference that finds the
 * nearest of the two neighbouring patterns, ties to the even one, for every midpoint and its neighbours in fp32.
 */
#include "nemafit/base.h"
#include "nemafit/rng.h"
#include "validation/tap.h"

#include <math.h>
#include <string.h>

struct format {
    const char *name;
    int exponent_bits, fraction_bits;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
};

static const struct format formats[] = {
    {"bf16", 8, 7, nf_bf16_to_f32, nf_f32_to_bf16},
    {"fp16", 5, 10, nf_f16_to_f32, nf_f32_to_f16},
};

/* The value of a pattern by definition; patterns of infinity get what would come after the largest number. */
static double value(const struct format *f, uint16_t bits)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, exponent = (bits & 0x7fff) >> f->fraction_bits;
    double fraction = bits & ((1 << f->fraction_bits) - 1), one = 1 << f->fraction_bits;
    double v = exponent ? ldexp(1 + fraction / one, exponent - bias) : ldexp(fraction / one, 1 - bias);
    return bits & 0x8000 ? -v : v;
}

static uint16_t infinity_of(const struct format *f)
{
    return (uint16_t)(((1 << f->exponent_bits) - 1) << f->fraction_bits);
}

static bool is_nan(const struct format *f, uint16_t bits)
{
    return (bits & 0x7fff) > infinity_of(f);
}

/* Nearest pattern of x >= 0, ties to even, by bisection over the patterns; infinity counts as the next number. */
static uint16_t nearest(const struct format *f, double x)
{
    uint16_t low = 0, high = infinity_of(f);
    if (x >= value(f, high))
        return high;
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (value(f, middle) <= x)
            low = middle;
        else
            high = middle;
    }
    double below = x - value(f, low), above = value(f, high) - x;
    return below < above || (below == above && low % 2 == 0) ? low : high;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* x and -x, and whether they agree with the reference. */
static bool narrows(const struct format *f, float x)
{
    uint16_t want = isinf(x) ? infinity_of(f) : nearest(f, x);
    return f->narrow(x) == want && f->narrow(-x) == (want | 0x8000);
}

static void widening(const struct format *f)
{
    int wrong = 0, changed = 0, nans = 0;
    for (uint32_t b = 0; b < 65536; b++) {
        uint16_t bits = (uint16_t)b;
        float x = f->widen(bits);
        if (is_nan(f, bits)) {
            nans += !isnan(x) || !is_nan(f, f->narrow(x)) || (f->narrow(x) & 0x8000) != (bits & 0x8000);
            continue;
        }
        bool infinite = (bits & 0x7fff) == infinity_of(f);
        double want = infinite ? (bits & 0x8000 ? -INFINITY : INFINITY) : value(f, bits);
        wrong += x != want || !signbit(x) != !(bits >> 15);
        changed += f->narrow(x) != bits;
    }
    tap_ok(wrong == 0, "%s: every pattern has its value (%d wrong)", f->name, wrong);
    tap_ok(changed == 0, "%s: there and back changes none (%d changed)", f->name, changed);
    tap_ok(nans == 0, "%s: every NaN stays a NaN with its sign, both ways (%d do not)", f->name, nans);
}

static void narrowing(const struct format *f)
{
    int wrong = 0, random_wrong = 0;
    for (uint16_t b = 0; b < infinity_of(f); b++) {
        float middle = (float)((value(f, b) + value(f, (uint16_t)(b + 1))) / 2); /* exact: one bit more than the format has */
        wrong += !narrows(f, middle) || !narrows(f, float_of(bits_of(middle) + 1));
        if (middle > 0)
            wrong += !narrows(f, float_of(bits_of(middle) - 1));
    }
    tap_ok(wrong == 0, "%s: midpoints go to the even neighbour, the floats beside them to the nearest (%d wrong)", f->name,
           wrong);
    nf_rng_key key = {2, 0, NF_RNG_TEST, 0};
    for (uint64_t i = 0; i < 200000; i++) {
        float x = fabsf(float_of(nf_rng_u32(key, i, 0)));
        random_wrong += !isnan(x) && !narrows(f, x);
    }
    tap_ok(random_wrong == 0, "%s: 200000 random floats go to the nearest (%d wrong)", f->name, random_wrong);
    bool all = true;
    for (uint32_t k = 1; k < (1u << 23); k += (k < 8192 ? 1 : 4093))
        all &= is_nan(f, f->narrow(float_of(0x7f800000 | k))) && is_nan(f, f->narrow(float_of(0xff800000 | k)));
    tap_ok(all, "%s: a NaN of fp32 whose set bits all lie low is not rounded to infinity", f->name);
}

int main(void)
{
    tap_open();
    for (int i = 0; i < 2; i++) {
        widening(&formats[i]);
        narrowing(&formats[i]);
    }
    bool named = true;
    for (int t = 0; t < NF_DTYPE_COUNT; t++)
        named &= nf_dtype_size((nf_dtype)t) > 0 && strcmp(nf_dtype_name((nf_dtype)t), "unknown type") != 0;
    tap_ok(named && nf_dtype_size(NF_BF16) == 2 && nf_dtype_size(NF_F64) == 8 && nf_dtype_size(NF_U8) == 1, "sizes and names");
    tap_ok(nf_dtype_size(NF_DTYPE_COUNT) == 0 && nf_dtype_size((nf_dtype)-1) == 0, "what is no type has no size");
    return tap_done();
}
