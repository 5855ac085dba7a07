/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conv_silu.c: depthwise causal convolution and SiLU.
 *
 *   a_t = b + sum_m w[m] x_{t-K+1+m},  y = silu(a);   da_t = dy_t silu'(a_t)
 *   dx_t = sum_m w[m] da_{t+K-1-m},  dw[m] = sum_t da_t x_{t-K+1+m},  db = sum_t da_t
 *
 * A tap counts if its token lies in the same row of the batch and in the same segment. Tokens are cut into parts of PART; a
 * part writes its own tokens' dx, for which it makes the first K - 1 da of the next part again. Channels go in strips that stay
 * in the first-level cache while a strip walks along the tokens.
 */
#include "cpu.h"
#include "parts.h"
#include "scratch.h"
#include "vmath.h"

#include <string.h>

enum { PART = 256, STRIP = 512 };

struct conv {
    nf_tensor x, y, dy, dx; /* staged */
    float *wt, *bias;       /* [K, C] taps by rows; [C], zeros without bias */
    float *parts;           /* [parts, K + 1, C] dw by rows, then db */
    int64_t T, C, K, len;
    const int32_t *segment;
    struct nf_cut rows;
    bool sums;
};

static bool reaches(const struct conv *s, int64_t from, int64_t t)
{
    return from >= t / s->len * s->len && (!s->segment || s->segment[from] == s->segment[t]);
}

NF_CLONES static void axpy(float *a, const float *w, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        a[i] += w[i] * x[i];
}

NF_CLONES static void taps4(float *a, const float *b, const float *const w[4], const float *const x[4], int64_t n)
{
    const float *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3], *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];

    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float v = b[i];
        v += w0[i] * x0[i];
        v += w1[i] * x1[i];
        v += w2[i] * x2[i];
        v += w3[i] * x3[i];
        a[i] = v;
    }
}

NF_CLONES static void silu_row(float *y, const float *a, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = nf_vsilu(a[i]);
}

NF_CLONES static void silu_grad_row(float *da, const float *dy, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        da[i] = dy[i] * nf_vsilu_grad(da[i]);
}

NF_CLONES static void scale_row(float *y, const float *w, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = w[i] * x[i];
}

