# SPDX-License-Identifier: Apache-2.0
# Faults on purpose: calls of the system that fail or lie, files that change, processes that are killed, stopped and signalled.
# NF_SEED chooses which, NF_TRIALS how many; scripts/faults runs them in numbers.
check_PROGRAMS += %D%/t_write_errors.mpi %D%/t_mutations.mpi
nf_faults_trial = %D%/trial.c %D%/trial.h
%C%_t_write_errors_mpi_SOURCES = %D%/t_write_errors.c %D%/shim.c %D%/shim.h $(nf_faults_trial) $(nf_io_snaprig)
%C%_t_mutations_mpi_SOURCES = %D%/t_mutations.c $(nf_faults_trial) $(nf_io_snaprig)
%C%_t_write_errors_mpi_LDADD = $(LDADD) -ldl
