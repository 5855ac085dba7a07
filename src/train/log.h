/* SPDX-License-Identifier: Apache-2.0 */
/* log.h: the table log.csv, one row a step. */
#ifndef NEMAFIT_TRAIN_LOG_H
#define NEMAFIT_TRAIN_LOG_H

#include "loop.h"

struct csv;
/* <dir>/log.csv. keep -1: a new table, an older one is kept as log.1.csv, log.2.csv, ...; else the table goes on behind its
 * first `keep` bytes, those of the steps that a snapshot holds. */
nf_status nf_csv_open(const char *dir, int64_t keep, struct csv **csv);
/* Length of the table, which is on the disk then: a snapshot must not be ahead of it. */
int64_t nf_csv_bytes(struct csv *csv);
void nf_csv_step(struct csv *csv, const struct step_result *r, int ranks, double flops_per_token);
void nf_csv_evaluation(struct csv *csv, int64_t step, const struct evaluation *v);
nf_status nf_csv_close(struct csv *csv);

#endif
