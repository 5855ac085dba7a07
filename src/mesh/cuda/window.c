/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.c: memory of a rank in the hands of others. CUDA exports whole allocations; a window's offset within its own travels
 * with the handle. An allocation opened twice is counted by the driver, and lies at the same address.
 */
#include "comm.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <string.h>

struct handle {
    cudaIpcMemHandle_t allocation;
    size_t offset;
};

_Static_assert(sizeof(struct handle) == NF_CUDA_WINDOW_HANDLE_BYTES, "bytes of a handle");

static nf_status failed(cudaError_t e, const char *call)
{
    cudaGetLastError(); /* what is not sticky ends here */
    return nf_cuda_fail(NF_EDEVICE, "peer windows: CUDA: %s: %s", call, cudaGetErrorString(e));
}

#define TRY(call)                                                                                                              \
    do {                                                                                                                       \
        cudaError_t cuda_error = (call);                                                                                       \
        if (cuda_error != cudaSuccess)                                                                                         \
            return failed(cuda_error, #call);                                                                                  \
    } while (0)

/* Where the allocation begins that holds this address. The driver's function: the plug-in does not link with the driver. */
static nf_status allocation_of(const void *memory, void **base)
{
    typedef CUresult range_fn(CUdeviceptr * base, size_t * bytes, CUdeviceptr address);
    enum cudaDriverEntryPointQueryResult found;
    void *range = NULL;
    CUdeviceptr begin = 0;
    size_t bytes;

    TRY(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &range, 12000, cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess || !range)
        return nf_cuda_fail(NF_EDEVICE, "peer windows: the driver has no cuMemGetAddressRange");
    CUresult r = ((range_fn *)range)(&begin, &bytes, (CUdeviceptr)memory);
    if (r != CUDA_SUCCESS)
        return nf_cuda_fail(NF_EDEVICE, "peer windows: cuMemGetAddressRange: CUDA error %d", (int)r);
    *base = (void *)begin;
    return NF_OK;
}

nf_status nf_cuda_window_export(void *device, void *memory, void *handle)
{
    struct handle h = {0};
    void *base = NULL;

    (void)device;
    nf_status s = allocation_of(memory, &base);
    if (s != NF_OK)
        return s;
    TRY(cudaIpcGetMemHandle(&h.allocation, base));
    h.offset = (size_t)((char *)memory - (char *)base);
    memcpy(handle, &h, sizeof h);
    return NF_OK;
}

/* Of another GPU too, whether or not this process may name it: the driver sees to the access. */
nf_status nf_cuda_window_open(void *device, const void *handle, void **memory)
{
    struct handle h;
    void *base;
    int error = nf_cuda_window_load();

    (void)device;
    memcpy(&h, handle, sizeof h);
    if (error != 0)
        return failed((cudaError_t)error, "loading the kernels");
    TRY(cudaIpcOpenMemHandle(&base, h.allocation, cudaIpcMemLazyEnablePeerAccess));
    *memory = (char *)base + h.offset;
    return NF_OK;
}

void nf_cuda_window_close(void *device, void *memory)
{
    void *base = NULL;

    (void)device;
    if (allocation_of(memory, &base) != NF_OK || cudaIpcCloseMemHandle(base) != cudaSuccess)
        cudaGetLastError();
}
