/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h: one tile of a linear layer, forward or towards its input: the product, then what belongs to it (bias, activation or
 * its derivative, row weights, sum) while the tile is in the cache. Linear layers and experts are walks over such tiles.
 *
 * The product goes straight to where it belongs if that is fp32 and nothing else has to be read from there; else through a
 * tile of the lane's scratch.
 */
#ifndef NEMAFIT_OPS_CPU_BLOCK_H
#define NEMAFIT_OPS_CPU_BLOCK_H

#include "act.h"
#include "mats.h"

/* forward: out = row_weight act(in w + bias) + add, pre the value before act, or none.
 * dgrad: b = in w; dot = b . act(pre); out = row_weight b act'(pre) + add, again = act(pre). */
struct nf_block {
    bool dgrad;
    nf_tensor in, out, pre, again, add; /* data NULL: none */
    bool has_pre, has_again, has_add;
    struct nf_act_arg act;
    nf_dtype w_type;
    int64_t cols; /* columns of the product that tiles cut: of a gated forward, one half */
    const float *row_weight;
    bool has_dot;
    float *dot; /* [column tiles, dot_rows] */
    int64_t dot_rows;
    int64_t most_rows, most_cols; /* of a tile */
    int64_t pad;                  /* tiles of fewer rows are filled up with zeros to so many; 0: as they are */
};

/* Rows [i0, i1) x columns [j0, j1) with one expert's weight and bias. */
struct nf_block_tile {
    int64_t i0, i1, j0, j1, j; /* j: number of the column tile */
    struct nf_mat w;           /* [in's columns, all columns of the product] */
    const nf_tensor *bias;     /* as one row, or NULL */
};

/* Floats of scratch that a lane needs. */
int64_t nf_block_scratch(const struct nf_block *b);
void nf_block_run(const struct nf_block *b, const struct nf_block_tile *t, float *scratch);

#endif
