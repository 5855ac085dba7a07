/* SPDX-License-Identifier: Apache-2.0 */
/* table.c: the CUDA backend. A slot that is not named here is empty: nf_backend_missing() names it before anything runs. */
#include "slots.h"

#include <stdio.h>

static const char *describe(const nf_device *device, char out[160])
{
    (void)device;
    snprintf(out, 160, "CUDA kernels for sm_90a, cuBLASLt");
    return out;
}

static const struct nf_backend backend = {
    .name = "cuda",
    .describe = describe,
    .ssd = nf_cuda_ssd,
    .ssd_bwd = nf_cuda_ssd_bwd,
    .sumsq = nf_cuda_sumsq,
    .cast = nf_cuda_cast,
    .add = nf_cuda_add,
    .fill = nf_cuda_fill,
};

/* For nf_gpu_open, which may not know struct nf_backend. */
extern const void *const nf_cuda_ops_table;
extern const size_t nf_cuda_ops_bytes;
const void *const nf_cuda_ops_table = &backend;
const size_t nf_cuda_ops_bytes = sizeof backend;
