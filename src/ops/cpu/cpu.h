/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h: the functions of the CPU backend, one a slot, and the scratch that each needs by shapes alone. These are also the
 * definition of the ops: other backends are compared with them.
 */
#ifndef NEMAFIT_OPS_CPU_H
#define NEMAFIT_OPS_CPU_H

#include "../backend.h"

nf_slot_embed nf_cpu_embed;
nf_slot_embed_bwd nf_cpu_embed_bwd;
nf_slot_add_norm nf_cpu_add_norm;
nf_slot_add_norm_bwd nf_cpu_add_norm_bwd;
nf_slot_gated_norm nf_cpu_gated_norm;
nf_slot_gated_norm_bwd nf_cpu_gated_norm_bwd;
nf_slot_linear nf_cpu_linear;
nf_slot_linear_dgrad nf_cpu_linear_dgrad;
nf_slot_linear_wgrad nf_cpu_linear_wgrad;
nf_slot_grouped_linear nf_cpu_grouped_linear;
nf_slot_grouped_dgrad nf_cpu_grouped_dgrad;
nf_slot_grouped_wgrad nf_cpu_grouped_wgrad;
nf_slot_attention nf_cpu_attention;
nf_slot_attention_bwd nf_cpu_attention_bwd;
nf_slot_conv_silu nf_cpu_conv_silu;
nf_slot_conv_silu_bwd nf_cpu_conv_silu_bwd;
nf_slot_ssd nf_cpu_ssd;
nf_slot_ssd_bwd nf_cpu_ssd_bwd;
nf_slot_route nf_cpu_route;
nf_slot_route_bwd nf_cpu_route_bwd;
nf_slot_order_build nf_cpu_order_build;
nf_slot_expand nf_cpu_expand;
nf_slot_collapse nf_cpu_collapse;
nf_slot_combine nf_cpu_combine;
nf_slot_head_loss nf_cpu_head_loss;
nf_slot_head_logits nf_cpu_head_logits;
nf_slot_adamw nf_cpu_adamw;
nf_slot_sumsq nf_cpu_sumsq;
nf_slot_decide nf_cpu_decide;
nf_slot_cast nf_cpu_cast;
nf_slot_add nf_cpu_add;
nf_slot_fill nf_cpu_fill;
nf_slot_mismatch nf_cpu_mismatch;
nf_slot_router_bias nf_cpu_router_bias;

#endif
