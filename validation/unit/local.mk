# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += \
	%D%/t_arena \
	%D%/t_device \
	%D%/t_dtype \
	%D%/t_file \
	%D%/t_json \
	%D%/t_log \
	%D%/t_nomem \
	%D%/t_rng \
	%D%/t_status \
	%D%/t_str \
	%D%/t_tensor
%C%_t_arena_SOURCES = %D%/t_arena.c
%C%_t_device_SOURCES = %D%/t_device.c
%C%_t_dtype_SOURCES = %D%/t_dtype.c
%C%_t_file_SOURCES = %D%/t_file.c
%C%_t_json_SOURCES = %D%/t_json.c
%C%_t_log_SOURCES = %D%/t_log.c
%C%_t_nomem_SOURCES = %D%/t_nomem.c
%C%_t_rng_SOURCES = %D%/t_rng.c
%C%_t_status_SOURCES = %D%/t_status.c
%C%_t_str_SOURCES = %D%/t_str.c
%C%_t_tensor_SOURCES = %D%/t_tensor.c
check_PROGRAMS += %D%/t_schedule %D%/t_model %D%/t_config
%C%_t_schedule_SOURCES = %D%/t_schedule.c
%C%_t_model_SOURCES = %D%/t_model.c
%C%_t_config_SOURCES = %D%/t_config.c
check_PROGRAMS += %D%/t_digest
%C%_t_digest_SOURCES = %D%/t_digest.c
