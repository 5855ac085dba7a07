/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.h: when a run ends before its last step: a signal came, or the time it was given runs out. Each rank looks for itself
 * and votes; votes are summed with the targets of the next step, so that all ranks stop in front of the same step.
 */
#ifndef NEMAFIT_TRAIN_STOP_H
#define NEMAFIT_TRAIN_STOP_H

#include "nemafit/mesh.h"
#include "nemafit/params.h"

enum { STOP_SIGNAL, STOP_WALL, STOP_VOTES };

struct stop {
    bool active;                       /* false: nobody asked for snapshots, so signals do what they do by default */
    double deadline;                   /* in nf_seconds(); HUGE_VAL: none */
    double margin;                     /* seconds that shall be left at the end */
    bool own_limit;                    /* the deadline is train.max_wall */
    bool measured;                     /* `snapshot` is no guess */
    double step, snapshot, evaluation; /* seconds that these took at most, lately */
};

/* Deadline from train.max_wall and SLURM_JOB_END_TIME. */
void nf_stop_new(const struct nf_params *p, struct stop *s);
/* This rank's votes as of now. */
void nf_stop_vote(const struct stop *s, int64_t votes[STOP_VOTES]);
/* Votes of all ranks now. Collective over world. Errors  fatal: NF_EPEER */
nf_status nf_stop_ask(const struct stop *s, const nf_mesh *mesh, bool *stop);
/*
 * The status and the diagnosis of a run that stops: NF_EPREEMPTED, "SIGTERM came: <what>"; or NF_EUSAGE if train.max_wall is so
 * short that nothing was done (progress false): the same command would do no better. The same on every rank. Collective over
 * world.
 */
nf_status nf_stop_status(const struct stop *s, const nf_mesh *mesh, bool progress, const char *what);

#endif
