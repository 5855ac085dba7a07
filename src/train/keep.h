/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h: snapshots of a run: who may write into its directories, when a snapshot is taken, what happens when it cannot be,
 * which are kept; and going on from one.
 */
#ifndef NEMAFIT_TRAIN_KEEP_H
#define NEMAFIT_TRAIN_KEEP_H

#include "loop.h"
#include "nemafit/io/snapshot.h"
#include "tune.h"

/* What survives an interruption beside weights and moments. The same on every rank. */
struct run_state {
    int64_t step;    /* done */
    int64_t updates; /* AdamW's t */
    int64_t skipped; /* in a row */
    int64_t best_step;
    double best_loss, last_loss; /* of evaluations behind the first step; NaN: none */
    bool evaluation_due;         /* that of this step was broken off */
    double seconds;              /* that the run took before this start of the program */
};

/* ---- what a snapshot holds (state.c) ---------------------------------------------------------------------------------------
 */

struct state_fields {
    struct nf_snapshot_field field[6];
    int n;
};
/* Weights, moments and what else the optimizer keeps of each parameter; valid until the engine is freed. */
void nf_state_fields(struct engine *e, struct state_fields *f);
/*
 * Is every value of weights and moments finite? Otherwise NF_ENONFINITE, naming the tensor: a snapshot must not hold what a run
 * cannot go on from. Collective over world.
 */
nf_status nf_state_finite(struct engine *e);
/* Fingerprints of the model (config.json, names and shapes in the checkpoint) and of the data files. Collective over world. */
nf_status nf_state_fingerprints(const struct session *s, char model[65], char data[65]);

/* ---- writing (keep.c) ------------------------------------------------------------------------------------------------------
 */

struct keeper {
    struct session *s;
    nf_lease *lease, *log_lease; /* of snapshot.dir and log.dir; one of them if they are the same */
    char model[65], data[65];    /* fingerprints */
    struct engine *e;
    struct stepper *stepper;
    struct steplog *log;
    const struct run_state *state;
    struct choices choices; /* of kernels: of the snapshot gone on from, or of this run's GPU */
    struct stop *stop;
    struct nf_snapshot_watch watch;
    nf_snapshot_staging *staging;     /* for all of them */
    nf_snapshot *behind;              /* under way */
    double stood;                     /* seconds for which the run stood still for it, up to now */
    int64_t behind_step, behind_best; /* its step, and the best step when it was begun */
    int64_t newest;                   /* step of the last one that was committed or gone on from; -1: none */
    int64_t retry_step, retry_gap;    /* on_error = 'retry': try again from this step on; steps between tries */
};

/* Take the leases of log.dir and snapshot.dir. Collective over world. Errors  agreed: as nf_lease_take() */
nf_status nf_keeper_open(struct session *s, struct keeper *k);
/* Is there room for what will be written? Refused with on_error = 'stop', else a warning. Collective over world. */
nf_status nf_keeper_preflight(struct keeper *k);
/* Is one due behind this step for another reason than snapshot.every? */
bool nf_keeper_retries(const struct keeper *k, int64_t step);
/*
 * Take a snapshot of *k->state. last: nothing comes after it, so it is waited for, and a failure is returned whatever
 * on_error says ('pause' waits all the same). Collective over world. Errors  agreed
 */
nf_status nf_keeper_take(struct keeper *k, bool last);
/* At a step boundary: commit what was written behind the steps. block: wait for it. Collective over world. Errors  agreed */
nf_status nf_keeper_poll(struct keeper *k, bool block);
/* A run whose directory was taken by a later one meets first what that one removed. Its status, agreed, becomes NF_EEXISTS
 * then. Collective  world */
nf_status nf_keeper_lost(const struct keeper *k, nf_status status);
void nf_keeper_moved(void *mesh, int64_t bytes); /* of struct nf_snapshot_watch: tells the watchdog */
void nf_keeper_close(struct keeper *k);          /* what is under way is given up */

/* Exports that were made, so that one that a kill prevented is made up for. Rank 0 knows; the answer is everybody's. */
nf_status nf_keeper_exported(struct keeper *k, int64_t step, const char *path);
nf_status nf_keeper_export_missing(const struct keeper *k, int64_t step, const char *path, bool *missing);

/* ---- going on (resume.c)
 * ----------------------------------------------------------------------------------------------------- */

struct resume {
    nf_snapshot_reader *reader; /* NULL: begin anew */
    struct run_state state;
    int64_t csv_bytes; /* -1: a new table */
};
/*
 * Find the snapshot that snapshot.resume asks for, hold it to this run (input, model, data), put newer ones aside.
 * Collective over world.
 * Errors  agreed: NF_EUSAGE (the input differs: keys with both values), NF_EDATA (damaged; model or data differ), NF_EMISSING
 */
nf_status nf_resume_find(struct keeper *k, struct resume *r);
/* The choices of kernels that it holds, if any. Local. Errors  NF_ENOMEM */
nf_status nf_resume_choices(const struct resume *r, struct choices *known);
/* Its weights and moments into the engine; AdamW's count. Collective over world. */
nf_status nf_resume_load(struct resume *r, struct engine *e);
void nf_resume_close(struct resume *r);

#endif
