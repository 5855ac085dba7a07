# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/private.h \
	%D%/open.c \
	%D%/text.c \
	%D%/mock.c \
	%D%/order.c \
	%D%/rows.c \
	%D%/decode.c
