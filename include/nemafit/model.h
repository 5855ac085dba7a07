/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h: a model: config.json -> blocks, parameters, weight map; forward and backward; residency (who holds which parameters
 * when, and where their gradients go).
 */
#ifndef NEMAFIT_MODEL_H
#define NEMAFIT_MODEL_H

#include "nemafit/json.h"
#include "nemafit/layers.h"
#include "nemafit/str.h"

/* ---- what a model is ---------------------------------------------------------------------------------------------------- */

/* One norm and one mixer. */
typedef struct nf_block {
    /* conf and w are malloc'd structs of the kind */
    enum nf_mixer_kind kind;
    int unit;  /* the published layer it is part of: the grain of gathering and of gradients */
    int layer; /* number of the published layer */
    nf_param norm;
    void *conf, *w;
} nf_block;

/* Choices that are the run's and not the model's. */
struct nf_model_choice {
    nf_dtype dtype;
    enum nf_experts experts;
    enum nf_dispatch dispatch;
    enum nf_attention_backend attention;
    enum nf_gate gate;
    uint64_t seed;
    int chunks;
    double recv_factor;
    bool dt_floor_compat;
    const nf_strings *freeze, *no_decay; /* patterns over disk names */
};

/* Plain data, built once; residency alone moves the w and g of its parameters. Units: 0 the embedding, 1..layers the published
 * layers, layers + 1 the final norm and the head. */
typedef struct nf_model {
    const char *family;
    int64_t hidden, vocab, context;
    double eps;
    int32_t pad_id; /* its embedding row gets no gradient; -1: none */
    int layers, blocks, units, moe_layers, experts;
    nf_block *block;
    nf_param embed, norm_f, head;
    int params;
    nf_param_desc *desc;
    nf_param **param; /* [params] where each lives */
    nf_weight_map map;
    double init_range;
    /* Fill `count` elements from `first` of parameter p for init='random'. */
    void (*init)(const struct nf_model *model, int p, uint64_t seed, int64_t first, int64_t count, float *out);
    double (*flops)(const struct nf_model *model,
                    int64_t seq_len); /* a token, forward and backward, as published rates count */
    void *own;                        /* the family's, one malloc'd block */
} nf_model;

/*
 * nf_model_new: from the text of a config.json (NF_JSON_PYTHON document). Keeps nothing of choice but copies.
 * Errors  same: NF_EMODEL with the key and what is supported; NF_EUSAGE for patterns that match nothing or a part of a fused
 * tensor
 */
nf_status nf_model_new(const nf_json *config, const struct nf_model_choice *choice, nf_model **model);
void nf_model_free(nf_model *model);
/* Values of all logical parameters; trained and frozen ones (buffers are neither); those a token meets (experts: k of E),
 * without the embedding. */
struct nf_param_count {
    int64_t total, trained, frozen, active;
};
struct nf_param_count nf_model_count(const nf_model *model);
/* "MEM*EME-" and sizes, for people; malloc-free: into out. */
void nf_model_describe(const nf_model *model, nf_str *out);
/* Reserve exchange windows for micro-batches of tokens_max tokens. */
void nf_model_reserve(const nf_model *model, nf_exchange *x, int64_t tokens_max, int row_pad);

/* ---- residency ------------------------------------------------------------------------------------------------------------
 */
/*
 * A unit's parameters lie in flat runs by {dense, expert} x {dtype} x {trained, frozen} (and by the type of gradients, where it
 * differs). One table of pieces serves optimizer, norm, checkpoint and snapshot. What is held beside a trained weight follows
 * from the scheme (struct nf_adamw_run) and the type of its gradient: bf16 if its weight is and grad_dtype says so; NF_AUTO:
 * bf16 where it is written once a step, fp32 where it is summed up (several micro-batches, reused parameters). Under shard =
 * 'none' every rank holds whole dense tensors and its experts; acquire and release only arrange gradients. With one micro-batch
 * a step a unit's gradients are taken from the high end of the step arena when its backward starts, where consumed activations
 * lay; else they lie in the state arena.
 */
