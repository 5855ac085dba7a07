/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes.h: tasks over threads, and what they work in. A task's result never depends on the thread that runs it. Scratch is
 * sized without knowing the threads, so at most NF_LANES tasks run at a time, each thread in its own lane. bf16 operands are
 * widened to fp32 at the start of an op and narrowed at its end ("staged").
 */
#ifndef NEMAFIT_OPS_CPU_LANES_H
#define NEMAFIT_OPS_CPU_LANES_H

#include "../call.h"

enum { NF_LANES = 32 };

static inline int64_t nf_lanes(int64_t tasks)
{
    return tasks < NF_LANES ? tasks : NF_LANES;
}

/* fn(ctx, task, lane) for all tasks, in any order; pending work progresses between them. Not nested. */
typedef void nf_lane_fn(void *ctx, int64_t task, int64_t lane);
void nf_cpu_lanes(nf_queue *q, int64_t tasks, nf_lane_fn *fn, void *ctx);

/* Loops over rows that need no lane run over blocks of them. */
enum { NF_ROW_BLOCK = 32 };
static inline int64_t nf_row_blocks(int64_t rows)
{
    return (rows + NF_ROW_BLOCK - 1) / NF_ROW_BLOCK;
}
static inline int64_t nf_block_end(int64_t block, int64_t rows)
{
    return (block + 1) * NF_ROW_BLOCK < rows ? (block + 1) * NF_ROW_BLOCK : rows;
}

/* Cuts scratch into parts; with base NULL it only measures, so that size and layout are one function. */
struct nf_bump {
    char *base;
    size_t at;
};
static inline void *nf_bump_get(struct nf_bump *b, int64_t count, size_t size)
{
    void *p = b->base ? b->base + b->at : NULL;

    b->at += nf_call_part((size_t)count * size);
    return p;
}
static inline float *nf_bump_floats(struct nf_bump *b, int64_t count)
{
    return nf_bump_get(b, count, sizeof(float));
}

/* The matrix itself if it is fp32, else a dense fp32 matrix of scratch. */
nf_tensor nf_stage(struct nf_bump *b, nf_in t);
/* Fill what nf_stage gave from t, or write it back to t; nothing to do if they are one. */
void nf_stage_load(nf_queue *q, const nf_tensor *staged, nf_in t);
void nf_stage_store(nf_queue *q, nf_out t, const nf_tensor *staged);

/* One row of n elements, any of the two types. */
void nf_widen_row(float *dst, const void *src, nf_dtype type, int64_t n);
void nf_narrow_row(void *dst, nf_dtype type, const float *src, int64_t n);

static inline const void *nf_row(nf_in t, int64_t row)
{
    return (const char *)t->data + (size_t)(row * t->stride[0]) * nf_dtype_size(t->dtype);
}
static inline void *nf_row_out(nf_out t, int64_t row)
{
    return (char *)t->data + (size_t)(row * t->stride[0]) * nf_dtype_size(t->dtype);
}

#endif
