/* SPDX-License-Identifier: Apache-2.0 */
/* slots.h: the functions of the CUDA backend, one a slot. They live in the plug-in and are called through its table alone. */
#ifndef NEMAFIT_OPS_CUDA_SLOTS_H
#define NEMAFIT_OPS_CUDA_SLOTS_H

#include "../backend.h"

nf_slot_cast nf_cuda_cast;
nf_slot_add nf_cuda_add;
nf_slot_fill nf_cuda_fill;
nf_slot_sumsq nf_cuda_sumsq;
nf_slot_ssd nf_cuda_ssd;
nf_slot_ssd_bwd nf_cuda_ssd_bwd;

#endif
