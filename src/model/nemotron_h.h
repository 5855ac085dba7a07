/* SPDX-License-Identifier: Apache-2.0 */
/* nemotron_h.h: the numbers of a nemotron_h config.json, under the names of its current release. */
#ifndef NEMAFIT_MODEL_NEMOTRON_H_H
#define NEMAFIT_MODEL_NEMOTRON_H_H

#include "families.h"

#define NF_NEMOTRON_LAYERS_MAX 4096

struct nemotron_h {
    int64_t hidden, vocab, heads, kv_heads, head_dim, intermediate;
    int64_t mamba_heads, mamba_head_dim, state, groups, conv, chunk;
    int64_t experts, k, expert_width, shared_width, expert_groups, expert_groups_kept;
    double eps, scaling, init_range, dt_lo, dt_hi, dt_min, dt_max, dt_floor;
    bool mlp_bias, mamba_bias, conv_bias, norm_topk, rescale_residual;
    int layers;
    char pattern[NF_NEMOTRON_LAYERS_MAX + 1]; /* M * E - */
};

nf_status nf_nemotron_h_blocks(struct nf_build *b, const struct nemotron_h *h);
void nf_nemotron_h_init(const nf_model *model, int p, uint64_t seed, int64_t first, int64_t count, float *out);
bool nf_nemotron_h_canonical(const char *found, char *out, size_t size);
extern const char *const nf_nemotron_h_pass[], *const nf_nemotron_h_harmless[];

#endif
