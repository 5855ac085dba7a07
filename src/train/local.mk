# SPDX-License-Identifier: Apache-2.0
libnf_a_SOURCES += %D%/tune.h %D%/tune.c %D%/gpu_memory.h %D%/gpu_memory.c
libnf_a_SOURCES += %D%/engine.h %D%/engine.c %D%/memory.c %D%/model_setup.c %D%/load.c %D%/export.c %D%/fits.c %D%/batch.h %D%/batch.c %D%/vars.c \
	%D%/step.h %D%/step.c %D%/evaluate.c %D%/sample.c %D%/start.c %D%/log.h %D%/profile.h %D%/profile.c %D%/steplog.c %D%/csv.c %D%/loop.h %D%/loop.c \
	%D%/run.c %D%/check.c %D%/stop.h %D%/stop.c %D%/keep.h %D%/keep.c %D%/keep_open.c %D%/state.c %D%/resume.c \
	%D%/aside.h %D%/aside.c %D%/exports.h %D%/exports.c %D%/golden.h %D%/golden.c %D%/golden_open.c %D%/golden_compare.c %D%/golden_half.c %D%/golden_steps.c
