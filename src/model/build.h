/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build.h: how a family declares its parameters: each call adds a logical tensor, its disk tensors, and ties both to the
 * nf_param that layers read. Tables grow while a model is built; nf_param addresses are fixed from the start.
 */
#ifndef NEMAFIT_MODEL_BUILD_H
#define NEMAFIT_MODEL_BUILD_H

#include "nemafit/model.h"

struct nf_build {
    nf_model *model;
    const struct nf_model_choice *choice;
    nf_map_row *rows;
    int64_t row_count, row_cap;
    int param_cap;
    nf_status status; /* the first failure; later calls do nothing */
};

/* All parameters of a struct of nf_param as absent, before some are declared. */
void nf_build_absent(void *params, size_t bytes);
/* Weights of a block: zeroed conf and absent parameters. */
void nf_build_block(struct nf_build *b, nf_block *block, size_t conf_bytes, size_t weight_bytes);

enum nf_build_flags { NF_PLAIN = 0, NF_BUFFER = 1, NF_KEEP_FP32 = 2 };
/* A dense tensor that is one tensor on disk. disk_nd/disk_dim: its shape there (a middle 1 may be left out in memory). */
void nf_build_dense(struct nf_build *b, nf_param *p, int unit, int flags, int nd, const int64_t *dim, int disk_nd,
                    const int64_t *disk_dim, const char *fmt, ...) NF_PRINTF(9, 10);
void nf_build_vector(struct nf_build *b, nf_param *p, int unit, int flags, int64_t n, const char *fmt, ...) NF_PRINTF(6, 7);
void nf_build_matrix(struct nf_build *b, nf_param *p, int unit, int flags, int64_t rows, int64_t cols, const char *fmt, ...)
    NF_PRINTF(7, 8);
/* experts [E, rows, cols], one disk tensor an expert: "<prefix>.<e>.<suffix>"; logical name "<prefix>.<fused>". */
void nf_build_experts(struct nf_build *b, nf_param *p, int unit, int64_t experts, int64_t rows, int64_t cols,
                      const char *prefix, const char *suffix, const char *fused);
/* freeze and no_decay patterns -> flags of the descriptions; the map -> model->map. */
nf_status nf_build_finish(struct nf_build *b);

#endif
