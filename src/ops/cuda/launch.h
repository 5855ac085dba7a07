/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h: what launchers in plain C share: the stream of a queue, and how a launch that failed is told. */
#ifndef NF_OPS_CUDA_LAUNCH_H
#define NF_OPS_CUDA_LAUNCH_H

#include "nemafit/gpu.h"

#include <cuda_runtime_api.h>

static inline cudaStream_t nf_cuda_stream_of(nf_queue *q)
{
    return *(cudaStream_t *)(void *)nf_cuda_host->queue(q); /* its first member: gpu.h */
}

static inline nf_status nf_cuda_launched(const char *op, cudaError_t e)
{
    return e == cudaSuccess ? NF_OK
                            : nf_cuda_fail(e == cudaErrorMemoryAllocation ? NF_ENOMEM : NF_EDEVICE, "%s: CUDA: %s (%s)", op,
                                           cudaGetErrorString(e), cudaGetErrorName(e));
}

#endif
