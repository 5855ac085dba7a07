/* SPDX-License-Identifier: Apache-2.0 */
/* lanes.c: bf16 operands widened and narrowed (lanes.h). */
#include "lanes.h"

#include <string.h>

void nf_widen_row(float *dst, const void *src, nf_dtype type, int64_t n)
{
    const uint16_t *bits = src;

    if (type == NF_F32) {
        memcpy(dst, src, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)bits[i] << 16;
        memcpy(&dst[i], &u, sizeof u);
    }
}

void nf_narrow_row(void *dst, nf_dtype type, const float *src, int64_t n)
{
    uint16_t *bits = dst;

    if (type == NF_F32) {
        memcpy(dst, src, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        bits[i] = nf_f32_to_bf16(src[i]);
}

nf_tensor nf_stage(struct nf_bump *b, nf_in t)
{
    if (t->dtype == NF_F32)
        return *t;
    return nf_matrix(nf_bump_floats(b, t->dim[0] * t->dim[1]), NF_F32, t->dim[0], t->dim[1], t->dim[1]);
}

void nf_stage_load(nf_queue *q, const nf_tensor *staged, nf_in t)
{
    if (t->dtype == NF_F32)
        return;
#pragma omp parallel for schedule(static) num_threads(nf_device_threads(nf_queue_device(q)))
    for (int64_t i = 0; i < t->dim[0]; i++)
        nf_widen_row(nf_row_out(staged, i), nf_row(t, i), t->dtype, t->dim[1]);
}

void nf_stage_store(nf_queue *q, nf_out t, const nf_tensor *staged)
{
    if (t->dtype == NF_F32)
        return;
#pragma omp parallel for schedule(static) num_threads(nf_device_threads(nf_queue_device(q)))
    for (int64_t i = 0; i < t->dim[0]; i++)
        nf_narrow_row(nf_row_out(t, i), t->dtype, nf_row(staged, i), t->dim[1]);
}
