/* SPDX-License-Identifier: Apache-2.0 */
/* device.c: what a device is asked whatever its kind. */
#include "private.h"

#include <stdlib.h>

nf_status nf_device_new(enum nf_device_kind kind, bool dry, int threads, nf_device **device)
{
    nf_device *d = calloc(1, sizeof *d);
    if (!d)
        return nf_fail(NF_ENOMEM, "no memory for a device");
    d->kind = kind;
    d->dry = dry;
    d->threads = threads;
    *device = d;
    return NF_OK;
}

void nf_device_free(nf_device *device)
{
    if (device && device->gpu) {
        for (int i = 0; i < device->graphs; i++)
            device->gpu->graph_free(device->graph[i].native);
        for (int i = 0; i < NF_RING; i++)
            if (device->ring[i].native)
                device->gpu->event_free(device->ring[i].native);
        device->gpu->close(device->native);
    }
    free(device);
}

enum nf_device_kind nf_device_kind(const nf_device *device)
{
    return device->kind;
}

bool nf_device_is_dry(const nf_device *device)
{
    return device->dry;
}

int nf_device_threads(const nf_device *device)
{
    return device->threads;
}

const char *nf_device_name(const nf_device *device)
{
    return device->name;
}

void nf_device_set_ops(nf_device *device, const void *backend)
{
    device->ops = backend;
}

const void *nf_device_ops(const nf_device *device)
{
    return device->ops;
}

void nf_device_set_ticks(nf_device *device, uint64_t *ticks)
{
    device->ticks = ticks;
}

void nf_device_set_progress(nf_device *device, nf_status (*progress)(void *ctx), void *ctx)
{
    device->progress = progress;
    device->progress_ctx = ctx;
}

const struct nf_gpu *nf_device_gpu(const nf_device *device)
{
    return device->gpu ? &device->tables : NULL;
}

void *nf_device_native(const nf_device *device)
{
    return device->native;
}

const struct nf_gpu_info *nf_device_gpu_info(const nf_device *device)
{
    return device->gpu ? &device->info : NULL;
}
