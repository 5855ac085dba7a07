/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every op of the CUDA backend against its definition, the CPU's op: odd and large shapes, fp32 and bf16. A row an op; `t_cuda
 * NAME ...` runs those rows alone. Skipped where there is no GPU.
 */
#include "cuda_rows.h"

#define SLOT(name) offsetof(struct nf_backend, name)
static const struct row {
    const char *op;
    size_t slot;
    void (*test)(struct cuda_rig *rig);
} table[] = {
    {"embed", SLOT(embed), cuda_test_embed},
    {"embed_bwd", SLOT(embed_bwd), cuda_test_embed_bwd},
    {"add_norm", SLOT(add_norm), cuda_test_add_norm},
    {"add_norm_bwd", SLOT(add_norm_bwd), cuda_test_add_norm_bwd},
    {"gated_norm", SLOT(gated_norm), cuda_test_gated_norm},
    {"gated_norm_bwd", SLOT(gated_norm_bwd), cuda_test_gated_norm_bwd},
    {"linear", SLOT(linear), cuda_test_linear},
    {"linear_dgrad", SLOT(linear_dgrad), cuda_test_linear_dgrad},
    {"linear_wgrad", SLOT(linear_wgrad), cuda_test_linear_wgrad},
    {"conv_silu", SLOT(conv_silu), cuda_test_conv_silu},
    {"conv_silu_bwd", SLOT(conv_silu_bwd), cuda_test_conv_silu_bwd},
    {"ssd", SLOT(ssd), cuda_test_ssd},
    {"route", SLOT(route), cuda_test_route},
    {"route_bwd", SLOT(route_bwd), cuda_test_route_bwd},
    {"router_bias", SLOT(router_bias), cuda_test_router_bias},
    {"order_build", SLOT(order_build), cuda_test_order_build},
    {"expand", SLOT(expand), cuda_test_expand},
    {"collapse", SLOT(collapse), cuda_test_collapse},
    {"combine", SLOT(combine), cuda_test_combine},
    {"head_loss", SLOT(head_loss), cuda_test_head_loss},
    {"head_logits", SLOT(head_logits), cuda_test_head_logits},
    {"adamw", SLOT(adamw), cuda_test_adamw},
    {"decide", SLOT(decide), cuda_test_decide},
    {"grouped_linear", SLOT(grouped_linear), cuda_test_grouped_linear},
    {"grouped_dgrad", SLOT(grouped_dgrad), cuda_test_grouped_dgrad},
    {"grouped_wgrad", SLOT(grouped_wgrad), cuda_test_grouped_wgrad},
    {"attention", SLOT(attention), cuda_test_attention},
    {"attention_bwd", SLOT(attention_bwd), cuda_test_attention_bwd},
    {"cast", SLOT(cast), cuda_test_cast},
    {"add", SLOT(add), cuda_test_add},
    {"fill", SLOT(fill), cuda_test_fill},
    {"sumsq", SLOT(sumsq), cuda_test_sumsq},
};

int main(int argc, char **argv)
{
    struct cuda_rig rig;

    if (!cuda_rig_open(&rig, (size_t)1 << 30))
        return 0;
    tap_open();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        bool wanted = argc == 1;
        for (int k = 1; k < argc; k++)
            wanted |= strcmp(argv[k], table[i].op) == 0;
        void (*slot)(void);
        memcpy(&slot, (const char *)rig.ops + table[i].slot, sizeof slot);
        if (!wanted)
            continue;
        if (slot)
            table[i].test(&rig);
        else
            tap_skip("%s is not in the CUDA backend", table[i].op);
    }
    cuda_rig_close(&rig);
    return tap_done();
}
