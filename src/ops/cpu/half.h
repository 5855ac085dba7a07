/* SPDX-License-Identifier: Apache-2.0 */
/*
 * half.h: bf16 inside vector loops: the roundings of base (to nearest even, NaN stays NaN; split in weight and remainder),
 * inlined, and the stochastic one.
 */
#ifndef NEMAFIT_OPS_CPU_HALF_H
#define NEMAFIT_OPS_CPU_HALF_H

#include "vmath.h"

static inline float nf_vfrom_bf16(uint16_t b)
{
    return nf_vfloat((uint32_t)b << 16);
}

static inline uint16_t nf_vto_bf16(float x)
{
    uint32_t b = nf_vbits(x);
    uint32_t r = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    return (uint16_t)((b & 0x7fffffffu) > 0x7f800000u ? (b >> 16) | 0x40u : r);
}

/* Up or down with the chances that make the mean right: r16 is 16 random bits. */
static inline uint16_t nf_vto_bf16_random(float x, uint32_t r16)
{
    uint32_t b = nf_vbits(x);
    return (uint16_t)(((b & 0x7fffffffu) > 0x7f800000u ? b | 0x400000u : b + r16) >> 16);
}

/* As nf_split_f32 and nf_join_f32 of base: the low half, read with its sign, is the remainder of rounding half up. */
static inline uint16_t nf_vsplit(float x, int16_t *low)
{
    uint32_t b = nf_vbits(x);
    *low = (int16_t)(uint16_t)b;
    return (uint16_t)((b + 0x8000u) >> 16);
}

static inline float nf_vjoin(uint16_t weight, int16_t low)
{
    return nf_vfloat(((uint32_t)weight << 16) + (uint32_t)(int32_t)low);
}

#endif
