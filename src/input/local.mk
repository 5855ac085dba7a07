# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += %D%/private.h %D%/lexer.c %D%/values.c %D%/names.c %D%/namelist.c %D%/override.c %D%/table.c %D%/find.c %D%/convert.c \
	%D%/assign.c %D%/check.c %D%/compare.c %D%/message.c %D%/echo.c %D%/describe.c %D%/input.c
