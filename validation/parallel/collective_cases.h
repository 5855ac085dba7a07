/* SPDX-License-Identifier: Apache-2.0 */
/* collective_cases.h: the tests of collectives on queues, for memory of the host and of GPUs. */
#ifndef NEMAFIT_VALIDATION_PARALLEL_COLLECTIVE_CASES_H
#define NEMAFIT_VALIDATION_PARALLEL_COLLECTIVE_CASES_H

#include <mpi.h>

#include "world.h"

enum { COLLECTIVE_LONG = 1000003 };

/* For every ep that divides the ranks of comm; one sum of `longest` numbers. Collective over comm; on a GPU the world's arenas
 * need 128 MiB. */
void collective_cases(struct world *w, MPI_Comm comm, int64_t longest);

/* Numbers first .. first + n - 1 of a rank; and their sum over the group as it is defined, from `was` if that is not NULL. */
void collective_fill(void *x, nf_dtype t, int64_t n, int rank, int64_t first);
void collective_serial(const nf_mesh *mesh, enum nf_axis axis, void *sum, const void *was, nf_dtype t, int64_t n,
                       int64_t first);

#endif
