/* SPDX-License-Identifier: Apache-2.0 */
/* profile.h: where the time of a step goes: by kind of block, forward and backward, over all steps of a run. */
#ifndef NEMAFIT_TRAIN_PROFILE_H
#define NEMAFIT_TRAIN_PROFILE_H

#include "engine.h"

/* Sums over the steps, of this rank; {0} to begin with. */
struct profile {
    int64_t steps;
    double seconds[PHASES][NF_PARTS];
};

/* The laps of one step. The first step does not count once there is a second: its kernels and pages are met for the first time.
 */
void nf_profile_add(struct profile *p, double seconds[NF_LAP_PHASES][NF_LAP_PARTS]);
/*
 * Tells the table and writes it to <dir>/profile.csv: a row a part, milliseconds a step, for each phase the mean over the ranks
 * and the slowest rank's. Nothing if there was no step.
 * Collective  over world      Errors  agreed
 */
nf_status nf_profile_report(const struct profile *p, const nf_mesh *mesh, const nf_model *model, const char *dir);

#endif
