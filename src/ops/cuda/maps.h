/* SPDX-License-Identifier: Apache-2.0 */
/* maps.h: descriptions of tensors for the bulk copies of hopper.cuh. */
#ifndef NEMAFIT_OPS_CUDA_MAPS_H
#define NEMAFIT_OPS_CUDA_MAPS_H

#include "nemafit/base.h"

#include <cuda.h>

/* Whether copies can address rows of bf16 like these: 16-byte steps. */
static inline bool nf_cuda_mappable(const void *data, int64_t ld)
{
    return (uintptr_t)data % 16 == 0 && ld % 8 == 0;
}

/*
 * bf16 [planes, rows, cols] with strides in elements; boxes of 64 columns x box_rows (at most 256) rows, 128-byte swizzle; what
 * lies outside reads as zeros. No dimension may be 0.
 * Errors  NF_EDEVICE: the driver refuses it
 */
nf_status nf_cuda_map(CUtensorMap *map, const void *data, int64_t cols, int64_t rows, int64_t planes, int64_t row_stride,
                      int64_t plane_stride, int box_rows);

/* How many blocks are on the current device at once, one a multiprocessor. */
nf_status nf_cuda_processors(int *count);

#endif
