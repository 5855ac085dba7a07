/* SPDX-License-Identifier: Apache-2.0 */
/* parts.c: parts of a sum over rows become a gradient (parts.h). */
#include "parts.h"

#include "half.h"

enum { STRIP = 4096 };

NF_CLONES static void add_strip(float *dst, const float *src, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] += src[i];
}

NF_CLONES static void write_f32(float *dst, const float *src, int64_t n, bool accumulate)
{
    if (accumulate) {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            dst[i] += src[i];
    } else {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[i];
    }
}

NF_CLONES static void write_bf16(uint16_t *dst, const float *src, int64_t n, bool accumulate)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] = nf_vto_bf16(accumulate ? nf_vfrom_bf16(dst[i]) + src[i] : src[i]);
}

void nf_grad_write(nf_grad g, int64_t at, const float *src, int64_t n)
{
    if (g.t.dtype == NF_F32)
        write_f32((float *)g.t.data + at, src, n, g.accumulate);
    else
        write_bf16((uint16_t *)g.t.data + at, src, n, g.accumulate);
}

struct strips {
    nf_grad g;
    float *parts;
    int64_t count, n;
};

static void strip(void *ctx, int64_t tile)
{
    const struct strips *s = ctx;
    int64_t at = tile * STRIP, n = s->n - at < STRIP ? s->n - at : STRIP;

    for (int64_t p = 1; p < s->count; p++)
        add_strip(s->parts + at, s->parts + p * s->n + at, n);
    nf_grad_write(s->g, at, s->parts + at, n);
}

void nf_parts_add(nf_queue *q, nf_grad g, float *parts, int64_t count, int64_t n)
{
    struct strips s = {g, parts, count, n};

    if (g.t.data)
        nf_cpu_tiles(q, (n + STRIP - 1) / STRIP, strip, &s);
}
