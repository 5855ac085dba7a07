# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += \
	%D%/new.c \
	%D%/view.c
