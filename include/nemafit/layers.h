/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layers.h: the mixers of a block, written once for every device: ops and, in the MoE layer, the token exchange.
 *
 * A block is one norm and one mixer: x <- x + mixer(norm(x)). A mixer returns its branch; the next block's norm adds it to the
 * stream. What it keeps for its backward is an open struct, allocated from the step arena in three phases:
 *
 *   keep_always  router choices and dispatch plan: survive a recompute
 *   keep         what a recompute drops and its replay makes again
 *   forward      temporaries above a mark of its own, gone when it returns
 *
 * so that under recompute a block's kept memory can be popped after the forward and taken again by the replay.
 */
#ifndef NEMAFIT_LAYERS_H
#define NEMAFIT_LAYERS_H

#include "nemafit/choices.h"
#include "nemafit/mesh.h"
#include "nemafit/ops.h"

/* What every layer needs, once a micro-batch. Filled by train; constant while the micro-batch runs but for replay. */
typedef struct nf_run {
    nf_queue *q;  /* compute */
    nf_queue *xq; /* token exchange */
    nf_arena *step;
    const nf_mesh *mesh;
    nf_exchange *exchange;
    nf_seq seq;
    int64_t tokens;     /* T here; may be 0 */
    int64_t tokens_max; /* the most that any rank has */
    const int64_t *global_row;
    const struct nf_step_vars *vars; /* device */
    bool train;                      /* a backward follows: keep what it needs */
    bool replay; /* the forward again, inside the backward: choices and plan are there, the last products are not wanted */
    enum nf_recompute recompute;
    int32_t *load;           /* device [MoE layers, E]: tokens routed to each expert, added to; NULL: not wanted */
    int64_t overflow_slices; /* host: slices beyond the planned ones, added to */
    /* Host [MoE layers, tokens, k]: the experts that the routers choose are written here or, with choices_given, read from here
     * instead (comparisons of two precisions: a near tie may fall otherwise in the other). NULL: neither */
    int32_t *choices;
    bool choices_given;
    /* Shown every tensor of the residual stream (goldens), again from the first if the forward is repeated; NULL: nobody looks.
     * index 0 = embedding ... L = after the last norm.
     */
    nf_status (*observe)(void *ctx, int index, const nf_tensor *hidden);
    void *observe_ctx;
} nf_run;

/* ---- Mamba-2 ----------------------------------------------------------------------------------------------------------- */

struct nf_mamba_conf {
    int64_t hidden;
    int heads, head_dim, groups, state, conv, chunk;
    float dt_lo, dt_hi;
    double eps;
    nf_dtype dtype;
};
struct nf_mamba_w {
    nf_param in, in_bias, conv, conv_bias, dt_bias, a_log, d, norm, out, out_bias;
};
struct nf_mamba_keep {
    nf_tensor zxbcdt, conv, y; /* projection, convolved x B C, scan output */
    float *rstd;
    void *scan;
};

/* ---- attention ----------------------------------------------------------------------------------------------------------- */

struct nf_attn_conf {
    int64_t hidden;
    int heads, kv_heads, head_dim;
    float scale;
    int64_t window;
    enum nf_attention_backend backend;
    nf_dtype dtype;
};
struct nf_attn_w {
    nf_param q, k, v, o, q_bias, k_bias, v_bias, o_bias;
};
struct nf_attn_keep {
    nf_tensor qkv, o;
    float *lse;
};

/* ---- dense MLP ------------------------------------------------------------------------------------------------------------
 */

struct nf_mlp_conf {
    int64_t hidden, width;
    struct nf_act_arg act;
    nf_dtype dtype;
};
struct nf_mlp_w {
    nf_param up, up_bias, down, down_bias;
};
struct nf_mlp_keep {
    nf_tensor pre;
};

/* ---- mixture of experts
 * ------------------------------------------------------------------------------------------------------ */

struct nf_moe_conf {
    int64_t hidden;
    int64_t latent;              /* width of the experts' input; 0: hidden */
    int64_t width, shared_width; /* of an expert; of the shared expert, 0: none */
    int experts, k;
    int layer;                 /* number of the block: keys the random gate */
    int index;                 /* number among the MoE layers: row of nf_run.load */
    struct nf_route_arg route; /* scores, groups, scale, gate; sequence and step are filled in */
    struct nf_act_arg act, shared_act;
    enum nf_experts backend;
    enum nf_dispatch dispatch;
    int chunks;
    double recv_factor;
    nf_dtype dtype;
};
struct nf_moe_w {
    nf_param router, correction, up, down, shared_up, shared_up_bias, shared_down, shared_down_bias;
};
struct nf_moe_keep {
    /* always */
    nf_tensor scores; /* [T, E] fp32 */
    int32_t *ids;     /* [T, k] */
    float *weights;   /* [T, k] */
    nf_xplan *plan;
    int slices;
    struct nf_order order; /* of the kept slice of chunk 0; the arrays of the other chunks follow at fixed strides */
    /* unless recomputed */
    nf_tensor rows, pre;  /* [chunks expert_cap, X or F] in expert order */
    nf_tensor shared_pre; /* [T, shared width] */
};

/* ---- any mixer
 * ------------------------------------------------------------------------------------------------------------------ */

enum nf_mixer_kind { NF_MIXER_MAMBA, NF_MIXER_ATTENTION, NF_MIXER_MLP, NF_MIXER_MOE, NF_MIXER_KINDS };
union nf_keep {
    struct nf_mamba_keep mamba;
    struct nf_attn_keep attn;
    struct nf_mlp_keep mlp;
    struct nf_moe_keep moe;
};
/*
 * x [T, H] the normed input; branch [T, H] the mixer's output (NULL in a replay); dx [T, H] the gradient of x, overwritten;
 * dbranch [T, H] is only read. conf and w are the structs of the kind.
 * Collective  MoE: over ep      Errors  as its ops and the exchange
 */
struct nf_mixer {
    const char *name;
    nf_status (*keep_always)(nf_run *run, const void *conf, union nf_keep *keep);
    nf_status (*keep)(nf_run *run, const void *conf, union nf_keep *keep);
    nf_status (*forward)(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const void *conf, void *w,
                         union nf_keep *keep);
    nf_status (*backward)(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x, const void *conf,
                          void *w, union nf_keep *keep);
};
const struct nf_mixer *nf_mixer_of(enum nf_mixer_kind kind);

/* Shape of an MoE layer's exchange for a run of tokens_max tokens: to reserve windows before the first step. */
struct nf_xshape nf_moe_xshape(const struct nf_moe_conf *conf, int64_t tokens_max, int row_pad);

#endif
