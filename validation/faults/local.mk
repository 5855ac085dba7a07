# SPDX-License-Identifier: Apache-2.0
# Faults on purpose: calls of the system that fail or lie, files that change, processes that are killed, stopped and signalled.
# NF_SEED chooses which, NF_TRIALS how many; scripts/faults runs them in numbers.
check_PROGRAMS += %D%/t_write_errors.mpi %D%/t_mutations.mpi
nf_faults_trial = %D%/trial.c %D%/trial.h
%C%_t_write_errors_mpi_SOURCES = %D%/t_write_errors.c %D%/shim.c %D%/shim.h $(nf_faults_trial) $(nf_io_snaprig)
%C%_t_mutations_mpi_SOURCES = %D%/t_mutations.c $(nf_faults_trial) $(nf_io_snaprig)
%C%_t_write_errors_mpi_LDADD = $(LDADD) -ldl

# whole runs, with the shim between them and the system
nf_faults_runs = %D%/kills.sh %D%/calls.sh %D%/errors.sh %D%/full.sh %D%/overlap.sh %D%/signals.sh %D%/hang.sh
TESTS += $(nf_faults_runs)
EXTRA_DIST += $(nf_faults_runs) %D%/lib.sh %D%/digest.pl
EXTRA_PROGRAMS += %D%/shim.so
CLEANFILES += %D%/shim.so
%C%_shim_so_SOURCES = %D%/shim.c %D%/shim.h
%C%_shim_so_CFLAGS = -std=gnu11 $(NF_WARNINGS) $(WERROR_CFLAGS) -O2 -fPIC
%C%_shim_so_LINK = $(CC) -shared -o $@
%C%_shim_so_LDADD = -ldl
nf_faults_need = src/nemafit$(EXEEXT) %D%/shim.so
%D%/kills.log %D%/calls.log %D%/errors.log %D%/full.log: $(nf_faults_need)
%D%/overlap.log %D%/signals.log %D%/hang.log: $(nf_faults_need)

# what goes wrong on a GPU; without nvcc the test says so
TESTS += %D%/gpu_faults.sh
EXTRA_DIST += %D%/gpu_faults.sh
EXTRA_PROGRAMS += %D%/gpu_shim.so
CLEANFILES += %D%/gpu_shim.so
%C%_gpu_shim_so_SOURCES = %D%/gpu_shim.c %D%/gpu_shim.h %D%/gpu_fault.cu
%C%_gpu_shim_so_CFLAGS = -std=gnu11 $(NF_WARNINGS) $(WERROR_CFLAGS) -O2 -fPIC
%C%_gpu_shim_so_LINK = $(NVCC) $(NVCC_GENCODE) -shared -cudart shared -o $@
%C%_gpu_shim_so_LDADD = $(NVCC_LDFLAGS) -ldl
if HAVE_CUDA
nf_gpu_shim = %D%/gpu_shim.so
endif
%D%/gpu_faults.log: src/nemafit$(EXEEXT) $(nf_gpu_shim)
