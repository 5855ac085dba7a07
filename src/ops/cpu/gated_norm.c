/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gated_norm.c: g = y silu(z), then RMSNorm per group of channels, then the weight.
 *
 *   p = w do, ghat = g rstd:  dg = rstd (p - ghat mean_group(p ghat))
 *   dy = dg silu(z),  dz = dg y silu'(z),  dw = sum over rows of do ghat
 */
#include "cpu.h"
#include "parts.h"
#include "scratch.h"
#include "vmath.h"

#include <math.h>

/* One group of one row. */
NF_CLONES static float forward_group(float *o, const float *y, const float *z, const float *w, int64_t n, double eps)
{
    float sq = 0.0f;

    NF_SIMD_SUM(sq)
    for (int64_t i = 0; i < n; i++) {
        float g = y[i] * nf_vsilu(z[i]);
        o[i] = g;
        sq += g * g;
    }
    const float r = (float)(1.0 / sqrt((double)sq / (double)n + eps));
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        o[i] = o[i] * r * w[i];
    return r;
}

/* dy and dz hold silu(z) and silu'(z) between the two loops. */
NF_CLONES static void backward_group(float *dy, float *dz, float *again, float *dw, const float *d_o, const float *y,
                                     const float *z, const float *w, float r, int64_t n)
{
    float dot = 0.0f;

    NF_SIMD_SUM(dot)
    for (int64_t i = 0; i < n; i++) {
        float s = nf_vsilu(z[i]);
        dy[i] = s;
        dz[i] = nf_vsilu_grad(z[i]);
        dot += w[i] * d_o[i] * (y[i] * s);
    }
    const float c = dot * r * r / (float)n;
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float s = dy[i], g = y[i] * s, dg = r * (w[i] * d_o[i] - c * g);
        dy[i] = dg * s;
        dz[i] = dg * y[i] * dz[i];
        if (again)
            again[i] = g * r * w[i];
        if (dw)
            dw[i] += d_o[i] * (g * r);
    }
}

/* Staged operands: fp32 rows, whatever the storage. */
struct gated {
    nf_tensor o, y, z, w, dy, dz;
    float *rstd, *parts;
    int groups;
    double eps;
    bool again, sums;
    struct nf_cut rows;
};

static nf_tensor as_row(nf_in w)
{
    return nf_matrix(w->data, w->dtype, 1, w->dim[0], w->dim[0]);
}

static size_t lay(struct gated *s, nf_out o, nf_in y, nf_in z, nf_in w, void *scratch)
{
    struct nf_bump b = {.base = scratch};
    const nf_tensor row = as_row(w);

    s->o = nf_stage(&b, o);
    s->y = nf_stage(&b, y);
    s->z = nf_stage(&b, z);
    s->w = nf_stage(&b, &row);
    return b.at;
}

size_t nf_cpu_gated_norm_scratch(nf_out o, nf_in y, nf_in z, nf_in w)
{
    struct gated s;
    return lay(&s, o, y, z, w, NULL);
}

static void forward_tile(void *ctx, int64_t tile)
{
    const struct gated *s = ctx;
    const int64_t n = s->y.dim[1] / s->groups;

    for (int64_t i = nf_cut_at(&s->rows, tile); i < nf_cut_at(&s->rows, tile + 1); i++) {
        float *o = nf_row_out(&s->o, i);
        const float *y = nf_row(&s->y, i), *z = nf_row(&s->z, i), *w = s->w.data;
        for (int g = 0; g < s->groups; g++)
            s->rstd[i * s->groups + g] = forward_group(o + g * n, y + g * n, z + g * n, w + g * n, n, s->eps);
    }
}

