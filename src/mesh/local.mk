# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/agree.c \
	%D%/beat.h \
	%D%/collectives.c \
	%D%/comm.h \
	%D%/comm_mpi.c \
	%D%/comm_nccl.c \
	%D%/comm_staged.c \
	%D%/exchange.c \
	%D%/exchange.h \
	%D%/gpu_comm.h \
	%D%/gpu_window.h \
	%D%/host.c \
	%D%/mesh.c \
	%D%/mpi.c \
	%D%/op.c \
	%D%/private.h \
	%D%/sum.c \
	%D%/watch.c \
	%D%/watch.h \
	%D%/watch_node.c \
	%D%/watch_start.c \
	%D%/watch_tell.c \
	%D%/xalone.c \
	%D%/xcounts.c \
	%D%/xdevice.c \
	%D%/xhost.c \
	%D%/xnccl.c \
	%D%/xpeer.c \
	%D%/xplan.c \
	%D%/xreturn.c \
	%D%/xsend.c \
	%D%/xshape.c \
	%D%/xstaged.c \
	%D%/xtrip.c \
	%D%/xwindow.c

nf_gpu_sources += %D%/cuda/table.c %D%/cuda/comm.h %D%/cuda/exchange.cu %D%/cuda/kernels.cu %D%/cuda/nccl.c \
	%D%/cuda/window.c %D%/cuda/window.cu %D%/cuda/window_count.cuh %D%/cuda/window_sync.cuh
