/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h: gradients of parameters that are sums over rows. The rows are cut into at most NF_PARTS parts; each part sums in
 * fp32 into its own row of scratch, and the parts are added in order: the same bits with any number of threads.
 */
#ifndef NEMAFIT_OPS_CPU_PARTS_H
#define NEMAFIT_OPS_CPU_PARTS_H

#include "lanes.h"
#include "tiles.h"

enum { NF_PARTS = 16 };

/* Never less than one part, which may be empty: gradients are written without rows too. */
static inline struct nf_cut nf_cut_parts(int64_t rows)
{
    int64_t most = (rows + NF_PARTS - 1) / NF_PARTS;

    return nf_cut_of(rows, most > 32 ? most : 32, 1);
}

/* Rows of so many elements, some 64 KiB a tile: for loops that leave no sums. */
static inline struct nf_cut nf_cut_rows(int64_t rows, int64_t width)
{
    int64_t most = 16384 / (width > 0 ? width : 1);

    return nf_cut_of(rows, most > 1 ? most : 1, 1);
}

/* n elements of a gradient from `at` on: = or += src, rounded once. */
void nf_grad_write(nf_grad g, int64_t at, const float *src, int64_t n);
/* A gradient of n elements without gaps (n_out data NULL: nothing) from the parts [count][n], which are overwritten. */
void nf_parts_add(nf_queue *q, nf_grad g, float *parts, int64_t count, int64_t n);

#endif
