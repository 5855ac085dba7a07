/* SPDX-License-Identifier: Apache-2.0 */
/* log.h: the table log.csv, one row a step. */
#ifndef NEMAFIT_TRAIN_LOG_H
#define NEMAFIT_TRAIN_LOG_H

#include "loop.h"

struct csv;
/* <dir>/log.csv; an older one is kept as log.1.csv, log.2.csv, ... */
nf_status nf_csv_open(const char *dir, struct csv **csv);
void nf_csv_step(struct csv *csv, const struct step_result *r, int ranks, double flops_per_token);
void nf_csv_evaluation(struct csv *csv, int64_t step, const struct evaluation *v);
nf_status nf_csv_close(struct csv *csv);

#endif
