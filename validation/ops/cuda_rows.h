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

void cuda_test_embed(struct cuda_rig *rig);
void cuda_test_embed_bwd(struct cuda_rig *rig);
void cuda_test_add_norm(struct cuda_rig *rig);
void cuda_test_add_norm_bwd(struct cuda_rig *rig);
void cuda_test_gated_norm(struct cuda_rig *rig);
void cuda_test_gated_norm_bwd(struct cuda_rig *rig);
void cuda_test_linear(struct cuda_rig *rig);
void cuda_test_linear_dgrad(struct cuda_rig *rig);
void cuda_test_linear_wgrad(struct cuda_rig *rig);
void cuda_test_conv_silu(struct cuda_rig *rig);
void cuda_test_conv_silu_bwd(struct cuda_rig *rig);
void cuda_test_route(struct cuda_rig *rig);
void cuda_test_route_bwd(struct cuda_rig *rig);
void cuda_test_router_bias(struct cuda_rig *rig);
void cuda_test_order_build(struct cuda_rig *rig);
void cuda_test_expand(struct cuda_rig *rig);
void cuda_test_collapse(struct cuda_rig *rig);
void cuda_test_combine(struct cuda_rig *rig);
void cuda_test_head_loss(struct cuda_rig *rig);
void cuda_test_head_logits(struct cuda_rig *rig);
void cuda_test_adamw(struct cuda_rig *rig);
void cuda_test_decide(struct cuda_rig *rig);
void cuda_test_grouped_linear(struct cuda_rig *rig);
void cuda_test_grouped_dgrad(struct cuda_rig *rig);
void cuda_test_grouped_wgrad(struct cuda_rig *rig);
void cuda_test_attention(struct cuda_rig *rig);
void cuda_test_attention_bwd(struct cuda_rig *rig);
void cuda_test_cast(struct cuda_rig *rig);
void cuda_test_add(struct cuda_rig *rig);
void cuda_test_fill(struct cuda_rig *rig);
void cuda_test_sumsq(struct cuda_rig *rig);
void cuda_test_ssd(struct cuda_rig *rig);

#endif
