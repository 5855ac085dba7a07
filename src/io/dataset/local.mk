# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/private.h \
	%D%/stored.h \
	%D%/hdf5.c \
	%D%/superblock.c \
	%D%/fence.c \
	%D%/inspect.c \
	%D%/bytes.c \
	%D%/values.c \
	%D%/pieces.c \
	%D%/tokenizer.c \
	%D%/open.c \
	%D%/text.c \
	%D%/mock.c \
	%D%/order.c \
	%D%/rows.c \
	%D%/decode.c
