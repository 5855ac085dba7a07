/* SPDX-License-Identifier: Apache-2.0 */
/* tiles.c: where the borders of tiles lie (tiles.h); lanes.c has the threads. */
#include "tiles.h"

#include "lanes.h"

#ifdef _OPENMP
#include <omp.h>
#endif

int nf_cpu_threads_most(void)
{
#ifdef _OPENMP
    return omp_get_thread_limit();
#else
    return 1;
#endif
}

struct tiles {
    nf_tile_fn *fn;
    void *ctx;
};

static void without_lane(void *ctx, int64_t tile, int64_t lane)
{
    const struct tiles *t = ctx;

    (void)lane;
    t->fn(t->ctx, tile);
}

void nf_cpu_tiles(nf_queue *q, int64_t count, nf_tile_fn *fn, void *ctx)
{
    nf_cpu_lanes(q, count, without_lane, &(struct tiles){fn, ctx});
}

struct nf_cut nf_cut_of(int64_t n, int64_t most, int64_t grain)
{
    int64_t count = (n + most - 1) / most;
    int64_t size = count ? (n + count - 1) / count : grain;

    size = (size + grain - 1) / grain * grain;
    count = (n + size - 1) / size;
    return (struct nf_cut){n, count ? count : 1, size};
}

/*
 * From 512 x 512 on the BLAS runs within some percent of its full rate, and a tile of the result stays in the second-level
 * cache for what is done to it next. A product that would be one tile or two but is long enough to share is cut finer.
 */
void nf_cut_gemm(int64_t m, int64_t n, int64_t k, struct nf_cut *rows, struct nf_cut *cols)
{
    const double worth = 4e6; /* multiply-adds that outweigh sharing: 100 us at least */

    *rows = nf_cut_of(m, 512, 16);
    *cols = nf_cut_of(n, 768, 16);
    if (rows->count * cols->count >= 4 || (double)m * (double)n * (double)k < worth)
        return;
    if (n >= m)
        *cols = nf_cut_of(n, n >= 512 ? (n + 3) / 4 : 128, 16);
    else
        *rows = nf_cut_of(m, m >= 512 ? (m + 3) / 4 : 128, 16);
}
