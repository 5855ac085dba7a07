/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h: trials drawn from a seed, for the programs of this folder. NF_SEED (default 1) chooses which, NF_TRIALS how many;
 * scripts/faults sets both.
 */
#ifndef NEMAFIT_VALIDATION_FAULTS_TRIAL_H
#define NEMAFIT_VALIDATION_FAULTS_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

/* The stream of a test: different for each seed, each `salt`. */
uint64_t trial_start(uint64_t salt);
unsigned trial_draw(uint64_t *state, unsigned below); /* 0 ... below - 1 */
long trial_count(long usual);                         /* NF_TRIALS, or what is usual */
/* One line for the file NF_LEDGER, if there is one. */
void trial_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
