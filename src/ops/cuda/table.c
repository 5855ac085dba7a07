/* SPDX-License-Identifier: Apache-2.0 */
/* table.c: the CUDA backend. A slot that is not named here is empty: nf_backend_missing() names it before anything runs. */
#include "slots.h"

#include <stdio.h>

static const char *describe(const nf_device *device, char out[160])
{
    (void)device;
    snprintf(out, 160, "CUDA kernels for sm_90a, cuBLASLt");
    return out;
}

static const struct nf_backend backend = {
    .name = "cuda",
    .describe = describe,
    .embed = nf_cuda_embed,
    .embed_bwd = nf_cuda_embed_bwd,
    .add_norm = nf_cuda_add_norm,
    .add_norm_bwd = nf_cuda_add_norm_bwd,
    .gated_norm = nf_cuda_gated_norm,
    .gated_norm_bwd = nf_cuda_gated_norm_bwd,
    .linear = nf_cuda_linear,
    .linear_dgrad = nf_cuda_linear_dgrad,
    .linear_wgrad = nf_cuda_linear_wgrad,
    .conv_silu = nf_cuda_conv_silu,
    .conv_silu_bwd = nf_cuda_conv_silu_bwd,
    .ssd = nf_cuda_ssd,
    .ssd_bwd = nf_cuda_ssd_bwd,
    .route = nf_cuda_route,
    .route_bwd = nf_cuda_route_bwd,
    .router_bias = nf_cuda_router_bias,
    .order_build = nf_cuda_order_build,
    .expand = nf_cuda_expand,
    .collapse = nf_cuda_collapse,
    .combine = nf_cuda_combine,
    .head_loss = nf_cuda_head_loss,
    .head_logits = nf_cuda_head_logits,
    .adamw = nf_cuda_adamw,
    .grouped_linear = nf_cuda_grouped_linear,
    .grouped_dgrad = nf_cuda_grouped_dgrad,
    .grouped_wgrad = nf_cuda_grouped_wgrad,
    .attention = nf_cuda_attention,
    .attention_bwd = nf_cuda_attention_bwd,
    .sumsq = nf_cuda_sumsq,
    .decide = nf_cuda_decide,
    .cast = nf_cuda_cast,
    .add = nf_cuda_add,
    .fill = nf_cuda_fill,
    .mismatch = nf_cuda_mismatch,
};

/* For nf_gpu_open, which may not know struct nf_backend. */
extern const void *const nf_cuda_ops_table;
extern const size_t nf_cuda_ops_bytes;
const void *const nf_cuda_ops_table = &backend;
const size_t nf_cuda_ops_bytes = sizeof backend;
