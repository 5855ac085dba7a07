/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train.h: the commands of the program. All are collective over world and return the same status on every rank; what went wrong
 * is in the diagnosis (base.h). None prints an error.
 */
#ifndef NEMAFIT_TRAIN_H
#define NEMAFIT_TRAIN_H

#include "nemafit/input.h"
#include "nemafit/mesh.h"

/* mpi_comm as in nf_mesh_new. The input is complete but for what needs model and mesh. */
nf_status nf_train_run(nf_input *input, const void *mpi_comm, int ranks, int rank);
/* Validate everything, allocate nothing. mpi_comm NULL: as rank 0 of that many ranks would. */
nf_status nf_train_check(nf_input *input, const void *mpi_comm, int ranks, int rank);
/* Repeat the golden directory (logits, loss, gradients, six steps); prints each figure, last "golden: PASS" or "golden: FAIL".
 */
nf_status nf_train_golden(const char *dir, nf_input *input, const void *mpi_comm, int ranks, int rank);
/* Is the snapshot whole? One line a file; NF_OK, NF_EDATA or NF_EMISSING. */
nf_status nf_train_verify(const char *snapshot, const void *mpi_comm);
/* The weights of a snapshot as a checkpoint in dir. Model and export options are those of the snapshot's input.used.nml, with
 * the overrides. */
nf_status nf_train_export(const char *snapshot, const char *dir, char *const *overrides, int n, const void *mpi_comm);

#endif
