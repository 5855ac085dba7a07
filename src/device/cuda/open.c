/* SPDX-License-Identifier: Apache-2.0 */
/* open.c: the plug-in's only visible function, its tables, and how its errors are told. */
#include "cuda.h"

#include <stdarg.h>
#include <stdio.h>

const struct nf_host *nf_cuda_host;

/* Of the folders ops and mesh, whose headers are not ours to include; each stands with its size. */
extern const void *const nf_cuda_ops_table, *const nf_cuda_comm_table;
extern const struct nf_gpu_tuning nf_cuda_tuning_table;
extern const size_t nf_cuda_ops_bytes, nf_cuda_comm_bytes;

nf_status nf_cuda_fail(nf_status status, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return nf_cuda_host->fail(status, text);
}

nf_status nf_cuda_failed(cudaError_t error, const char *call)
{
    cudaGetLastError();                                                /* what is not sticky ends here */
    if (error != cudaErrorMemoryAllocation && cudaFree(NULL) == error) /* work given before failed, and all that follows does */
        return nf_cuda_fail(
            NF_EDEVICE,
            "the GPU failed: %s (%s), found by %s; it does nothing more for this process"
            "\n  Hint: the system's log may say more (dmesg: Xid); the same command goes on from the last snapshot",
            cudaGetErrorString(error), cudaGetErrorName(error), call);
    return nf_cuda_fail(error == cudaErrorMemoryAllocation ? NF_ENOMEM : NF_EDEVICE, "CUDA: %s: %s (%s)", call,
                        cudaGetErrorString(error), cudaGetErrorName(error));
}

__attribute__((visibility("default"))) nf_gpu_open_fn nf_gpu_open;

nf_status nf_gpu_open(const struct nf_host *host, int abi, struct nf_gpu *gpu)
{
    gpu->abi = NF_GPU_ABI;
    if (abi != NF_GPU_ABI || host->abi != NF_GPU_ABI || host->bytes != sizeof *host)
        return NF_OK; /* the program sees the number and tells */
    nf_cuda_host = host;
    gpu->device = &nf_cuda_device_table;
    gpu->ops = nf_cuda_ops_table;
    gpu->ops_bytes = nf_cuda_ops_bytes;
    gpu->tuning = &nf_cuda_tuning_table;
    gpu->comm = nf_cuda_comm_table;
    gpu->comm_bytes = nf_cuda_comm_bytes;
    return NF_OK;
}
