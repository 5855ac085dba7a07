/* SPDX-License-Identifier: Apache-2.0 */
/* nemotron_h_blocks.c: the blocks and parameters of a nemotron_h model, under their published names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "nemotron_h.h"

static void mamba(struct nf_build *b, nf_block *block, const struct nemotron_h *h)
{
    int64_t inner = h->mamba_heads * h->mamba_head_dim, conv = inner + 2 * h->groups * h->state;
    int64_t conv_dim[2] = {conv, h->conv}, conv_disk[3] = {conv, 1, h->conv};
    int u = block->unit, i = block->layer;
    struct nf_mamba_conf *c;
    struct nf_mamba_w *w;

    nf_build_block(b, block, sizeof *c, sizeof *w);
    if (b->status)
        return;
    c = block->conf;
    w = block->w;
    *c = (struct nf_mamba_conf){.hidden = h->hidden,
                                .heads = (int)h->mamba_heads,
                                .head_dim = (int)h->mamba_head_dim,
                                .groups = (int)h->groups,
                                .state = (int)h->state,
                                .conv = (int)h->conv,
                                .chunk = (int)h->chunk,
                                .dt_lo = (float)h->dt_lo,
                                .dt_hi = (float)h->dt_hi,
                                .eps = h->eps,
                                .dtype = b->choice->dtype};
#define NAME "backbone.layers.%d.mixer."
    nf_build_matrix(b, &w->in, u, NF_PLAIN, inner + conv + h->mamba_heads, h->hidden, NAME "in_proj.weight", i);
    if (h->mamba_bias)
        nf_build_vector(b, &w->in_bias, u, NF_PLAIN, inner + conv + h->mamba_heads, NAME "in_proj.bias", i);
    nf_build_dense(b, &w->conv, u, NF_PLAIN, 2, conv_dim, 3, conv_disk, NAME "conv1d.weight", i);
    if (h->conv_bias)
        nf_build_vector(b, &w->conv_bias, u, NF_PLAIN, conv, NAME "conv1d.bias", i);
    nf_build_vector(b, &w->dt_bias, u, NF_KEEP_FP32, h->mamba_heads, NAME "dt_bias", i);
    nf_build_vector(b, &w->a_log, u, NF_KEEP_FP32, h->mamba_heads, NAME "A_log", i);
    nf_build_vector(b, &w->d, u, NF_KEEP_FP32, h->mamba_heads, NAME "D", i);
    nf_build_vector(b, &w->norm, u, NF_PLAIN, inner, NAME "norm.weight", i);
    nf_build_matrix(b, &w->out, u, NF_PLAIN, h->hidden, inner, NAME "out_proj.weight", i);
    if (h->mamba_bias)
        nf_build_vector(b, &w->out_bias, u, NF_PLAIN, h->hidden, NAME "out_proj.bias", i);
}

static void attention(struct nf_build *b, nf_block *block, const struct nemotron_h *h)
{
    int64_t nq = h->heads * h->head_dim, nkv = h->kv_heads * h->head_dim;
    int u = block->unit, i = block->layer;
    struct nf_attn_conf *c;
    struct nf_attn_w *w;

    nf_build_block(b, block, sizeof *c, sizeof *w);
    if (b->status)
        return;
    c = block->conf;
    w = block->w;
    *c = (struct nf_attn_conf){.hidden = h->hidden,
                               .heads = (int)h->heads,
                               .kv_heads = (int)h->kv_heads,
                               .head_dim = (int)h->head_dim,
                               .scale = (float)(1 / sqrt((double)h->head_dim)),
                               .backend = b->choice->attention,
                               .dtype = b->choice->dtype};
    nf_build_matrix(b, &w->q, u, NF_PLAIN, nq, h->hidden, NAME "q_proj.weight", i);
    nf_build_matrix(b, &w->k, u, NF_PLAIN, nkv, h->hidden, NAME "k_proj.weight", i);
    nf_build_matrix(b, &w->v, u, NF_PLAIN, nkv, h->hidden, NAME "v_proj.weight", i);
    nf_build_matrix(b, &w->o, u, NF_PLAIN, h->hidden, nq, NAME "o_proj.weight", i);
}

static void mlp(struct nf_build *b, nf_block *block, const struct nemotron_h *h)
{
    int u = block->unit, i = block->layer;
    struct nf_mlp_conf *c;
    struct nf_mlp_w *w;

    nf_build_block(b, block, sizeof *c, sizeof *w);
    if (b->status)
        return;
    c = block->conf;
    w = block->w;
    *c = (struct nf_mlp_conf){
        .hidden = h->hidden, .width = h->intermediate, .act = {.kind = NF_ACT_RELU2}, .dtype = b->choice->dtype};
    nf_build_matrix(b, &w->up, u, NF_PLAIN, h->intermediate, h->hidden, NAME "up_proj.weight", i);
    nf_build_matrix(b, &w->down, u, NF_PLAIN, h->hidden, h->intermediate, NAME "down_proj.weight", i);
    if (h->mlp_bias) {
        nf_build_vector(b, &w->up_bias, u, NF_PLAIN, h->intermediate, NAME "up_proj.bias", i);
        nf_build_vector(b, &w->down_bias, u, NF_PLAIN, h->hidden, NAME "down_proj.bias", i);
    }
}

static struct nf_moe_conf moe_conf(const struct nf_build *b, const nf_block *block, const struct nemotron_h *h)
{
    const struct nf_model_choice *run = b->choice;
    return (struct nf_moe_conf){.hidden = h->hidden,
                                .width = h->expert_width,
                                .shared_width = h->shared_width,
                                .experts = (int)h->experts,
                                .k = (int)h->k,
                                .layer = block->layer,
                                .index = b->model->moe_layers,
                                .route = {.score = NF_SCORE_SIGMOID,
                                          .k = (int)h->k,
                                          .groups = (int)h->expert_groups,
                                          .groups_kept = (int)h->expert_groups_kept,
                                          .normalise = h->norm_topk,
                                          .scale = (float)h->scaling,
                                          .gate = run->gate,
                                          .seed = run->seed,
                                          .layer = (uint32_t)block->layer},
                                .act = {.kind = NF_ACT_RELU2},
                                .shared_act = {.kind = NF_ACT_RELU2},
                                .backend = run->experts,
                                .dispatch = run->dispatch,
                                .chunks = run->chunks,
                                .recv_factor = run->recv_factor,
                                .dtype = run->dtype};
}

static void moe(struct nf_build *b, nf_block *block, const struct nemotron_h *h)
{
    int u = block->unit, i = block->layer;
    char experts[64];
    struct nf_moe_w *w;

    nf_build_block(b, block, sizeof(struct nf_moe_conf), sizeof *w);
    if (b->status)
        return;
    *(struct nf_moe_conf *)block->conf = moe_conf(b, block, h);
    w = block->w;
    b->model->moe_layers++;
    b->model->experts = (int)h->experts;
    snprintf(experts, sizeof experts, NAME "experts", i);
    nf_build_matrix(b, &w->router, u, NF_PLAIN, h->experts, h->hidden, NAME "gate.weight", i);
    nf_build_vector(b, &w->correction, u, NF_BUFFER, h->experts, NAME "gate.e_score_correction_bias", i);
    nf_build_experts(b, &w->up, u, h->experts, h->expert_width, h->hidden, experts, "up_proj.weight", "up_proj");
    nf_build_experts(b, &w->down, u, h->experts, h->hidden, h->expert_width, experts, "down_proj.weight", "down_proj");
    nf_build_matrix(b, &w->shared_up, u, NF_PLAIN, h->shared_width, h->hidden, NAME "shared_experts.up_proj.weight", i);
    nf_build_matrix(b, &w->shared_down, u, NF_PLAIN, h->hidden, h->shared_width, NAME "shared_experts.down_proj.weight", i);
    if (h->mlp_bias) {
        nf_build_vector(b, &w->shared_up_bias, u, NF_PLAIN, h->shared_width, NAME "shared_experts.up_proj.bias", i);
        nf_build_vector(b, &w->shared_down_bias, u, NF_PLAIN, h->hidden, NAME "shared_experts.down_proj.bias", i);
    }
}

nf_status nf_nemotron_h_blocks(struct nf_build *b, const struct nemotron_h *h)
{
    static const struct {
        char letter;
        enum nf_mixer_kind kind;
        void (*build)(struct nf_build *, nf_block *, const struct nemotron_h *);
    } kinds[] = {
        {'M', NF_MIXER_MAMBA, mamba}, {'*', NF_MIXER_ATTENTION, attention}, {'E', NF_MIXER_MOE, moe}, {'-', NF_MIXER_MLP, mlp}};
    nf_model *m = b->model;

    m->layers = m->blocks = h->layers;
    m->units = h->layers + 2;
    m->block = calloc((size_t)h->layers, sizeof *m->block);
    if (!m->block)
        return nf_fail(NF_ENOMEM, "no memory for %d blocks", h->layers);
    nf_build_matrix(b, &m->embed, 0, NF_PLAIN, h->vocab, h->hidden, "backbone.embeddings.weight");
    for (int i = 0; i < h->layers && !b->status; i++)
        for (size_t j = 0; j < sizeof kinds / sizeof *kinds; j++)
            if (kinds[j].letter == h->pattern[i]) {
                m->block[i] = (nf_block){.kind = kinds[j].kind, .unit = i + 1, .layer = i};
                kinds[j].build(b, &m->block[i], h);
                nf_build_vector(b, &m->block[i].norm, i + 1, NF_PLAIN, h->hidden, "backbone.layers.%d.norm.weight", i);
            }
    nf_build_vector(b, &m->norm_f, h->layers + 1, NF_PLAIN, h->hidden, "backbone.norm_f.weight");
    nf_build_matrix(b, &m->head, h->layers + 1, NF_PLAIN, h->vocab, h->hidden, "lm_head.weight");
    return nf_build_finish(b);
}
