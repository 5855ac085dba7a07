/* SPDX-License-Identifier: Apache-2.0 */
/* slots.h: the functions of the CUDA backend, one a slot. They live in the plug-in and are called through its table alone. */
#ifndef NEMAFIT_OPS_CUDA_SLOTS_H
#define NEMAFIT_OPS_CUDA_SLOTS_H

#include "../backend.h"

nf_slot_add_norm nf_cuda_add_norm;
nf_slot_add_norm_bwd nf_cuda_add_norm_bwd;
nf_slot_gated_norm nf_cuda_gated_norm;
nf_slot_gated_norm_bwd nf_cuda_gated_norm_bwd;
nf_slot_conv_silu nf_cuda_conv_silu;
nf_slot_conv_silu_bwd nf_cuda_conv_silu_bwd;
nf_slot_embed nf_cuda_embed;
nf_slot_embed_bwd nf_cuda_embed_bwd;
nf_slot_route nf_cuda_route;
nf_slot_route_bwd nf_cuda_route_bwd;
nf_slot_router_bias nf_cuda_router_bias;
nf_slot_order_build nf_cuda_order_build;
nf_slot_expand nf_cuda_expand;
nf_slot_collapse nf_cuda_collapse;
nf_slot_combine nf_cuda_combine;
nf_slot_adamw nf_cuda_adamw;
nf_slot_decide nf_cuda_decide;
nf_slot_linear nf_cuda_linear;
nf_slot_linear_dgrad nf_cuda_linear_dgrad;
nf_slot_linear_wgrad nf_cuda_linear_wgrad;
nf_slot_head_loss nf_cuda_head_loss;
nf_slot_head_logits nf_cuda_head_logits;
nf_slot_grouped_linear nf_cuda_grouped_linear;
nf_slot_grouped_dgrad nf_cuda_grouped_dgrad;
nf_slot_grouped_wgrad nf_cuda_grouped_wgrad;
nf_slot_attention nf_cuda_attention;
nf_slot_attention_bwd nf_cuda_attention_bwd;
nf_slot_cast nf_cuda_cast;
nf_slot_add nf_cuda_add;
nf_slot_fill nf_cuda_fill;
nf_slot_mismatch nf_cuda_mismatch;
nf_slot_sumsq nf_cuda_sumsq;
nf_slot_ssd nf_cuda_ssd;
nf_slot_ssd_bwd nf_cuda_ssd_bwd;

#endif