typedef struct nf_residency nf_residency;
struct nf_residency_arg {
    nf_model *model;
    const nf_mesh *mesh;
    nf_arena *state;  /* parameters, optimizer state, lasting gradients */
    nf_arena *step;   /* passing gradients */
    nf_queue *queue;  /* compute */
    nf_queue *reduce; /* gradient reductions */
    enum nf_shard shard;
    int micro_batches; /* a step */
    bool optimizer;    /* with moments; false: forward only, with weights alone */
    enum nf_state_scheme scheme;
    int grad_dtype; /* NF_AUTO, NF_F32, NF_BF16: of bf16 parameters */
};
nf_status nf_residency_new(const struct nf_residency_arg *arg, nf_residency **res);
void nf_residency_free(nf_residency *res);

void nf_residency_begin_step(nf_residency *res);             /* gradients of the last step are gone */
void nf_residency_begin_micro(nf_residency *res, int micro); /* 0-based; reductions start in the last */
enum nf_direction { NF_FORWARD = 1, NF_BACKWARD = -1 };
nf_status nf_acquire(nf_residency *res, int unit, enum nf_direction direction, bool want_grads);
void nf_release(nf_residency *res, int unit);
nf_status nf_grads_ready(nf_residency *res, int unit);  /* last use in this micro-batch; collective in the last one */
nf_status nf_residency_end_backward(nf_residency *res); /* the queue waits for all reductions */

/* One flat run of trained parameters, as the optimizer sees it. */
struct nf_flat {
    struct nf_adamw_run run;
    enum nf_spread spread;
    int unit;
};
int nf_residency_flats(nf_residency *res, struct nf_flat **flats); /* valid until nf_residency_free; g as of now */
/*
 * Every parameter of the model and where its local piece lies: data NULL where a parameter has no such thing. Remainders
 * (split) and masters (bf16 weights with state fp32) are also found beside the weights (struct nf_named); gradients are those
 * of this step. nf_residency_types: the element type of each parameter's data. Both tables are valid until nf_residency_free.
 */
enum nf_kind { NF_WEIGHTS, NF_MOMENT1, NF_MOMENT2, NF_GRADIENTS, NF_REMAINDERS, NF_MASTERS, NF_KINDS };
int nf_residency_named(nf_residency *res, enum nf_kind kind, const nf_named **named);
const nf_dtype *nf_residency_types(const nf_residency *res, enum nf_kind kind);
nf_status nf_residency_init_random(nf_residency *res, uint64_t seed);

/* Parts of a micro-batch, as a stopwatch (device.h) tells them apart: a block's part is NF_PART_MIXER + its kind and has its
 * norm; the head has the final norm and, where a backward follows, its own gradients, which the loss makes. */
enum nf_part {
    NF_PART_STILL = NF_LAP_STILL,
    NF_PART_REST,
    NF_PART_EMBED,
    NF_PART_HEAD,
    NF_PART_MIXER,
    NF_PARTS = NF_PART_MIXER + NF_MIXER_KINDS
};

/* ---- running
 * ------------------------------------------------------------------------------------------------------------------- */
/*
 * A micro-batch is forward (to the final norm), loss, backward. The cut before the loss is where an overflow of the planned
 * exchange can still be answered by running the forward again.
 */
typedef struct nf_tape nf_tape; /* what a forward left for its backward: one for the run */
nf_status nf_tape_new(const nf_model *model, nf_tape **tape);
void nf_tape_free(nf_tape *tape);

/* Collective  over world (residency, exchange).   *hidden: [T, H] after the final norm, on the step arena */
nf_status nf_model_forward(nf_model *model, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *tape,
                           nf_tensor *hidden);
/* Adds scale x loss to the device double; run->train: leaves the gradient of hidden on the tape and writes the head's. */
nf_status nf_model_loss(nf_model *model, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *tape,
                        const float *scale, double *loss);
nf_status nf_model_backward(nf_model *model, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *tape);

#endif
