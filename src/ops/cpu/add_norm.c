/* SPDX-License-Identifier: Apache-2.0 */
/*
 * add_norm.c: residual sum and RMSNorm in one pass over a row.
 *
 *   p = w dy, xhat = stream rstd:  dstream = rstd (p - xhat mean(p xhat)),  dw = sum over rows of dy xhat
 *
 * With bf16 storage the norm is of the sum as it is stored, and NF_ROUND_XHAT rounds xhat before the weight is multiplied.
 */
#include "cpu.h"
#include "half.h"
#include "parts.h"
#include "scratch.h"

#include <math.h>

NF_CLONES static void sum_row(float *s, const float *a, const float *b, int64_t n, bool half)
{
    if (half) {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            s[i] = nf_vfrom_bf16(nf_vto_bf16(a[i] + b[i]));
    } else {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            s[i] = a[i] + b[i];
    }
}

NF_CLONES static float norm_row(float *y, const float *x, const float *w, int64_t n, double eps, bool round_xhat)
{
    float sq = 0.0f;

    NF_SIMD_SUM(sq)
    for (int64_t i = 0; i < n; i++)
        sq += x[i] * x[i];
    const float r = (float)(1.0 / sqrt((double)sq / (double)n + eps));
    if (round_xhat) {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            y[i] = nf_vfrom_bf16(nf_vto_bf16(x[i] * r)) * w[i];
    } else {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * r * w[i];
    }
    return r;
}

NF_CLONES static void norm_row_bwd(float *dx, float *dw, const float *dy, const float *x, const float *w, float r, int64_t n,
                                   bool accumulate)
{
    float dot = 0.0f;

    NF_SIMD_SUM(dot)
    for (int64_t i = 0; i < n; i++)
        dot += w[i] * dy[i] * x[i];
    const float c = dot * r * r / (float)n;
    if (accumulate) {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            dx[i] += r * (w[i] * dy[i] - c * x[i]);
    } else {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            dx[i] = r * (w[i] * dy[i] - c * x[i]);
    }
    if (dw) {
        NF_SIMD
        for (int64_t i = 0; i < n; i++)
            dw[i] += dy[i] * (x[i] * r);
    }
}

/* Staged operands: fp32 rows, whatever the storage. w as one row. */
struct norm {
    nf_tensor stream, y, prev, branch, w;
    float *rstd, *parts;
    double eps;
    bool half, round_xhat, accumulate, sums;
    struct nf_cut rows;
};

static nf_tensor as_row(nf_in w)
{
    return nf_matrix(w->data, w->dtype, 1, w->dim[0], w->dim[0]);
}

static size_t lay(struct norm *s, nf_out stream, nf_out y, nf_in prev, nf_in branch, nf_in w, void *scratch)
{
    struct nf_bump b = {.base = scratch};
    const nf_tensor row = as_row(w);

    s->prev = nf_stage(&b, prev);
    if (branch)
        s->branch = nf_stage(&b, branch);
    s->stream = !branch ? s->prev : stream == prev ? s->prev : stream == branch ? s->branch : nf_stage(&b, stream);
    s->y = nf_stage(&b, y);
    s->w = nf_stage(&b, &row);
    return b.at;
}

size_t nf_cpu_add_norm_scratch(nf_out stream, nf_out y, nf_in prev, nf_in branch, nf_in w)
{
    struct norm s;
    return lay(&s, stream, y, prev, branch, w, NULL);
}

static void forward_tile(void *ctx, int64_t tile)
{
    const struct norm *s = ctx;
    const int64_t n = s->prev.dim[1];

    for (int64_t i = nf_cut_at(&s->rows, tile); i < nf_cut_at(&s->rows, tile + 1); i++) {
        if (s->branch.data)
            sum_row(nf_row_out(&s->stream, i), nf_row(&s->prev, i), nf_row(&s->branch, i), n, s->half);
        s->rstd[i] = norm_row(nf_row_out(&s->y, i), nf_row(&s->stream, i), s->w.data, n, s->eps, s->round_xhat);
    }
}

nf_status nf_cpu_add_norm(nf_queue *q, nf_out stream, nf_out y, float *rstd, nf_in prev, nf_in branch, nf_in w, double eps,
                          enum nf_norm_rounding rounding, void *scratch)
{
    const nf_tensor row = as_row(w);
    struct norm s = {.rstd = rstd, .eps = eps, .half = prev->dtype == NF_BF16};

    lay(&s, stream, y, prev, branch, w, scratch);
    s.round_xhat = s.half && rounding == NF_ROUND_XHAT;
    s.rows = nf_cut_rows(prev->dim[0], prev->dim[1]);
    nf_stage_load(q, &s.prev, prev);
    nf_stage_load(q, &s.w, &row);
    if (branch)
        nf_stage_load(q, &s.branch, branch);
    nf_cpu_tiles(q, s.rows.count, forward_tile, &s);
    if (branch)
        nf_stage_store(q, stream, &s.stream);
    nf_stage_store(q, y, &s.y);
    return NF_OK;
}

static size_t lay_bwd(struct norm *s, nf_out dstream, nf_in dy, nf_in stream, nf_in w, void *scratch)
{
    struct nf_bump b = {.base = scratch};
    const nf_tensor row = as_row(w);

    s->stream = nf_stage(&b, dstream);
    s->y = nf_stage(&b, dy);
    s->prev = nf_stage(&b, stream);
    s->w = nf_stage(&b, &row);
    s->rows = nf_cut_parts(dy->dim[0]);
    s->parts = nf_bump_floats(&b, s->rows.count * dy->dim[1]);
    return b.at;
}

size_t nf_cpu_add_norm_bwd_scratch(nf_out dstream, nf_in dy, nf_in stream, nf_in w)
{
    struct norm s;
    return lay_bwd(&s, dstream, dy, stream, w, NULL);
}

static void backward_tile(void *ctx, int64_t tile)
{
    const struct norm *s = ctx;
    const int64_t n = s->prev.dim[1];
    float *dw = s->sums ? s->parts + tile * n : NULL;

    for (int64_t j = 0; dw && j < n; j++)
        dw[j] = 0.0f;
    for (int64_t i = nf_cut_at(&s->rows, tile); i < nf_cut_at(&s->rows, tile + 1); i++)
        norm_row_bwd(nf_row_out(&s->stream, i), dw, nf_row(&s->y, i), nf_row(&s->prev, i), s->w.data, s->rstd[i], n,
                     s->accumulate);
}

nf_status nf_cpu_add_norm_bwd(nf_queue *q, nf_out dstream, bool accumulate, nf_grad dw, nf_in dy, nf_in stream,
                              const float *rstd, nf_in w, void *scratch)
{
    const nf_tensor row = as_row(w);
    struct norm s = {.rstd = (float *)rstd, .accumulate = accumulate, .sums = dw.t.data != NULL};

    lay_bwd(&s, dstream, dy, stream, w, scratch);
    nf_stage_load(q, &s.y, dy);
    nf_stage_load(q, &s.prev, stream);
    nf_stage_load(q, &s.w, &row);
    if (accumulate)
        nf_stage_load(q, &s.stream, dstream);
    nf_cpu_tiles(q, s.rows.count, backward_tile, &s);
    nf_stage_store(q, dstream, &s.stream);
    nf_parts_add(q, dw, s.parts, s.rows.count, dy->dim[1]);
    return NF_OK;
}
