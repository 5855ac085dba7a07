/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd.h: how the CPU cuts the scan. Each row is cut into chunks of Q tokens; what a chunk adds to the state, the passing of
 * states from chunk to chunk, and the outputs are three parallel phases. A task is one chunk of one group, whose heads share
 * B and C. Tokens x tokens tiles lie transposed, [j][i] with i >= j, so that the sums over earlier j run along vectors of i.
 *
 * Per head and token, [heads][T]: dt, and s = cumulative sum of a = -exp(a_log) dt from the start of the chunk, summed in fp64
 * and kept as hi + lo: s_i - s_j must be right where s is large and the difference is small.
 */
#ifndef NF_OPS_CPU_SSD_H
#define NF_OPS_CPU_SSD_H

#include "blas.h"
#include "cpu.h"
#include "lanes.h"
#include "scratch.h"
#include "vmath.h"

enum { SSD_BLOCK = 64 /* of triangular products */, SSD_STACK = 8 /* heads of one GEMM */ };

struct ssd_cut {
    int64_t T, S, Q, chunks; /* chunks of a row */
    int64_t P, N, ratio, stack, tasks;
};

struct ssd_job {
    const struct nf_ssd_arg *arg;
    struct ssd_cut cut;
    int32_t *start, *end; /* [T] of the token's segment, within its row */
    float *dt, *hi, *lo;  /* [heads, T] */
    float *states;        /* entering each chunk: [rows, chunks, heads, P, N] */
    nf_tensor x, b, c;    /* fp32 */
    float *lanes;
    int64_t lane; /* floats */
};

/* One chunk of one group. Token i of the chunk is token t0 + i of the batch and in0 + i of its row. */
struct ssd_chunk {
    int64_t row, chunk, group, t0, in0, n;
    int64_t carried; /* the first so many tokens continue the segment of the chunk before */
    int64_t leaving; /* from this one on, tokens belong to the segment at the end of the chunk */
    bool through;    /* one segment from the chunk before to the end */
};

struct ssd_cut nf_cpu_ssd_cut(const struct nf_ssd_arg *arg);
/* dt, hi, lo, start, end; the first bytes of scratch, in forward and backward alike. */
void nf_cpu_ssd_lay(struct ssd_job *j, struct nf_bump *b, const struct nf_ssd_arg *arg);
void nf_cpu_ssd_prepare(nf_queue *q, struct ssd_job *j, nf_in dt, nf_in dt_bias, nf_in a_log);
struct ssd_chunk nf_cpu_ssd_chunk(const struct ssd_job *j, int64_t task);
/* cb[j n + i] = B_j . C_i for i >= the start of j's block */
void nf_cpu_ssd_cb(const struct ssd_job *j, const struct ssd_chunk *k, float *cb);

static inline float *ssd_state(float *states, const struct ssd_job *j, int64_t row, int64_t chunk, int64_t head)
{
    return states + ((row * j->cut.chunks + chunk) * j->arg->heads + head) * j->cut.P * j->cut.N;
}
static inline const float *ssd_at(const nf_tensor *t, int64_t row, int64_t col)
{
    return (const float *)t->data + row * t->stride[0] + col;
}
static inline float *ssd_out(const nf_tensor *t, int64_t row, int64_t col)
{
    return (float *)t->data + row * t->stride[0] + col;
}

/* exp(s_i - s_j) for pairs in order; masked pairs cannot overflow. */
static inline float ssd_decay(const float *hi, const float *lo, int64_t i, float hij, float loj)
{
    float e = (hi[i] - hij) + (lo[i] - loj);
    return nf_vexp(e < 0.0f ? e : 0.0f);
}

#endif
