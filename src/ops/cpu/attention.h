/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.h: how the CPU cuts attention into tiles. A tile stacks the queries of several heads that read the same keys, so
 * that one GEMM serves them all: row h n + i of a tile is query i of the tile's head h. All borders follow from shapes and
 * segments.
 */
#ifndef NF_OPS_CPU_ATTENTION_H
#define NF_OPS_CPU_ATTENTION_H

#include "blas.h"
#include "cpu.h"
#include "lanes.h"
#include "scratch.h"
#include "vmath.h"

struct attention_cut {
    int64_t ratio;  /* query heads a kv head */
    int64_t stack;  /* of them, in one tile */
    int64_t parts;  /* ratio / stack: tasks of the backward that share a kv head */
    int64_t bq, bk; /* queries (of one head) and keys of a tile */
    int64_t rows;   /* stack * bq */
};

struct attention_cut nf_cpu_attention_cut(const struct nf_attention_arg *arg, bool backward);

struct attention_job {
    const struct nf_attention_arg *arg;
    struct attention_cut cut;
    int64_t tiles, tasks; /* tiles of queries in a row */
    int32_t *first;       /* [T] the first key that a query sees, within its row; padding sees none: its own place + 1 */
    nf_tensor q, k, v, o; /* fp32 */
    float *lse;
    float *lanes;
    int64_t lane; /* floats */
};

/* Query rows times scale, stacked: dst [heads n, d] from src columns [h0 d, (h0 + heads) d) of rows t0 .. t0 + n. */
void nf_cpu_attention_stack(float *dst, const nf_tensor *src, int64_t t0, int64_t n, int64_t h0, int64_t heads, int64_t d,
                            float scale);
void nf_cpu_attention_first(int32_t *first, const struct nf_attention_arg *arg);

/* Visible columns [*lo, *hi) of query i (within the row) in the key tile [j0, j0 + n). */
static inline void visible(const int32_t *first, int64_t i, int64_t j0, int64_t n, int64_t *lo, int64_t *hi)
{
    int64_t a = first[i] - j0, b = i + 1 - j0;
    *lo = a < 0 ? 0 : a;
    *hi = b < n ? b : n;
}

#endif
