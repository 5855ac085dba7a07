# SPDX-License-Identifier: Apache-2.0
# What every part stands on; knows nobody.
libnf_a_SOURCES += \
	%D%/arena.c \
	%D%/die.c \
	%D%/digest.c \
	%D%/dir.c \
	%D%/dtype.c \
	%D%/file.c \
	%D%/json.c \
	%D%/json_pool.c \
	%D%/json_pool.h \
	%D%/json_scan.c \
	%D%/json_scan.h \
	%D%/log.c \
	%D%/path.c \
	%D%/pattern.c \
	%D%/range.c \
	%D%/rng.c \
	%D%/root.c \
	%D%/signals.c \
	%D%/status.c \
	%D%/str.c
