/* SPDX-License-Identifier: Apache-2.0 */
/* fake_gpu.h: what the two halves of the GPU that is none share: fake_gpu.c (device), fake_comm.c (kernels, messages). */
#ifndef NEMAFIT_VALIDATION_PARALLEL_FAKE_GPU_H
#define NEMAFIT_VALIDATION_PARALLEL_FAKE_GPU_H

#include "mesh/gpu_comm.h"

extern const struct nf_host *fake_host;
extern const struct nf_gpu_comm fake_comm;

/* Between the two, memory of the device may be touched. */
void fake_begin(void);
nf_status fake_end(void);

#endif
