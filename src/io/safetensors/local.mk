# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/private.h \
	%D%/scan.c \
	%D%/prefix.c \
	%D%/spans.c \
	%D%/header.c \
	%D%/index.c \
	%D%/file.c \
	%D%/table.c \
	%D%/open.c \
	%D%/link.c \
	%D%/check.c \
	%D%/convert.c \
	%D%/load.c \
	%D%/jobs.c \
	%D%/read.c \
	%D%/layout.c \
	%D%/owners.c \
	%D%/dir.c \
	%D%/carry.c \
	%D%/write.c
