libnf_a_SOURCES += %D%/mixers.h %D%/mixers.c %D%/mamba.c %D%/attention.c %D%/mlp.c \
	%D%/moe.h %D%/moe.c %D%/moe_forward.c %D%/moe_backward.c
