/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mats.h: a product whose operands may be bf16 or have weights on their rows. Such an operand is widened to fp32 a panel of
 * NF_PANEL terms at a time, into a buffer that stays in the cache; others are read where they lie.
 */
#ifndef NEMAFIT_OPS_CPU_MATS_H
#define NEMAFIT_OPS_CPU_MATS_H

#include "nemafit/tensor.h"

enum { NF_PANEL = 256 };

struct nf_mat {
    const void *at;
    nf_dtype type;
    int64_t ld;
    bool t;             /* the operand is the transpose of what is stored */
    const float *scale; /* of stored rows, or NULL */
};

static inline bool nf_mat_packed(const struct nf_mat *a)
{
    return a->type != NF_F32 || a->scale;
}

/* The operand from row i and column k on. */
static inline struct nf_mat nf_mat_from(struct nf_mat a, int64_t i, int64_t k)
{
    int64_t row = a.t ? k : i, col = a.t ? i : k;

    a.at = (const char *)a.at + (size_t)(row * a.ld + col) * nf_dtype_size(a.type);
    a.scale = a.scale ? a.scale + row : NULL;
    return a;
}

/* Floats of the buffer for products of at most [m, n]. */
static inline int64_t nf_mats_buffer(int64_t m, int64_t n, bool pack_a, bool pack_b)
{
    return (pack_a ? m * NF_PANEL : 0) + (pack_b ? n * NF_PANEL : 0);
}

/* c [m, n] = a [m, k] b [k, n] + beta c, on the calling thread. */
void nf_cpu_gemm_mats(int64_t m, int64_t n, int64_t k, struct nf_mat a, struct nf_mat b, float beta, float *c, int64_t ldc,
                      float *buffer);

#endif
