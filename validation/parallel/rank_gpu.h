/* SPDX-License-Identifier: Apache-2.0 */
/* rank_gpu.h: a GPU for a rank of a test. */
#ifndef NEMAFIT_VALIDATION_PARALLEL_RANK_GPU_H
#define NEMAFIT_VALIDATION_PARALLEL_RANK_GPU_H

#include <mpi.h>

#include "nemafit/device.h"

/* The GPU of this rank's number on its node, which may be another rank's too. NULL on all ranks if any has none: rank 0 then
 * prints why, as a test that is skipped. Collective over comm. */
nf_device *rank_gpu(MPI_Comm comm);

#endif
