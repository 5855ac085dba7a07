# SPDX-License-Identifier: Apache-2.0
# bad/: refused, with the report word for word in NAME.expect; good/: accepted, with the echo in NAME.expect; NAME.args: overrides.
check_PROGRAMS += %D%/t_memory %D%/t_input %D%/t_params %D%/t_fortran
%C%_t_input_SOURCES = %D%/t_input.c validation/files.c validation/files.h
%C%_t_params_SOURCES = %D%/t_params.c
%C%_t_memory_SOURCES = %D%/t_memory.c
%C%_t_fortran_SOURCES = %D%/t_fortran.c validation/files.c validation/files.h
EXTRA_DIST += %D%/reader.f90 %D%/bad %D%/good
