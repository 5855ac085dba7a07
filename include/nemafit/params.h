/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.h: what a run was asked to do: one sub-struct a namelist group, one field a key. Names, types, units, defaults, ranges and
 * help stand once, in src/input/table.c; this is where the values go.
 */
#ifndef NEMAFIT_PARAMS_H
#define NEMAFIT_PARAMS_H

#include "nemafit/base.h"

#define NF_PATH_MAX 4096

/* A list of strings, as namelist arrays give it. */
typedef struct nf_strings {
    char **item;
    int count;
} nf_strings;

enum nf_auto { NF_AUTO = -1 };
enum nf_init { NF_INIT_CHECKPOINT, NF_INIT_RANDOM };
enum nf_recompute { NF_RECOMPUTE_NONE, NF_RECOMPUTE_SELECTIVE, NF_RECOMPUTE_BLOCK };
enum nf_data_format { NF_FORMAT_HDF5, NF_FORMAT_TEXT, NF_FORMAT_MOCK };
enum nf_shard { NF_SHARD_NONE, NF_SHARD_STATE, NF_SHARD_FULL };
enum nf_schedule { NF_CONSTANT, NF_LINEAR, NF_COSINE, NF_WSD };
enum nf_aux_mode { NF_AUX_HF, NF_AUX_AUTOMODEL };
enum nf_backend_device { NF_DEVICE_AUTO, NF_DEVICE_CPU, NF_DEVICE_CUDA };
enum nf_on_error { NF_ON_ERROR_STOP, NF_ON_ERROR_RETRY, NF_ON_ERROR_PAUSE };
enum nf_resume { NF_RESUME_AUTO, NF_RESUME_NEVER, NF_RESUME_DIR };
enum nf_export_dtype { NF_EXPORT_SOURCE, NF_EXPORT_BF16, NF_EXPORT_FP32, NF_EXPORT_FP16 };

/* Enumerated keys hold the enum's value in an int, NF_AUTO where 'auto' is allowed; strings are malloc'd, NULL if not set. */
struct nf_params {
    struct {
        char *path;      /* checkpoint directory, or with init='random' one that holds config.json */
        int init;        /* nf_init */
        int dtype;       /* nf_dtype, or NF_AUTO: bf16 on a GPU, fp32 on a CPU */
        int recompute;   /* nf_recompute */
        nf_strings freeze;
        bool strict;
        bool dt_floor_compat;
    } model;
    struct {
        nf_strings train, valid;
        int format; /* nf_data_format */
        int64_t seq_len; /* tokens; 0: as the data say */
        bool shuffle;
        int64_t seed;
    } data;
    struct {
        int64_t ep;
        int shard;    /* nf_shard */
        int dispatch; /* enum nf_dispatch of mesh.h */
        int64_t chunks;
        double recv_factor;
    } parallel;
    struct {
        int64_t steps;   /* 0: by epochs */
        double epochs;   /* 0: by steps */
        int64_t local_batch, global_batch; /* rows; global 0: ranks x local */
        int64_t eval_every, eval_batches;
        int64_t seed;
        int gate; /* enum nf_gate of ops.h */
        double aux_loss;
        int aux_mode;
        double router_bias_rate;
        int64_t mtp_depth; /* NF_AUTO: as config.json says */
        bool mtp_repeat;
        double mtp_scale;
        double clip; /* 0: none */
        int64_t max_skipped;
        double hang_timeout, max_wall; /* seconds; 0: none */
    } train;
    struct {
        double lr, min_lr;
        int64_t warmup; /* steps */
        int schedule;
        double decay_share; /* wsd: last part of the run in which lr falls */
        double beta1, beta2, eps, weight_decay;
        nf_strings no_decay;
        int state;      /* enum nf_state_scheme of ops.h */
        int grad_dtype; /* nf_dtype or NF_AUTO */
    } optim;
    struct {
        int device;    /* nf_backend_device */
        int experts;   /* enum nf_experts of ops.h */
        int attention; /* enum nf_attention_backend of ops.h, or NF_AUTO */
        bool deterministic;
        int64_t threads;
    } backend;
    struct {
        char *dir;
        int64_t every, keep;
        bool keep_best, async;
        char *resume; /* "auto", "never" or a directory */
        int on_error;
    } snapshot;
    struct {
        char *dir;
        int64_t every;
        int dtype; /* nf_export_dtype */
        double shard_gb;
    } export_;
    struct {
        char *dir;
        int64_t every;
        bool progress, csv, profile;
        char *sample_prompt;
        int64_t sample_tokens;
        double sample_temperature;
    } log;
    struct {
        int64_t warmup, steps, emulate_ep;
        char *table;
    } benchmark;
    struct {
        bool sync_ops, check_finite;
    } debug;
};

#endif
