/* SPDX-License-Identifier: Apache-2.0 */
/* mixers.h: what the mixers of this folder share: their entries in the table, and short hands for arenas and parameters. */
#ifndef NEMAFIT_LAYERS_MIXERS_H
#define NEMAFIT_LAYERS_MIXERS_H

#include "nemafit/layers.h"

extern const struct nf_mixer nf_mixer_mamba, nf_mixer_attention, nf_mixer_mlp, nf_mixer_moe;

/* A dense matrix [T, cols] of the step arena's low end. */
static inline nf_status nf_layer_new(nf_run *run, const char *what, nf_dtype t, int64_t rows, int64_t cols, nf_tensor *out)
{
    return nf_tensor_new(run->step, NF_LOW, what, t, rows, cols, out);
}

static inline nf_status nf_layer_bytes(nf_run *run, const char *what, size_t bytes, void *out_pointer)
{
    return nf_arena_get(run->step, NF_LOW, bytes, what, (void **)out_pointer);
}

/* The weight of a parameter that a model may lack. */
static inline nf_in nf_layer_weight(const nf_param *p)
{
    return nf_has(p) ? &p->w : NULL;
}

/* Columns of a pre-activation: SwiGLU has a gate and an up half. */
static inline int64_t nf_layer_pre_width(const struct nf_act_arg *act, int64_t width)
{
    return act->kind == NF_ACT_SWIGLU || act->kind == NF_ACT_SWIGLU_CLAMP ? 2 * width : width;
}

#endif
