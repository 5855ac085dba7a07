/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choices.h: what a user can choose between, as the namelist spells it. Plain numbers that the parameter table, the layers and
 * the files of a run share; written into snapshots: append only.
 */
#ifndef NEMAFIT_CHOICES_H
#define NEMAFIT_CHOICES_H

enum nf_auto { NF_AUTO = -1 };
enum nf_init { NF_INIT_CHECKPOINT, NF_INIT_RANDOM };
enum nf_recompute { NF_RECOMPUTE_NONE, NF_RECOMPUTE_SELECTIVE, NF_RECOMPUTE_BLOCK };
enum nf_data_format { NF_FORMAT_HDF5, NF_FORMAT_TEXT, NF_FORMAT_MOCK };
enum nf_shard { NF_SHARD_NONE, NF_SHARD_STATE, NF_SHARD_FULL };
enum nf_dispatch { NF_ALLGATHER, NF_ALLTOALL, NF_FUSED };
enum nf_gate { NF_GATE_ROUTER, NF_GATE_RANDOM, NF_GATE_CONTIGUOUS, NF_GATE_GIVEN /* not for users: ops.h, nf_route */ };
enum nf_aux_mode { NF_AUX_HF, NF_AUX_AUTOMODEL };
enum nf_schedule { NF_CONSTANT, NF_LINEAR, NF_COSINE, NF_WSD };
enum nf_state_scheme { NF_STATE_FP32, NF_STATE_SPLIT, NF_STATE_BF16 };
enum nf_backend_device { NF_DEVICE_AUTO, NF_DEVICE_CPU, NF_DEVICE_CUDA };
enum nf_experts { NF_EXPERTS_EAGER, NF_EXPERTS_BATCHED, NF_EXPERTS_GROUPED };
enum nf_attention_backend { NF_ATTN_REFERENCE, NF_ATTN_FLASH, NF_ATTN_CUDNN };
enum nf_on_error { NF_ON_ERROR_STOP, NF_ON_ERROR_RETRY, NF_ON_ERROR_PAUSE };
enum nf_export_dtype { NF_EXPORT_SOURCE, NF_EXPORT_BF16, NF_EXPORT_FP32, NF_EXPORT_FP16 };

#endif
