/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c: finding a GPU that this build has code for, and its memory. The primary context is used: cuBLAS, cuDNN and NCCL
 * live in it too. Kernels are loaded when first used, by the driver's default; the first step of a run meets each.
 */
#include "cuda.h"

#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAJOR = 9, MINOR = 0 }; /* sm_90a: what configure compiles for */

static nf_status count(int *devices)
{
    cudaError_t e = cudaGetDeviceCount(devices);
    int driver = 0;

    if (e == cudaSuccess)
        return NF_OK;
    cudaGetLastError();
    *devices = 0;
    cudaDriverGetVersion(&driver);
    if (e == cudaErrorNoDevice || (e == cudaErrorInsufficientDriver && driver == 0))
        return NF_OK; /* no driver: no GPU */
    if (e == cudaErrorInsufficientDriver)
        return nf_cuda_fail(NF_EDEVICE,
                            "the NVIDIA driver is too old: it serves CUDA %d.%d, this build needs %d.%d"
                            "\n  Hint: install a newer driver, or build with an older CUDA toolkit",
                            driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return nf_cuda_failed(e, "cudaGetDeviceCount");
}

static void about(struct nf_gpu_info *info, const struct cudaDeviceProp *p)
{
    int driver = 0, runtime = 0;
    size_t lt = cublasLtGetVersion();

    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    snprintf(info->name, sizeof info->name, "%.*s", (int)sizeof info->name - 1, p->name);
    snprintf(info->about, sizeof info->about, "driver for CUDA %d.%d, runtime %d.%d, cuBLASLt %zu.%zu.%zu", driver / 1000,
             driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, lt / 10000, lt / 100 % 100, lt % 100);
    snprintf(info->bus, sizeof info->bus, "%04x:%02x:%02x", (unsigned)p->pciDomainID, (unsigned)p->pciBusID,
             (unsigned)p->pciDeviceID);
    info->processors = p->multiProcessorCount;
}

static nf_status open_device(int ordinal, void **device, struct nf_gpu_info *info)
{
    struct cudaDeviceProp p;
    struct nf_cuda_device *d;

    NF_CUDA_TRY(cudaGetDeviceProperties(&p, ordinal));
    if (p.major != MAJOR || p.minor != MINOR)
        return nf_cuda_fail(NF_EDEVICE,
                            "GPU %d is a %s of architecture sm_%d%d; this build has code for sm_%d%d alone (H100, H200)",
                            ordinal, p.name, p.major, p.minor, MAJOR, MINOR);
    NF_CUDA_TRY(cudaSetDevice(ordinal));
    NF_CUDA_TRY(cudaFree(NULL)); /* makes the context: a GPU in exclusive use, or one that is lost, shows here */
    *info = (struct nf_gpu_info){0};
    about(info, &p);
    NF_CUDA_TRY(cudaMemGetInfo(&info->free_bytes, &info->bytes));
    d = calloc(1, sizeof *d);
    if (!d)
        return nf_cuda_fail(NF_ENOMEM, "no memory for a device");
    d->ordinal = ordinal;
    *device = d;
    return NF_OK;
}

static void close_device(void *device)
{
    free(device); /* the context goes with the process: others may hold it */
}

static nf_status no_room(cudaError_t e, size_t bytes, const char *what, const char *kind)
{
    size_t free_bytes = 0, all = 0;

    if (e != cudaErrorMemoryAllocation)
        return nf_cuda_failed(e, what);
    cudaGetLastError();
    cudaMemGetInfo(&free_bytes, &all);
    return nf_cuda_fail(NF_ENOMEM, "%s: cannot take %.2f GiB of %s; %.2f of the GPU's %.2f GiB are free", what,
                        (double)bytes / (1 << 30), kind, (double)free_bytes / (1 << 30), (double)all / (1 << 30));
}

static nf_status alloc(void *device, size_t bytes, const char *what, void **block)
{
    void *p = NULL;
    cudaError_t e = cudaMalloc(&p, bytes ? bytes : 1);

    (void)device;
    if (e != cudaSuccess)
        return no_room(e, bytes, what, "GPU memory");
    NF_CUDA_TRY(cudaMemset(p, 0, bytes));
    NF_CUDA_TRY(cudaDeviceSynchronize()); /* streams of ours do not wait for the default one */
    *block = p;
    return NF_OK;
}

static nf_status alloc_pinned(void *device, size_t bytes, const char *what, void **block)
{
    void *p = NULL;
    cudaError_t e = cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocDefault);

    (void)device;
    if (e != cudaSuccess)
        return no_room(e, bytes, what, "pinned host memory");
    memset(p, 0, bytes);
    *block = p;
    return NF_OK;
}

static void release(void *device, void *block)
{
    struct cudaPointerAttributes a;

    (void)device;
    if (cudaPointerGetAttributes(&a, block) != cudaSuccess)
        cudaGetLastError();
    else if (a.type == cudaMemoryTypeHost)
        cudaFreeHost(block);
    else
        cudaFree(block);
}

static nf_status memory(void *device, size_t *free_bytes, size_t *bytes)
{
    (void)device;
    NF_CUDA_TRY(cudaMemGetInfo(free_bytes, bytes));
    return NF_OK;
}

const struct nf_gpu_device nf_cuda_device_table = {.count = count,
                                                   .open = open_device,
                                                   .close = close_device,
                                                   .alloc = alloc,
                                                   .alloc_pinned = alloc_pinned,
                                                   .release = release,
                                                   .memory = memory,
                                                   .queue_new = nf_cuda_queue_new,
                                                   .queue_free = nf_cuda_queue_free,
                                                   .drain = nf_cuda_drain,
                                                   .event_new = nf_cuda_event_new,
                                                   .event_free = nf_cuda_event_free,
                                                   .record = nf_cuda_record,
                                                   .wait = nf_cuda_wait,
                                                   .query = nf_cuda_query,
                                                   .sync = nf_cuda_sync,
                                                   .moment_new = nf_cuda_moment_new,
                                                   .elapsed = nf_cuda_elapsed,
                                                   .copy = nf_cuda_copy,
                                                   .copy_2d = nf_cuda_copy_2d,
                                                   .fill = nf_cuda_fill_bytes,
                                                   .capture_begin = nf_cuda_capture_begin,
                                                   .capture_end = nf_cuda_capture_end,
                                                   .launch = nf_cuda_launch,
                                                   .graph_free = nf_cuda_graph_free};
