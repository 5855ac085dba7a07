/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lt.h: the plans of cuBLASLt: one a shape of a product, kept for the process. lt.c makes and runs them, lt_tuning.c chooses
 * their algorithms by timing and hands the choices to the program, which keeps them with the run.
 */
#ifndef NEMAFIT_OPS_CUDA_LT_H
#define NEMAFIT_OPS_CUDA_LT_H

#include "gemm.h"
#include "nemafit/gpu.h"

#include <cublasLt.h>

/* Compared and written byte by byte: no padding inside. */
struct nf_lt_shape {
    int64_t m, n, k, lda, ldb, ldc, ldd;
    int64_t batch, stride_a, stride_b, stride_c, stride_d; /* batch 1 has strides of 0 */
    int32_t type, out, trans_a, trans_b, added, align[4];  /* align: bytes, of cuBLAS's A, B, C, D */
    int32_t zero;
};

struct nf_lt_plan {
    struct nf_lt_shape shape;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algo;
    bool none;   /* nothing is offered */
    bool chosen; /* by timing, here or in the run that this one goes on */
};

enum { NF_LT_PLANS = 1024, NF_LT_OFFERS = 8 };

/* What the plug-in keeps for a process: it has one GPU and one thread. */
struct nf_lt {
    cublasLtHandle_t handle;
    struct nf_lt_plan plan[NF_LT_PLANS];
    int plans, oldest; /* oldest: where room is looked for once all are taken */
};
extern struct nf_lt nf_lt;

nf_status nf_lt_failed(cublasStatus_t status, const char *op, const char *call);
/* What the heuristic offers for a plan, best first: at most NF_LT_OFFERS, 0 is no error. */
nf_status nf_lt_offers(const char *op, const struct nf_lt_plan *plan, cublasLtMatmulHeuristicResult_t *offer, int most,
                       int *count);
/* The plan of a shape, made when it is new. */
nf_status nf_lt_find(const char *op, const struct nf_lt_shape *shape, struct nf_lt_plan **plan);
cublasStatus_t nf_lt_run(const struct nf_lt_plan *plan, const cublasLtMatmulAlgo_t *algo, const void *a, const void *b,
                         const void *c, void *d, void *workspace, cudaStream_t stream);

#define NF_LT_TRY(op, call)                                                                                                    \
    do {                                                                                                                       \
        cublasStatus_t nf_lt_status = (call);                                                                                  \
        if (nf_lt_status != CUBLAS_STATUS_SUCCESS)                                                                             \
            return nf_lt_failed(nf_lt_status, op, #call);                                                                      \
    } while (0)

#endif
