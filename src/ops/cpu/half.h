/* SPDX-License-Identifier: Apache-2.0 */
/*
 * half.h: bf16 inside vector loops. The same roundings as nf_f32_to_bf16 (to nearest even, NaN stays NaN), inlined.
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

#endif
