/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h: how much scratch an op takes on a queue's device: by shapes, in plain C, so that a dry device of either kind sizes
 * what the real one will take.
 */
#ifndef NEMAFIT_OPS_SCRATCH_H
#define NEMAFIT_OPS_SCRATCH_H

#include "cpu/scratch.h"
#include "cuda/sizes.h"

/* NF_SCRATCH(q, linear, y, pre, x, w, arg) is nf_cpu_linear_scratch(y, pre, x, w, arg) on the host */
#define NF_SCRATCH(q, op, ...)                                                                                                 \
    (nf_device_kind(nf_queue_device(q)) == NF_CUDA ? nf_cuda_##op##_scratch(__VA_ARGS__) : nf_cpu_##op##_scratch(__VA_ARGS__))

#endif
