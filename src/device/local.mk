# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/copy.c \
	%D%/event.c \
	%D%/host.c \
	%D%/private.h \
	%D%/queue.c
