/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h: bytes of scratch that the CPU ops take, by shapes alone: never by the number of threads, which a dry device does
 * not know, nor by counts. The dispatchers in src/ops/<op>.c ask here and take them from the queue's work arena.
 */
#ifndef NEMAFIT_OPS_CPU_SCRATCH_H
#define NEMAFIT_OPS_CPU_SCRATCH_H

#include "nemafit/ops.h"

size_t nf_cpu_attention_scratch(nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg);
size_t nf_cpu_attention_bwd_scratch(nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg);
size_t nf_cpu_ssd_kept(const struct nf_ssd_arg *arg); /* not scratch: what lives until the backward */
size_t nf_cpu_ssd_scratch(nf_in y, bool kept, nf_in x, nf_in b, nf_in c, const struct nf_ssd_arg *arg);
size_t nf_cpu_ssd_bwd_scratch(nf_in x, nf_in b, const struct nf_ssd_arg *arg);
size_t nf_cpu_route_scratch(int64_t experts, const struct nf_route_arg *arg);
size_t nf_cpu_order_scratch(const struct nf_order *order);
size_t nf_cpu_head_scratch(nf_in h, nf_in w, bool gradients, nf_grad dw);
size_t nf_cpu_head_logits_scratch(nf_in h, nf_in w);

size_t nf_cpu_embed_bwd_scratch(int64_t tokens, nf_grad dw);
size_t nf_cpu_add_norm_scratch(nf_out stream, nf_out y, nf_in prev, nf_in branch, nf_in w);
size_t nf_cpu_add_norm_bwd_scratch(nf_out dstream, nf_in dy, nf_in stream, nf_in w);
size_t nf_cpu_gated_norm_scratch(nf_out o, nf_in y, nf_in z, nf_in w);
size_t nf_cpu_gated_norm_bwd_scratch(nf_out dy, nf_out dz, nf_out o_again, nf_in d_o, nf_in y, nf_in z, nf_in w);
size_t nf_cpu_conv_silu_scratch(nf_out y, nf_in x, nf_in w);
size_t nf_cpu_conv_silu_bwd_scratch(nf_out dx, nf_in dy, nf_in x, nf_in w);
size_t nf_cpu_sumsq_scratch(nf_in x);
size_t nf_cpu_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg);
size_t nf_cpu_linear_dgrad_scratch(nf_out dx, nf_out again, nf_in dy, nf_in w, nf_in pre, const struct nf_linear_arg *arg);
size_t nf_cpu_linear_wgrad_scratch(nf_grad dw, nf_grad db, nf_in dy, nf_in x);
size_t nf_cpu_grouped_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                     const struct nf_grouped_arg *arg);
size_t nf_cpu_grouped_dgrad_scratch(nf_out dx, nf_out again, const float *drow_weight, nf_in dy, nf_in w, nf_in pre,
                                    const struct nf_groups *groups, const struct nf_grouped_arg *arg);
size_t nf_cpu_grouped_wgrad_scratch(nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                                    const struct nf_grouped_arg *arg);

#endif
