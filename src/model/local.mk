libnf_a_SOURCES += %D%/build.h %D%/build.c %D%/config.h %D%/config.c %D%/families.h %D%/model.c %D%/describe.c \
	%D%/nemotron_h.h %D%/nemotron_h.c %D%/nemotron_h_blocks.c %D%/nemotron_h_init.c %D%/nemotron_h_names.c \
	%D%/residency.c %D%/residency_grads.c %D%/residency_state.c %D%/residency_init.c \
	%D%/residency.h %D%/tape.h %D%/tape.c %D%/forward.c %D%/backward.c
