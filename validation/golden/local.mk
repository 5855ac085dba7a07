# SPDX-License-Identifier: Apache-2.0
# Logits, losses, gradients and six steps against transformers, on every mesh, expert back end and dispatch.
check_PROGRAMS += %D%/t_golden.mpi
%C%_t_golden_mpi_SOURCES = %D%/t_golden.c
EXTRA_DIST += %D%/README.md %D%/nemotron_h %D%/nemotron_h_grouped_router %D%/nemotron_h_packed %D%/nemotron_h_bf16
