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
check_PROGRAMS += %D%/t_vmath %D%/t_linear %D%/t_grouped %D%/t_norms %D%/t_conv %D%/t_embed %D%/t_adamw
%C%_t_vmath_SOURCES = %D%/t_vmath.c %D%/ref.h
%C%_t_linear_SOURCES = %D%/t_linear.c %D%/ref.h
%C%_t_grouped_SOURCES = %D%/t_grouped.c %D%/ref.h
%C%_t_norms_SOURCES = %D%/t_norms.c %D%/ref.h
%C%_t_conv_SOURCES = %D%/t_conv.c %D%/ref.h
%C%_t_embed_SOURCES = %D%/t_embed.c %D%/ref.h
%C%_t_adamw_SOURCES = %D%/t_adamw.c %D%/ref.h
check_PROGRAMS += %D%/t_state
%C%_t_state_SOURCES = %D%/t_state.c %D%/ref.h
check_PROGRAMS += %D%/t_mend_blas
%C%_t_mend_blas_SOURCES = %D%/t_mend_blas.c
nf_op_table = %D%/cuda_table.c %D%/cudarig.c %D%/cuda_trial.c %D%/cudarig.h %D%/cuda_compare.c %D%/cuda_repeat.c %D%/cuda_spoil.c %D%/cuda_rows.h \
	%D%/cuda_flat.c %D%/cuda_attention.c %D%/cuda_grouped.c %D%/cuda_linear.c %D%/cuda_norms.c %D%/cuda_optim.c \
	%D%/cuda_order.c %D%/cuda_route.c %D%/cuda_ssd.c %D%/cuda_tokens.c
check_PROGRAMS += %D%/t_cuda %D%/t_op_bounds
%C%_t_cuda_SOURCES = %D%/t_cuda.c $(nf_op_table)
%C%_t_op_bounds_SOURCES = %D%/t_op_bounds.c $(nf_op_table)
check_PROGRAMS += %D%/t_cuda_device
%C%_t_cuda_device_SOURCES = %D%/t_cuda_device.c
check_PROGRAMS += %D%/t_cuda_tuning
%C%_t_cuda_tuning_SOURCES = %D%/t_cuda_tuning.c
# Not tests: scripts/bench builds and runs them on a GPU.
EXTRA_PROGRAMS += %D%/bench_cuda %D%/repeat_cuda
%C%_repeat_cuda_SOURCES = %D%/repeat_cuda.c $(nf_op_table)
%C%_bench_cuda_SOURCES = %D%/bench_cuda.c
