/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements from one floating type to another: exact when widening, to nearest even when narrowing. What comes out is looked at
 * for infinities and NaN, so that a value that only narrowing makes infinite is found too.
 */
#include "private.h"

#include <string.h>

static bool odd_32(const uint32_t *x, int64_t n)
{
    uint32_t any = 0;
    for (int64_t i = 0; i < n; i++)
        any |= (uint32_t)((x[i] & 0x7f800000u) == 0x7f800000u);
    return any != 0;
}

static bool odd_16(const uint16_t *x, int64_t n, uint16_t mask)
{
    unsigned any = 0;
    for (int64_t i = 0; i < n; i++)
        any |= (unsigned)((x[i] & mask) == mask);
    return any != 0;
}

static void look(const void *x, nf_dtype t, int64_t n, int64_t from, struct nf_st_odd *odd)
{
    const uint16_t mask = t == NF_BF16 ? 0x7f80 : 0x7c00;
    if (t == NF_F32 ? !odd_32(x, n) : !odd_16(x, n, mask))
        return;
    for (int64_t i = 0; i < n; i++) {
        const bool bad = t == NF_F32 ? odd_32((const uint32_t *)x + i, 1) : odd_16((const uint16_t *)x + i, 1, mask);
        if (bad && odd->count++ == 0)
            odd->first = from + i;
    }
}

static float widen(const void *src, nf_dtype type, int64_t i)
{
    return type == NF_F32    ? ((const float *)src)[i]
           : type == NF_BF16 ? nf_bf16_to_f32(((const uint16_t *)src)[i])
                             : nf_f16_to_f32(((const uint16_t *)src)[i]);
}

void nf_st_convert(void *dst, nf_dtype to, const void *src, nf_dtype type, int64_t n, int64_t from, struct nf_st_odd *odd)
{
    if (to == type) {
        memcpy(dst, src, (size_t)n * nf_dtype_size(to));
    } else if (to == NF_F32 && type == NF_BF16) { /* the usual load */
        const uint16_t *in = src;
        uint32_t *out = dst;
        for (int64_t i = 0; i < n; i++)
            out[i] = (uint32_t)in[i] << 16;
    } else if (to == NF_F32) {
        float *out = dst;
        for (int64_t i = 0; i < n; i++)
            out[i] = widen(src, type, i);
    } else {
        uint16_t *out = dst;
        for (int64_t i = 0; i < n; i++)
            out[i] = to == NF_BF16 ? nf_f32_to_bf16(widen(src, type, i)) : nf_f32_to_f16(widen(src, type, i));
    }
    look(dst, to, n, from, odd);
}
