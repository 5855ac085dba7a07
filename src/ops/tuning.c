/* SPDX-License-Identifier: Apache-2.0 */
/* tuning.c: algorithms chosen by timing (ops.h): a GPU's plug-in has some, the host none. */
#include "nemafit/gpu.h"
#include "nemafit/ops.h"

#include <stdio.h>
#include <stdlib.h>

static const struct nf_gpu_tuning *tuning_of(const nf_device *device)
{
    const struct nf_gpu *gpu = nf_device_gpu(device);
    return gpu ? gpu->tuning : NULL;
}

int nf_ops_undecided(const nf_device *device)
{
    const struct nf_gpu_tuning *t = tuning_of(device);
    return t ? t->undecided() : 0;
}

nf_status nf_ops_choose(nf_queue *q, void *memory, size_t bytes)
{
    const struct nf_gpu_tuning *t = tuning_of(nf_queue_device(q));
    return t ? t->choose(nf_queue_native(q), memory, bytes) : NF_OK;
}

nf_status nf_ops_choices(const nf_device *device, void **bytes, size_t *n)
{
    const struct nf_gpu_tuning *t = tuning_of(device);
    void *p = NULL;

    if (t) {
        p = malloc(t->bytes());
        if (!p)
            return nf_fail(NF_ENOMEM, "no memory for the choices of algorithms");
        t->save(p);
    }
    *n = t ? t->bytes() : 0;
    *bytes = p;
    return NF_OK;
}

bool nf_ops_choices_fit(const nf_device *device, const void *bytes, size_t n, char why[320])
{
    const struct nf_gpu_tuning *t = tuning_of(device);

    if (t)
        return t->fits(bytes, n, why, 320);
    snprintf(why, 320, "this device has no choices of algorithms");
    return false;
}

nf_status nf_ops_take_choices(const nf_device *device, const void *bytes, size_t n, bool *taken)
{
    const struct nf_gpu_tuning *t = tuning_of(device);

    *taken = false;
    return t ? t->restore(bytes, n, taken) : NF_OK;
}
