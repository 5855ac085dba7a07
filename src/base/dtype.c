/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element types: sizes, names, and the two 16-bit floating-point formats as bits. Conversions to fewer bits round to nearest,
 * ties to even; what is too large becomes infinite; a NaN stays one (quiet, upper payload bits kept). A split loses nothing: it
 * is a sum of integers.
 */
#include "nemafit/base.h"

#include <string.h>

static const struct {
    size_t size;
    const char *name;
} table[NF_DTYPE_COUNT] = {
    [NF_F32] = {4, "fp32"},  [NF_BF16] = {2, "bf16"}, [NF_F16] = {2, "fp16"},  [NF_I32] = {4, "int32"},
    [NF_I64] = {8, "int64"}, [NF_U8] = {1, "uint8"},  [NF_I16] = {2, "int16"}, [NF_F64] = {8, "fp64"},
};

size_t nf_dtype_size(nf_dtype t)
{
    return (int)t >= 0 && t < NF_DTYPE_COUNT ? table[t].size : 0;
}

const char *nf_dtype_name(nf_dtype t)
{
    return (int)t >= 0 && t < NF_DTYPE_COUNT ? table[t].name : "unknown type";
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float nf_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t nf_f32_to_bf16(float x)
{
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* rounding could carry a NaN into infinity */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void nf_split_f32(float x, uint16_t *weight, int16_t *low)
{
    uint32_t bits = bits_of(x);
    int32_t rest = (int32_t)(bits & 0xffff);
    *weight = (uint16_t)((bits + 0x8000) >> 16);
    *low = (int16_t)(rest < 0x8000 ? rest : rest - 0x10000);
}

float nf_join_f32(uint16_t weight, int16_t low)
{
    return float_of(((uint32_t)weight << 16) + (uint32_t)(int32_t)low);
}

float nf_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0)
        return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = (float)fraction * 0x1p-24f; /* subnormal: exact in fp32 */
    return sign ? -tiny : tiny;
}

uint16_t nf_f32_to_f16(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 1023));
    if (size >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (size >= 0x38800000) { /* normal in fp16: re-bias, then round; a carry runs into the exponent as it should */
        uint32_t rebiased = size - (112u << 23);
        return (uint16_t)(sign | (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13);
    }
    if (size < 0x33000000) /* below half of the smallest subnormal */
        return (uint16_t)sign;
    uint32_t fraction = (size & 0x7fffff) | 0x800000, drop = 126 - (size >> 23); /* 14 .. 24 */
    uint32_t kept = fraction >> drop, rest = fraction & ((1u << drop) - 1), half = 1u << (drop - 1);
    return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
}
