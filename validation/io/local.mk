# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += %D%/t_header
%C%_t_header_SOURCES = %D%/t_header.c %D%/make.c %D%/make.h
