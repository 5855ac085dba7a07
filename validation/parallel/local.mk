# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += %D%/t_agree.mpi %D%/t_collectives.mpi %D%/t_exchange.mpi %D%/t_mesh.mpi %D%/t_virtual
%C%_t_agree_mpi_SOURCES = %D%/t_agree.c %D%/world.c %D%/world.h
%C%_t_collectives_mpi_SOURCES = %D%/t_collectives.c %D%/collective_cases.c %D%/collective_cases.h %D%/world.c %D%/world.h
%C%_t_exchange_mpi_SOURCES = %D%/t_exchange.c %D%/exchange_cases.c %D%/exchange_cases.h %D%/fake_moe.c %D%/fake_moe.h %D%/world.c %D%/world.h
%C%_t_mesh_mpi_SOURCES = %D%/t_mesh.c %D%/world.c %D%/world.h
%C%_t_virtual_SOURCES = %D%/t_virtual.c %D%/world.c %D%/world.h
check_PROGRAMS += %D%/t_step.mpi
%C%_t_step_mpi_SOURCES = %D%/t_step.c
check_PROGRAMS += %D%/t_bf16.mpi
%C%_t_bf16_mpi_SOURCES = %D%/t_bf16.c
check_PROGRAMS += %D%/t_watch.mpi %D%/t_hang
%C%_t_watch_mpi_SOURCES = %D%/t_watch.c %D%/world.c %D%/world.h
%C%_t_hang_SOURCES = %D%/t_hang.c %D%/world.c %D%/world.h
check_PROGRAMS += %D%/t_gpumesh.mpi
%C%_t_gpumesh_mpi_SOURCES = %D%/t_gpumesh.c %D%/collective_cases.c %D%/collective_cases.h %D%/exchange_cases.c \
	%D%/exchange_cases.h %D%/fake_moe.c %D%/fake_moe.h %D%/rank_gpu.c %D%/rank_gpu.h %D%/world.c %D%/world.h
check_PROGRAMS += %D%/t_gpurows
%C%_t_gpurows_SOURCES = %D%/t_gpurows.c %D%/world.c %D%/world.h
%C%_t_gpurows_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
TESTS += %D%/gpumesh.sh
EXTRA_DIST += %D%/gpumesh.sh %D%/fake_gpu.c %D%/fake_gpu.h %D%/fake_comm.c
%D%/gpumesh.log: %D%/t_gpumesh.mpi$(EXEEXT) %D%/t_gpurows$(EXEEXT)
EXTRA_PROGRAMS += %D%/bench_exchange
%C%_bench_exchange_SOURCES = %D%/bench_exchange.c %D%/rank_gpu.c %D%/rank_gpu.h %D%/world.c %D%/world.h
