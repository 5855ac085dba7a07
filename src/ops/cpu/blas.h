/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blas.h: matrix products for the CPU ops. The BLAS itself always runs with one thread; threads are ours (OpenMP), over tiles
 * whose borders depend on shapes alone. So results have the same bits with any number of threads, and no two thread pools
 * fight for the cores.
 */
#ifndef NEMAFIT_OPS_CPU_BLAS_H
#define NEMAFIT_OPS_CPU_BLAS_H

#include "nemafit/base.h"
#include "nemafit/device.h"

nf_status nf_cpu_blas_attach(int threads);
const char *nf_cpu_describe(const nf_device *device, char out[160]);

/* c [m, n] = alpha op(a) op(b) + beta c, row-major, op(x) = xT where t; one thread, may be called from many. */
void nf_cpu_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                 int64_t ldb, float beta, float *c, int64_t ldc);
/* The same product cut into tiles that the threads of the queue's device share; pending work progresses between tiles. Not
 * from inside a tile. */
void nf_cpu_gemm_shared(nf_queue *q, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                        int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
