/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c: a device gets its ops. An empty slot is found here, before the first step, and named. */
#include "backend.h"

#include "cpu/blas.h"
#include "nemafit/gpu.h"

#include <stdio.h>

#define COUNT(name) +1
_Static_assert(sizeof(struct nf_backend) == (2 NF_BACKEND_SLOTS(COUNT)) * sizeof(void *),
               "NF_BACKEND_SLOTS lists every slot of struct nf_backend");

const char *nf_backend_missing(const struct nf_backend *backend)
{
#define TRY(slot)                                                                                                              \
    if (!backend->slot)                                                                                                        \
        return #slot;
    NF_BACKEND_SLOTS(TRY)
#undef TRY
    return NULL;
}

nf_status nf_ops_attach(nf_device *device)
{
    const struct nf_backend *backend = nf_device_ops(device); /* a plug-in has set its own */
    const struct nf_gpu *gpu = nf_device_gpu(device);
    const char *missing;

    if (nf_device_is_dry(device))
        return NF_OK;
    if (nf_device_kind(device) == NF_HOST) {
        NF_TRY(nf_cpu_blas_attach(nf_device_threads(device)));
        backend = &nf_backend_cpu;
    }
    if (!backend || (gpu && gpu->ops_bytes != sizeof *backend))
        return nf_fail(NF_EDEVICE, "device \"%s\": the plug-in that opened it belongs to another build",
                       nf_device_name(device));
    missing = nf_backend_missing(backend);
    if (missing)
        return nf_fail(gpu ? NF_EDEVICE : NF_EBUG, "%s: this version's backend \"%s\" lacks the op %s%s",
                       nf_device_name(device), backend->name, missing, gpu ? "\n  Hint: backend.device = 'cpu'" : "");
    nf_device_set_ops(device, backend);
    return NF_OK;
}

const char *nf_ops_describe(const nf_device *device, char out[160])
{
    const struct nf_backend *backend = nf_device_ops(device);

    if (backend)
        return backend->describe(device, out);
    snprintf(out, 160, "none");
    return out;
}

int nf_op_row_pad(const nf_queue *queue)
{
    const nf_device *device = nf_queue_device((nf_queue *)queue);

    return nf_device_kind(device) == NF_HOST ? 1 : 128; /* the row tile of the grouped kernels on CUDA */
}
