/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.h: matrix products of the plug-in, row-major as everywhere: d [m, n] = op(a) op(b) + c. lt.c gives them to cuBLASLt;
 * what it has no algorithm for goes to a plain kernel.
 */
#ifndef NEMAFIT_OPS_CUDA_GEMM_H
#define NEMAFIT_OPS_CUDA_GEMM_H

#include "sizes_gemm.h"

/* One product on operands of types that cuBLASLt takes: a and b alike, d fp32 or of their type. */
struct nf_gemm {
    int64_t m, n, k;
    const void *a, *b, *c; /* a [m, k], or [k, m] with trans_a; b [k, n], or [n, k] with trans_b; c NULL: nothing is added */
    void *d;               /* may be c */
    int64_t lda, ldb, ldc, ldd;
    nf_dtype type, out; /* of a and b; of c and d */
    bool trans_a, trans_b;
    int64_t batch, stride_a, stride_b, stride_c, stride_d; /* so many products, elements apart; 0: one */
    /* 0, or sizes that the plan is for: rows of a (of a sum over rows: its terms) that vary from call to call, rounded up. So
     * few plans serve all counts, and the same count always has the same one. */
    int64_t plan_m, plan_k;
};

/* One product or a batch, by what takes it. workspace: NF_CUDA_GEMM_WORKSPACE bytes */
nf_status nf_cuda_gemm(nf_queue *q, const char *op, const struct nf_gemm *g, void *workspace);

/*
 * nf_cuda_product: d = op(a) op(b), plus c (NULL: nothing; may be d). Any mixture of fp32 and bf16, of any strides.
 * Scratch  nf_cuda_product_scratch(a, b, type of d, m, n), taken from the carving and given back
 */
nf_status nf_cuda_product(nf_queue *q, const char *op, nf_out d, nf_in c, nf_in a, bool trans_a, nf_in b, bool trans_b,
                          struct nf_carving scratch);

/* lt.c. workspace: NF_CUDA_GEMM_WORKSPACE bytes. *done false: cuBLASLt has no algorithm for this, nothing was launched. */
nf_status nf_cuda_lt(void *stream, const char *op, const struct nf_gemm *g, void *workspace, bool *done);
/* Makes the plan of a product that will come, so that it is timed with the others. *made: it is new. */
nf_status nf_cuda_lt_expect(const char *op, const struct nf_gemm *g, bool *made);
/* product.cu: the plain kernel; no batch. */
nf_status nf_cuda_plain_gemm(nf_queue *q, const char *op, const struct nf_gemm *g);

#endif
