/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes.h: bytes of scratch that the CUDA ops take, by shapes alone. Plain C in the program, which has to know them without a
 * GPU (a dry device sizes the arenas); the plug-in lays its scratch out by the same functions and refuses to go beyond
 * (nf_carve). sizes_NAME.h: those of one file of kernels.
 */
#ifndef NEMAFIT_OPS_CUDA_SIZES_H
#define NEMAFIT_OPS_CUDA_SIZES_H

#include "sizes_attention.h"
#include "sizes_gemm.h"
#include "sizes_grouped.h"
#include "sizes_rows.h"
#include "sizes_ssd.h"

#endif
