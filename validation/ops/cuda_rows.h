/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_rows.h: what the rows of t_cuda share. cuda_NAME.c has those of some ops; t_cuda.c the table.
 *
 * Noise (cudarig.h): two sides round each of n added terms, in other orders, which adds up like a random walk: an error of
 * 2^-24 / sqrt(3) at each of n steps of two sums that grow to the result like sqrt, 2^-24 sqrt(n / 3) together. Tensor cores
 * cut off where they should round: half a unit, 2^-24, for each 16 terms, all in one direction. Functions (exp, rsqrt) and
 * the few products around them give 4 units. An operand that is rounded to bf16 before a product gives each term a relative
 * error of up to 2^-8, 2^-8 / sqrt(3) in the mean at most; so it does to their sum, if the terms' signs are random.
 */
#ifndef NEMAFIT_VALIDATION_CUDA_ROWS_H
#define NEMAFIT_VALIDATION_CUDA_ROWS_H

#include "cudarig.h"

static const nf_dtype cuda_reals[2] = {NF_F32, NF_BF16};

static inline double cuda_sum(int64_t terms)
{
    return 0x1p-24 * (4 + sqrt((double)terms / 3) + (double)terms / 16);
}

/* Operands rounded to bf16, one in each of several products that make up a result */
static inline double cuda_operands(int roundings)
{
    return 0x1p-8 * sqrt(roundings / 3.0);
}

/*
 * The rows of a table of shapes, whose last `most` are the largest shapes, which only repetitions take: the ops of an H100 at
 * the shapes of Nemotron-3 Nano on 4,096 tokens.
 */
#define CUDA_EACH(k, rig, table, most)                                                                                         \
    for (size_t k = (rig)->large ? sizeof(table) / sizeof *(table) - (most) : 0;                                               \
         k < sizeof(table) / sizeof *(table) - ((rig)->large ? 0 : (most)); k++)
/* Repetitions take bf16 alone: index into cuda_reals. */
#define CUDA_FIRST(rig) ((rig)->large ? 1 : 0)

/* cuda_table.c: the names of all rows, a line each; the rows named, or all, and whether each op of the backend has one. */
void cuda_table_list(void);
void cuda_table_run(struct cuda_rig *rig, int names, char **name);

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
void cuda_test_mismatch(struct cuda_rig *rig);
void cuda_test_sumsq(struct cuda_rig *rig);
void cuda_test_ssd(struct cuda_rig *rig);
void cuda_test_ssd_bwd(struct cuda_rig *rig);

#endif
