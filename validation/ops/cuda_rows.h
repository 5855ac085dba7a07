/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_rows.h: what the rows of t_cuda share. cuda_NAME.c has those of some ops; t_cuda.c the table.
 *
 * Bounds, in the 2-norm relative to the CPU's result: in fp32 both sides round each of n added terms, in another order, which
 * adds up like a random walk, 2^-24 sqrt(n), and functions (exp, rsqrt) give 2 units more. In bf16 both sides compute in fp32
 * and round once; where the fp32 results differ in their last bits a rounding may fall on the other side, which moves few
 * elements, by 2^-8.
 */
#ifndef NEMAFIT_VALIDATION_CUDA_ROWS_H
#define NEMAFIT_VALIDATION_CUDA_ROWS_H

#include "cudarig.h"

static const nf_dtype cuda_reals[2] = {NF_F32, NF_BF16};

static inline double cuda_bound(nf_dtype type)
{
    return type == NF_F32 ? 2e-6 : 1e-3;
}

void cuda_test_cast(struct cuda_rig *rig);
void cuda_test_add(struct cuda_rig *rig);
void cuda_test_fill(struct cuda_rig *rig);
void cuda_test_sumsq(struct cuda_rig *rig);
void cuda_test_ssd(struct cuda_rig *rig);

#endif
