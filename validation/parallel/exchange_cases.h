/* SPDX-License-Identifier: Apache-2.0 */
/* exchange_cases.h: the tests of the token exchange, for memory of the host and of GPUs. */
#ifndef NEMAFIT_VALIDATION_PARALLEL_EXCHANGE_CASES_H
#define NEMAFIT_VALIDATION_PARALLEL_EXCHANGE_CASES_H

#include <mpi.h>

#include "world.h"

struct exchange_extent {
    bool brief;    /* fewer chunks and sizes of windows */
    bool fused;    /* 'fused' too, which then does not wait for the host where it has windows */
    int64_t waits; /* of the host, in the forward of a group of more than one; -1: any number */
};

/* For every ep that divides the ranks of comm. Collective over it; the world's arenas need 64 MiB each. */
void exchange_cases(struct world *w, MPI_Comm comm, const struct exchange_extent *extent);

#endif
