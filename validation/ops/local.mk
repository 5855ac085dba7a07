# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS +=
check_PROGRAMS += %D%/t_attention
%C%_t_attention_SOURCES = %D%/t_attention.c %D%/ref_attention.h %D%/oprig.h
check_PROGRAMS += %D%/t_ssd %D%/t_route %D%/t_order %D%/t_head
%C%_t_ssd_SOURCES = %D%/t_ssd.c %D%/ref_ssd.h %D%/oprig.h
%C%_t_route_SOURCES = %D%/t_route.c %D%/oprig.h
%C%_t_order_SOURCES = %D%/t_order.c %D%/oprig.h
%C%_t_head_SOURCES = %D%/t_head.c %D%/oprig.h
check_PROGRAMS += %D%/t_router_bias
%C%_t_router_bias_SOURCES = %D%/t_router_bias.c %D%/oprig.h
