/* SPDX-License-Identifier: Apache-2.0 */
/* grouped_plan.h: what follows from the shape of an expert's layer. */
#ifndef NEMAFIT_OPS_CUDA_GROUPED_PLAN_H
#define NEMAFIT_OPS_CUDA_GROUPED_PLAN_H

#include "sizes_gemm.h"

static inline int64_t nf_tensor_count_of(const nf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->nd; i++)
        n *= t->dim[i];
    return n;
}

/*
 * Columns of a tile that waste least: work beyond the last column, and per column the narrower tiles' dearer reads (in the
 * ratios that an H100 showed). all: 192 is built too.
 */
static inline int nf_cuda_tile_width(int64_t cols, bool halves, bool all)
{
    static const struct {
        int width;
        double cost;
    } tiles[] = {{256, 1.0}, {192, 1.02}, {128, 1.2}};
    int best = 128;
    double least = 0;

    for (int i = 0; i < 3; i++) {
        const int step = halves ? tiles[i].width / 2 : tiles[i].width;
        const double cost = (double)((cols + step - 1) / step) * step * tiles[i].cost;
        if ((tiles[i].width != 192 || all) && (least == 0 || cost < least)) {
            best = tiles[i].width;
            least = cost;
        }
    }
    return best;
}

#endif
