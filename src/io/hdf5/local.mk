# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/private.h \
	%D%/crc32c.c \
	%D%/sha256.c \
	%D%/manifest.c \
	%D%/manifest_parse.c \
	%D%/image.h \
	%D%/image.c \
	%D%/types.c \
	%D%/rank_file.c \
	%D%/shown.c \
	%D%/file.c \
	%D%/dir.c \
	%D%/plan.c \
	%D%/staging.c \
	%D%/stream.c \
	%D%/begin.c \
	%D%/commit.c \
	%D%/check.c \
	%D%/open.c \
	%D%/verify.c \
	%D%/load.c \
	%D%/lease.c \
	%D%/list.c \
	%D%/prune.c
