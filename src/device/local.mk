# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/copy.c \
	%D%/cuda.c \
	%D%/device.c \
	%D%/event.c \
	%D%/graph.c \
	%D%/host.c \
	%D%/plugin.c \
	%D%/private.h \
	%D%/queue.c %D%/room.c \
	%D%/stopwatch.c
%D%/plugin.$(OBJEXT): AM_CPPFLAGS += -DNF_PLUGIN_DIR='"$(pkglibexecdir)"'

nf_gpu_sources += %D%/cuda/cuda.h %D%/cuda/device.c %D%/cuda/open.c %D%/cuda/queue.c