nf_status nf_cpu_gated_norm(nf_queue *q, nf_out o, float *rstd, nf_in y, nf_in z, nf_in w, int groups, double eps,
                            void *scratch)
{
    const nf_tensor row = as_row(w);
    struct gated s = {.rstd = rstd, .groups = groups, .eps = eps, .rows = nf_cut_rows(y->dim[0], y->dim[1])};

    lay(&s, o, y, z, w, scratch);
    nf_stage_load(q, &s.y, y);
    nf_stage_load(q, &s.z, z);
    nf_stage_load(q, &s.w, &row);
    nf_cpu_tiles(q, s.rows.count, forward_tile, &s);
    nf_stage_store(q, o, &s.o);
    return NF_OK;
}

static size_t lay_bwd(struct gated *s, nf_out dy, nf_out dz, nf_out o_again, nf_in d_o, nf_in y, nf_in z, nf_in w,
                      nf_tensor *go, void *scratch)
{
    struct nf_bump b = {.base = scratch};
    const nf_tensor row = as_row(w);

    s->dy = nf_stage(&b, dy);
    s->dz = nf_stage(&b, dz);
    if (o_again)
        s->o = nf_stage(&b, o_again);
    *go = nf_stage(&b, d_o);
    s->y = nf_stage(&b, y);
    s->z = nf_stage(&b, z);
    s->w = nf_stage(&b, &row);
    s->rows = nf_cut_parts(y->dim[0]);
    s->parts = nf_bump_floats(&b, s->rows.count * y->dim[1]);
    return b.at;
}

size_t nf_cpu_gated_norm_bwd_scratch(nf_out dy, nf_out dz, nf_out o_again, nf_in d_o, nf_in y, nf_in z, nf_in w)
{
    struct gated s;
    nf_tensor go;
    return lay_bwd(&s, dy, dz, o_again, d_o, y, z, w, &go, NULL);
}

struct gated_bwd {
    struct gated s;
    nf_tensor d_o;
};

static void backward_tile(void *ctx, int64_t tile)
{
    const struct gated_bwd *b = ctx;
    const struct gated *s = &b->s;
    const int64_t width = s->y.dim[1], n = width / s->groups;
    float *dw = s->sums ? s->parts + tile * width : NULL;

    for (int64_t j = 0; dw && j < width; j++)
        dw[j] = 0.0f;
    for (int64_t i = nf_cut_at(&s->rows, tile); i < nf_cut_at(&s->rows, tile + 1); i++) {
        float *dy = nf_row_out(&s->dy, i), *dz = nf_row_out(&s->dz, i), *again = s->again ? nf_row_out(&s->o, i) : NULL;
        const float *d_o = nf_row(&b->d_o, i), *y = nf_row(&s->y, i), *z = nf_row(&s->z, i), *w = s->w.data;
        for (int g = 0; g < s->groups; g++) {
            int64_t at = g * n;
            backward_group(dy + at, dz + at, again ? again + at : NULL, dw ? dw + at : NULL, d_o + at, y + at, z + at, w + at,
                           s->rstd[i * s->groups + g], n);
        }
    }
}

nf_status nf_cpu_gated_norm_bwd(nf_queue *q, nf_out dy, nf_out dz, nf_out o_again, nf_grad dw, nf_in d_o, nf_in y, nf_in z,
                                const float *rstd, nf_in w, int groups, void *scratch)
{
    const nf_tensor row = as_row(w);
    struct gated_bwd b = {.s = {.rstd = (float *)rstd, .groups = groups, .again = o_again != NULL, .sums = dw.t.data != NULL}};

    lay_bwd(&b.s, dy, dz, o_again, d_o, y, z, w, &b.d_o, scratch);
    nf_stage_load(q, &b.d_o, d_o);
    nf_stage_load(q, &b.s.y, y);
    nf_stage_load(q, &b.s.z, z);
    nf_stage_load(q, &b.s.w, &row);
    nf_cpu_tiles(q, b.s.rows.count, backward_tile, &b);
    nf_stage_store(q, dy, &b.s.dy);
    nf_stage_store(q, dz, &b.s.dz);
    if (o_again)
        nf_stage_store(q, o_again, &b.s.o);
    nf_parts_add(q, dw, b.s.parts, b.s.rows.count, y->dim[1]);
    return NF_OK;
}
