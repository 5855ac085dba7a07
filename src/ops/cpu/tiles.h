/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiles.h: work of the CPU ops as tiles that threads share. Borders depend on shapes alone, and each tile writes its own
 * outputs in its own order: which thread takes which tile cannot change a bit. Sums over tiles go to a part per tile, added up
 * in order. Pending communication progresses between tiles, on the main thread.
 */
#ifndef NEMAFIT_OPS_CPU_TILES_H
#define NEMAFIT_OPS_CPU_TILES_H

#include "nemafit/device.h"

typedef void nf_tile_fn(void *ctx, int64_t tile);
/* fn(ctx, 0 ... count - 1), in any order, on the threads of the queue's device. Not nested. */
void nf_cpu_tiles(nf_queue *q, int64_t count, nf_tile_fn *fn, void *ctx);
int nf_cpu_threads_most(void); /* what OpenMP gives; 1 without it */

/* [0, n) in `count` parts of nearly equal size, borders on multiples of `grain`. Nothing to cut: one empty part. */
struct nf_cut {
    int64_t n, count, size;
};
struct nf_cut nf_cut_of(int64_t n, int64_t most, int64_t grain);
static inline int64_t nf_cut_at(const struct nf_cut *c, int64_t i)
{
    int64_t at = i * c->size;
    return at < c->n ? at : c->n;
}
/* The tiles of a matrix product [m, k] x [k, n]. */
void nf_cut_gemm(int64_t m, int64_t n, int64_t k, struct nf_cut *rows, struct nf_cut *cols);

#endif
