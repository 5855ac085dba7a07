/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.h: what a run was asked to do: one sub-struct a namelist group, one field a key. Names, types, units, defaults, ranges
 * and help stand once, in src/input/table.c; this is where the values go.
 */
#ifndef NEMAFIT_PARAMS_H
#define NEMAFIT_PARAMS_H

#include "nemafit/base.h"
#include "nemafit/choices.h"
#include "nemafit/str.h"

#define NF_PATH_MAX 4096

/* Enumerated keys hold the enum's value in an int, NF_AUTO where 'auto' is allowed; strings are malloc'd, NULL if not set. */
struct nf_params {
    struct {
        char *path;    /* checkpoint directory, or with init='random' one that holds config.json */
        int init;      /* nf_init */
        int dtype;     /* nf_dtype, or NF_AUTO: bf16 on a GPU, fp32 on a CPU */
        int recompute; /* nf_recompute */
        nf_strings freeze;
        bool strict;
        bool dt_floor_compat;
    } model;
    struct {
        nf_strings train, valid;
        int format;      /* nf_data_format */
        int64_t seq_len; /* tokens; 0: as the data say */
        bool shuffle;
        int64_t seed;
    } data;
    struct {
        int64_t ep;
        int shard;    /* nf_shard */
        int dispatch; /* enum nf_dispatch */
        int64_t chunks;
        double recv_factor;
    } parallel;
    struct {
        int64_t steps;                     /* 0: by epochs */
        double epochs;                     /* 0: by steps */
        int64_t local_batch, global_batch; /* rows; global 0: ranks x local */
        int64_t eval_every, eval_batches;
        int64_t seed;
        int gate; /* enum nf_gate */
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
        int state;      /* enum nf_state_scheme */
        int grad_dtype; /* nf_dtype or NF_AUTO */
    } optim;
    struct {
        int device;    /* nf_backend_device */
        int experts;   /* enum nf_experts */
        int attention; /* enum nf_attention_backend, or NF_AUTO */
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