NF_CLONES static void add_row(float *y, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* a of token t, channels [c, c + n) */
static void taps(const struct conv *s, float *a, int64_t t, int64_t c, int64_t n)
{
    const float *w[4], *x[4];
    bool all = s->K == 4;

    for (int64_t m = 0; all && m < 4; m++) {
        all = reaches(s, t - 3 + m, t);
        if (all) {
            w[m] = s->wt + m * s->C + c;
            x[m] = (const float *)nf_row(&s->x, t - 3 + m) + c;
        }
    }
    if (all) {
        taps4(a, s->bias + c, w, x, n);
        return;
    }
    memcpy(a, s->bias + c, (size_t)n * sizeof *a);
    for (int64_t m = 0; m < s->K; m++)
        if (reaches(s, t - s->K + 1 + m, t))
            axpy(a, s->wt + m * s->C + c, (const float *)nf_row(&s->x, t - s->K + 1 + m) + c, n);
}

static void forward_tile(void *ctx, int64_t tile)
{
    const struct conv *s = ctx;
    float a[STRIP];

    for (int64_t c = 0; c < s->C; c += STRIP) {
        int64_t n = s->C - c < STRIP ? s->C - c : STRIP;
        for (int64_t t = nf_cut_at(&s->rows, tile); t < nf_cut_at(&s->rows, tile + 1); t++) {
            taps(s, a, t, c, n);
            silu_row((float *)nf_row_out(&s->y, t) + c, a, n);
        }
    }
}

static void backward_tile(void *ctx, int64_t tile)
{
    const struct conv *s = ctx;
    const int64_t first = nf_cut_at(&s->rows, tile), last = nf_cut_at(&s->rows, tile + 1), K = s->K, C = s->C;
    const int64_t beyond = last + K - 1 < s->T ? last + K - 1 : s->T;
    float *dw = s->sums ? s->parts + tile * (K + 1) * C : NULL;
    float da[STRIP];

    if (dw)
        memset(dw, 0, (size_t)((K + 1) * C) * sizeof *dw);
    for (int64_t c = 0; c < C; c += STRIP) {
        int64_t n = C - c < STRIP ? C - c : STRIP;
        for (int64_t t = first; t < beyond; t++) {
            bool mine = t < last;
            if (!mine && !reaches(s, last - 1, t))
                break; /* nothing of this part is seen from here on */
            taps(s, da, t, c, n);
            silu_grad_row(da, (const float *)nf_row(&s->dy, t) + c, n);
            if (mine)
                scale_row((float *)nf_row_out(&s->dx, t) + c, s->wt + (K - 1) * C + c, da, n);
            for (int64_t m = K - 2; m >= 0; m--) {
                int64_t from = t - K + 1 + m;
                if (from >= first && from < last && reaches(s, from, t))
                    axpy((float *)nf_row_out(&s->dx, from) + c, s->wt + m * C + c, da, n);
            }
            if (!dw || !mine)
                continue;
            for (int64_t m = 0; m < K; m++)
                if (reaches(s, t - K + 1 + m, t))
                    axpy(dw + m * C + c, da, (const float *)nf_row(&s->x, t - K + 1 + m) + c, n);
            add_row(dw + K * C + c, da, n);
        }
    }
}

static void load_taps(struct conv *s, nf_in w, nf_in b)
{
    for (int64_t c = 0; c < s->C; c++) {
        float row[16];
        nf_widen_row(row, nf_row(w, c), w->dtype, s->K);
        for (int64_t m = 0; m < s->K; m++)
            s->wt[m * s->C + c] = row[m];
    }
    if (b && b->data)
        nf_widen_row(s->bias, b->data, b->dtype, s->C);
    else
        memset(s->bias, 0, (size_t)s->C * sizeof(float));
}

static void lay_common(struct conv *s, struct nf_bump *b, nf_in x, nf_in w)
{
    s->T = x->dim[0];
    s->C = x->dim[1];
    s->K = w->dim[1];
    s->rows = nf_cut_of(s->T, PART, 1);
    s->x = nf_stage(b, x);
    s->wt = nf_bump_floats(b, s->K * s->C);
    s->bias = nf_bump_floats(b, s->C);
}

static size_t lay(struct conv *s, nf_out y, nf_in x, nf_in w, void *scratch)
{
    struct nf_bump b = {.base = scratch};

    lay_common(s, &b, x, w);
    s->y = nf_stage(&b, y);
    return b.at;
}

static size_t lay_bwd(struct conv *s, nf_out dx, nf_in dy, nf_in x, nf_in w, void *scratch)
{
    struct nf_bump b = {.base = scratch};

    lay_common(s, &b, x, w);
    s->dx = nf_stage(&b, dx);
    s->dy = nf_stage(&b, dy);
    s->parts = nf_bump_floats(&b, s->rows.count * (s->K + 1) * s->C);
    return b.at;
}

size_t nf_cpu_conv_silu_scratch(nf_out y, nf_in x, nf_in w)
{
    struct conv s;
    return lay(&s, y, x, w, NULL);
}

size_t nf_cpu_conv_silu_bwd_scratch(nf_out dx, nf_in dy, nf_in x, nf_in w)
{
    struct conv s;
    return lay_bwd(&s, dx, dy, x, w, NULL);
}

nf_status nf_cpu_conv_silu(nf_queue *q, nf_out y, nf_in x, nf_in w, nf_in b, const nf_seq *seq, void *scratch)
{
    struct conv s = {.len = seq->len, .segment = seq->segment};

    lay(&s, y, x, w, scratch);
    load_taps(&s, w, b);
    nf_stage_load(q, &s.x, x);
    nf_cpu_tiles(q, s.rows.count, forward_tile, &s);
    nf_stage_store(q, y, &s.y);
    return NF_OK;
}

nf_status nf_cpu_conv_silu_bwd(nf_queue *q, nf_out dx, nf_grad dw, nf_grad db, nf_in dy, nf_in x, nf_in w, nf_in b,
                               const nf_seq *seq, void *scratch)
{
    struct conv s = {.len = seq->len, .segment = seq->segment, .sums = dw.t.data || db.t.data};

    lay_bwd(&s, dx, dy, x, w, scratch);
    load_taps(&s, w, b);
    nf_stage_load(q, &s.x, x);
    nf_stage_load(q, &s.dy, dy);
    nf_cpu_tiles(q, s.rows.count, backward_tile, &s);
    nf_stage_store(q, dx, &s.dx);
    for (int64_t p = 1; s.sums && p < s.rows.count; p++)
        add_row(s.parts, s.parts + p * (s.K + 1) * s.C, (s.K + 1) * s.C);
    for (int64_t c = 0; dw.t.data && c < s.C; c++) {
        float row[16];
        for (int64_t m = 0; m < s.K; m++)
            row[m] = s.parts[m * s.C + c];
        nf_grad_write(dw, c * dw.t.stride[0], row, s.K);
    }
    if (db.t.data)
        nf_grad_write(db, 0, s.parts + s.K * s.C, s.C);
    return NF_OK;
}
