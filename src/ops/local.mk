# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += %D%/backend.h %D%/backend.c %D%/call.h %D%/call.c %D%/scratch.h %D%/check.h %D%/check.c \
	%D%/cpu/cpu.h %D%/cpu/scratch.h %D%/router_bias.c %D%/cpu/router_bias.c %D%/cpu/table.c %D%/cpu/vmath.h %D%/cpu/half.h \
	%D%/cpu/blas.h %D%/cpu/blas.c %D%/cpu/mend_blas.c %D%/cpu/tiles.h %D%/cpu/tiles.c
libnf_a_SOURCES += %D%/attention.c %D%/ssd.c %D%/route.c %D%/order.c %D%/head.c \
	%D%/cpu/lanes.h %D%/cpu/lanes.c %D%/cpu/attention.h %D%/cpu/attention.c %D%/cpu/attention_bwd.c \
	%D%/cpu/ssd.h %D%/cpu/ssd_prepare.c %D%/cpu/ssd.c %D%/cpu/ssd_bwd.h %D%/cpu/ssd_bwd.c %D%/cpu/ssd_bwd_chunk.c \
	%D%/cpu/route.c %D%/cpu/order.c %D%/cpu/head.c
libnf_a_SOURCES += %D%/embed.c %D%/add_norm.c %D%/gated_norm.c %D%/conv_silu.c %D%/flat.c %D%/adamw.c \
	%D%/cpu/parts.h %D%/cpu/parts.c %D%/cpu/embed.c %D%/cpu/add_norm.c %D%/cpu/gated_norm.c %D%/cpu/conv_silu.c \
	%D%/cpu/flat.c %D%/cpu/noise.h %D%/cpu/adamw.c
libnf_a_SOURCES += %D%/linear.c %D%/grouped.c %D%/cpu/act.h %D%/cpu/act.c %D%/cpu/mats.h %D%/cpu/mats.c \
	%D%/cpu/block.h %D%/cpu/block.c %D%/cpu/linear.c %D%/cpu/grouped.h %D%/cpu/grouped.c %D%/cpu/grouped_wgrad.c

# Sizes are the program's; slots and kernels go into the plug-in.
libnf_a_SOURCES += %D%/tuning.c
libnf_a_SOURCES += %D%/cuda/sizes.h %D%/cuda/layout.h %D%/cuda/sizes_attention.h %D%/cuda/sizes_gemm.h %D%/cuda/sizes_grouped.h \
	%D%/cuda/sizes_rows.h %D%/cuda/sizes_ssd.h
nf_gpu_sources += %D%/cuda/slots.h %D%/cuda/table.c %D%/cuda/kit.cuh %D%/cuda/flat.cu %D%/cuda/parts.cu \
	%D%/cuda/add_norm.cu %D%/cuda/gated_norm.cu %D%/cuda/conv_silu.cu \
	%D%/cuda/philox.cuh %D%/cuda/embed.cu %D%/cuda/route.cu %D%/cuda/order.cu %D%/cuda/moving.cu %D%/cuda/adamw.cu \
	%D%/cuda/gemm.h %D%/cuda/lt.h %D%/cuda/lt.c %D%/cuda/lt_tuning.c %D%/cuda/product.cu %D%/cuda/act.cuh %D%/cuda/linear.cu %D%/cuda/head.cu
nf_gpu_sources += %D%/cuda/tile.cuh %D%/cuda/ssd.cuh %D%/cuda/ssd_prepare.cu %D%/cuda/ssd.cu %D%/cuda/ssd_bwd.cuh \
	%D%/cuda/ssd_bwd.cu %D%/cuda/ssd_bwd_chunk.cu
nf_gpu_sources += %D%/cuda/maps.h %D%/cuda/maps.c %D%/cuda/hopper.cuh %D%/cuda/strips.cuh
nf_gpu_sources += %D%/cuda/grouped.h %D%/cuda/grouped_plan.h %D%/cuda/grouped.c %D%/cuda/grouped_tiles.cuh \
	%D%/cuda/grouped_rows.cuh %D%/cuda/grouped_forward.cu %D%/cuda/grouped_dgrad.cu %D%/cuda/grouped_wgrad.cu \
	%D%/cuda/grouped_plain.cu %D%/cuda/grouped_sums.cu
nf_gpu_sources += %D%/cuda/grouped_products.h %D%/cuda/grouped_eager.c %D%/cuda/grouped_batched.c %D%/cuda/grouped_pack.cu
nf_gpu_sources += %D%/cuda/attention.h %D%/cuda/attention.c %D%/cuda/attention_tile.cuh %D%/cuda/attention_forward.cu \
	%D%/cuda/attention_backward.cu %D%/cuda/attention_plain.cu %D%/cuda/attention_prepare.cu
nf_gpu_sources += %D%/cuda/launch.h %D%/cuda/dnn.h %D%/cuda/dnn.c %D%/cuda/attention_graph.h %D%/cuda/attention_graph.c \
	%D%/cuda/attention_dnn.h %D%/cuda/attention_dnn.c
