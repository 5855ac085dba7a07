/* SPDX-License-Identifier: Apache-2.0 */
/* lanes.c: tasks with lanes, bf16 operands widened and narrowed (lanes.h). */
#include "lanes.h"

#include "half.h"

#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

void nf_cpu_lanes(nf_queue *q, int64_t tasks, nf_lane_fn *fn, void *ctx)
{
#ifdef _OPENMP
    int64_t threads = nf_device_threads(nf_queue_device(q));

    if (threads > nf_lanes(tasks))
        threads = nf_lanes(tasks);
    if (threads > 1) {
#pragma omp parallel for num_threads((int)threads) schedule(dynamic, 1)
        for (int64_t i = 0; i < tasks; i++) {
            fn(ctx, i, omp_get_thread_num());
            if (omp_get_thread_num() == 0) /* MPI is called by the main thread alone */
                nf_queue_progress(q);
        }
        return;
    }
#endif
    for (int64_t i = 0; i < tasks; i++) {
        fn(ctx, i, 0);
        nf_queue_progress(q);
    }
}

void nf_widen_row(float *dst, const void *src, nf_dtype type, int64_t n)
{
    const uint16_t *bits = src;

    if (type == NF_F32) {
        memcpy(dst, src, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = nf_vfrom_bf16(bits[i]);
}

void nf_narrow_row(void *dst, nf_dtype type, const float *src, int64_t n)
{
    uint16_t *bits = dst;

    if (type == NF_F32) {
        memcpy(dst, src, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        bits[i] = nf_vto_bf16(src[i]);
}

nf_tensor nf_stage(struct nf_bump *b, nf_in t)
{
    if (t->dtype == NF_F32)
        return *t;
    return nf_matrix(nf_bump_floats(b, t->dim[0] * t->dim[1]), NF_F32, t->dim[0], t->dim[1], t->dim[1]);
}

struct staging {
    nf_in from;
    nf_out to;
};

static void widen_block(void *ctx, int64_t block, int64_t lane)
{
    const struct staging *s = ctx;

    (void)lane;
    for (int64_t i = block * NF_ROW_BLOCK; i < nf_block_end(block, s->to->dim[0]); i++)
        nf_widen_row(nf_row_out(s->to, i), nf_row(s->from, i), s->from->dtype, s->to->dim[1]);
}

static void narrow_block(void *ctx, int64_t block, int64_t lane)
{
    const struct staging *s = ctx;

    (void)lane;
    for (int64_t i = block * NF_ROW_BLOCK; i < nf_block_end(block, s->to->dim[0]); i++)
        nf_narrow_row(nf_row_out(s->to, i), s->to->dtype, nf_row(s->from, i), s->to->dim[1]);
}

void nf_stage_load(nf_queue *q, const nf_tensor *staged, nf_in t)
{
    if (t->dtype != NF_F32)
        nf_cpu_lanes(q, nf_row_blocks(t->dim[0]), widen_block, &(struct staging){t, staged});
}

void nf_stage_store(nf_queue *q, nf_out t, const nf_tensor *staged)
{
    if (t->dtype != NF_F32)
        nf_cpu_lanes(q, nf_row_blocks(t->dim[0]), narrow_block, &(struct staging){staged, t});
}
