/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h: what the program says while it runs. Global messages come from rank 0 alone; local ones from any rank, with its
 * number. A clean run prints no warning and no error. The level and the rank are the only mutable state of base.
 */
#ifndef NEMAFIT_LOG_H
#define NEMAFIT_LOG_H

#include "nemafit/base.h"

enum nf_log_level {
    NF_LOG_QUIET, /* errors only */
    NF_LOG_NOTE,  /* default: start-up block, steps, warnings */
    NF_LOG_DEBUG
};

/* Until this is called the process counts as rank 0 of 1. `out` is stdout in the program, a file in tests; borrowed. */
void nf_log_open(int rank, int ranks, enum nf_log_level level, void *out_FILE);
int nf_log_rank(void);

void nf_note(const char *fmt, ...) NF_PRINTF(1, 2);       /* rank 0: one line of the run's story */
void nf_warn(const char *fmt, ...) NF_PRINTF(1, 2);       /* rank 0: something the user should change */
void nf_warn_local(const char *fmt, ...) NF_PRINTF(1, 2); /* this rank */
void nf_debug(const char *fmt, ...) NF_PRINTF(1, 2);      /* rank 0, level debug */

double nf_seconds(void); /* monotonic, since the first call of the process */

#endif
