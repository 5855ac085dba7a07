/* SPDX-License-Identifier: Apache-2.0 */
/* moe.h: what the forward and the backward of the MoE layer share: shapes of a slice, its views, its order, its spare memory.
 */
#ifndef NEMAFIT_LAYERS_MOE_H
#define NEMAFIT_LAYERS_MOE_H

#include "mixers.h"

/* Sizes that follow from configuration, mesh and tokens_max alone. */
struct nf_moe_size {
    struct nf_xshape shape;
    int64_t in;       /* X: width of an expert's input */
    int64_t pre;      /* columns of a pre-activation */
    int64_t rows;     /* token rows a slice receives, at most */
    int64_t expanded; /* expert rows of a slice, at most */
    int experts;      /* local */
    bool may_overflow;
};
struct nf_moe_size nf_moe_size(const nf_run *run, const struct nf_moe_conf *c);

/* Tables of one order on the low end; chunks > 1: those of all chunks, one after the other. */
nf_status nf_moe_order_new(nf_run *run, const struct nf_moe_size *n, int chunks, struct nf_order *order);
/* The order of a kept chunk's slice. */
struct nf_order nf_moe_order_of(const struct nf_moe_keep *k, const struct nf_moe_size *n, int chunk);
/* The groups of one slice, and those of all kept slices together. */
struct nf_groups nf_moe_groups(const struct nf_order *order);
struct nf_groups nf_moe_all_groups(const struct nf_moe_keep *k, const struct nf_moe_size *n, int chunks);

/* Where a slice works: the kept memory of its chunk, or the spare one. */
struct nf_moe_slice {
    struct nf_order order;
    struct nf_groups groups;
    nf_tensor rows, pre; /* [expanded, X or pre] */
};
struct nf_moe_slice nf_moe_slice_of(const struct nf_moe_keep *k, const struct nf_moe_size *n, const struct nf_moe_slice *spare,
                                    const struct nf_slice *slice);
/* Memory for slices beyond the planned ones; nothing where they cannot be. */
nf_status nf_moe_spare_new(nf_run *run, const struct nf_moe_conf *c, const struct nf_moe_size *n, struct nf_moe_slice *spare);

/* Received token rows as a tensor. */
static inline nf_tensor nf_moe_received_rows(const struct nf_received *r, const struct nf_moe_size *n)
{
    return nf_matrix((void *)r->rows, n->shape.dtype, n->rows, n->in, n->in);
}

/* A chunk has come home whole: y's rows of its tokens += (or =) the sum of what the ranks of ep returned; weights, if wanted,
 * take the sides. */
nf_status nf_moe_combine(nf_run *run, const struct nf_moe_keep *k, const struct nf_moe_size *n, int chunk, const nf_tensor *y,
                         float *weights, bool onto_y);

nf_status nf_moe_forward(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const void *conf, void *weights,
                         union nf_keep *keep);
nf_status nf_moe_backward(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x, const void *conf,
                          void *weights, union nf_keep *keep);

#endif
