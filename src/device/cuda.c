/* SPDX-License-Identifier: Apache-2.0 */
/* cuda.c: a GPU as a device: the program's side. What needs CUDA's headers is in cuda/ and goes into the plug-in. */
#include "private.h"

#include <stdio.h>

nf_status nf_device_cuda(int ordinal, int threads, nf_device **device)
{
    struct nf_gpu gpu;
    struct nf_gpu_info info;
    void *native;
    nf_device *d;
    int count = 0;

    NF_CHECK(ordinal >= 0 && threads >= 1);
    NF_TRY(nf_plugin_open(&gpu));
    NF_TRY(gpu.device->count(&count));
    if (count == 0)
        return nf_fail(NF_EDEVICE, "there is no NVIDIA GPU on this node, or CUDA_VISIBLE_DEVICES hides it");
    NF_TRY(gpu.device->open(ordinal % count, &native, &info));
    nf_status s = nf_device_new(NF_CUDA, false, threads, &d);
    if (s) {
        gpu.device->close(native);
        return s;
    }
    d->gpu = gpu.device;
    d->tables = gpu;
    d->info = info;
    d->native = native;
    d->ops = gpu.ops;
    snprintf(d->name, sizeof d->name, "%s", info.name);
    *device = d;
    return NF_OK;
}

nf_status nf_device_memory(const nf_device *device, size_t *free_bytes, size_t *bytes)
{
    NF_CHECK(device->gpu);
    return device->gpu->memory(device->native, free_bytes, bytes);
}

size_t nf_device_taken(const nf_device *device)
{
    return device->taken;
}
