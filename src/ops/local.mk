# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += %D%/backend.h %D%/backend.c %D%/call.h %D%/call.c %D%/check.h %D%/check.c \
	%D%/cpu/cpu.h %D%/cpu/scratch.h %D%/cpu/table.c %D%/cpu/vmath.h %D%/cpu/half.h \
	%D%/cpu/blas.h %D%/cpu/blas.c %D%/cpu/mend_blas.c %D%/cpu/tiles.h %D%/cpu/tiles.c
