# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS +=
check_PROGRAMS += %D%/t_attention
%C%_t_attention_SOURCES = %D%/t_attention.c %D%/oprig.h
