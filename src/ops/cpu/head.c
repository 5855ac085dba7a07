/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head.c: the head's product, the loss and both gradients, by blocks of scored tokens; tokens that are not scored cost nothing.
 * With a small vocabulary the logits of a block are kept between the two passes; with a large one the second pass makes them
 * again, tile by tile, so that scratch is bounded and a block still is tall enough to pay for reading the whole weight.
 *
 *   z = h wT;  lse = log sum exp z;  loss += lse - z_y;  dz = (exp(z - lse) - [v = y]) scale;  dh = dz w;  dw += dzT h
 *
 * A bf16 dw is rounded once: then all tokens are one block, and the tiles of the vocabulary are smaller in return.
 */
#include "blas.h"
#include "cpu.h"
#include "lanes.h"
#include "scratch.h"
#include "vmath.h"

#include <math.h>
#include <string.h>

enum { BUDGET = 4 << 20 /* floats of logits */, TALL = 512 /* tokens of a block that makes its logits twice */ };

struct head {
    int64_t T, V, H, tokens, tile; /* tokens of a block, rows of w in a tile */
    bool whole;                    /* the logits of a block are kept */
    int32_t *index;                /* [T] scored tokens */
    float *h, *dh, *z, *w, *dw;    /* block of h and dh; logits; tiles of w and dw where these are bf16 */
    float *max, *sum, *target;     /* [tokens] */
    int64_t ldz;
    nf_queue *q;
};

static size_t lay(struct head *s, nf_in h, nf_in w, bool gradients, nf_grad dw, void *scratch)
{
    struct nf_bump b = {.base = scratch};

    *s = (struct head){.T = h->dim[0], .V = w->dim[0], .H = h->dim[1]};
    const bool once = dw.t.data && dw.t.dtype != NF_F32;
    const int64_t wide = once && s->T > s->H ? s->T : s->H;
    s->tile = BUDGET / (wide > 0 ? wide : 1);
    s->tile = s->tile < 256 ? 256 : s->tile > 8192 ? 8192 : s->tile;
    s->tile = s->tile < s->V ? s->tile : s->V;
    s->whole = s->V <= (once && s->T > 64 ? BUDGET / s->T : BUDGET / 64);
    s->tokens = once ? s->T : s->whole ? BUDGET / (s->V > 0 ? s->V : 1) : TALL;
    s->tokens = s->tokens > 1024 && !once ? 1024 : s->tokens;
    s->tokens = s->tokens < s->T ? s->tokens : s->T;
    s->ldz = s->whole ? s->V : s->tile;
    s->index = nf_bump_get(&b, s->T, sizeof(int32_t));
    s->h = nf_bump_floats(&b, s->tokens * s->H);
    s->dh = nf_bump_floats(&b, gradients ? s->tokens * s->H : 0);
    s->z = nf_bump_floats(&b, s->tokens * s->ldz);
    s->max = nf_bump_floats(&b, s->tokens);
    s->sum = nf_bump_floats(&b, s->tokens);
    s->target = nf_bump_floats(&b, s->tokens);
    s->w = nf_bump_floats(&b, w->dtype == NF_F32 ? 0 : s->tile * s->H);
    s->dw = nf_bump_floats(&b, once ? s->tile * s->H : 0);
    return b.at;
}

size_t nf_cpu_head_scratch(nf_in h, nf_in w, bool gradients, nf_grad dw)
{
    struct head s;
    return lay(&s, h, w, gradients, dw, NULL);
}

/* Rows [v0, v0 + nv) of w in fp32 */
static const float *weight_tile(const struct head *s, nf_in w, int64_t v0, int64_t nv, int64_t *ld)
{
    *ld = w->dtype == NF_F32 ? w->stride[0] : s->H;
    if (w->dtype == NF_F32)
        return nf_row(w, v0);
    const nf_tensor rows = nf_rows(*w, v0, nv), to = nf_matrix(s->w, NF_F32, nv, s->H, s->H);
    nf_stage_load(s->q, &to, &rows);
    return s->w;
}

static void logits_tile(const struct head *s, int64_t n, nf_in w, int64_t v0, int64_t nv, float *z)
{
    int64_t ld;
    const float *tile = weight_tile(s, w, v0, nv, &ld);

    nf_cpu_gemm_shared(s->q, false, true, n, nv, s->H, 1.0f, s->h, s->H, tile, ld, 0.0f, z, s->ldz);
}

NF_CLONES static void sum_row(const float *z, int64_t n, float *max, float *sum)
{
    float m = *max, l = 0.0f;

#pragma omp simd reduction(max : m)
    for (int64_t v = 0; v < n; v++)
        m = z[v] > m ? z[v] : m;
#pragma omp simd reduction(+ : l)
    for (int64_t v = 0; v < n; v++)
        l += nf_vexp(z[v] - m);
    *sum = (*max == m ? *sum : *sum * expf(*max - m)) + l;
    *max = m;
}

NF_CLONES static void gradient_row(float *z, int64_t n, float lse, float scale)
{
#pragma omp simd
    for (int64_t v = 0; v < n; v++)
        z[v] = nf_vexp(z[v] - lse) * scale;
}

struct rows {
    const struct head *s;
    const int32_t *index, *target;
    int64_t n, v0, nv;
    float *z, scale;
};

static void first_rows(void *ctx, int64_t block, int64_t lane)
{
    const struct rows *r = ctx;
    const struct head *s = r->s;

    (void)lane;
    for (int64_t i = block * NF_ROW_BLOCK; i < nf_block_end(block, r->n); i++) {
        const int64_t y = r->target[r->index[i]] - r->v0;
        sum_row(r->z + i * s->ldz, r->nv, &s->max[i], &s->sum[i]);
        if (y >= 0 && y < r->nv)
            s->target[i] = r->z[i * s->ldz + y];
    }
}

static void second_rows(void *ctx, int64_t block, int64_t lane)
{
    const struct rows *r = ctx;
    const struct head *s = r->s;

    (void)lane;
    for (int64_t i = block * NF_ROW_BLOCK; i < nf_block_end(block, r->n); i++) {
        const int64_t y = r->target[r->index[i]] - r->v0;
        gradient_row(r->z + i * s->ldz, r->nv, s->max[i], r->scale);
        if (y >= 0 && y < r->nv)
            r->z[i * s->ldz + y] -= r->scale;
    }
}

/* First pass over the vocabulary: max becomes the log-sum-exp, target the target's logit. */
static void first_pass(const struct head *s, int64_t n, nf_in w, const int32_t *index, const int32_t *target)
{
    for (int64_t i = 0; i < n; i++) {
        s->max[i] = -INFINITY;
        s->sum[i] = 0.0f;
    }
    for (int64_t v0 = 0; v0 < s->V; v0 += s->tile) {
        const int64_t nv = s->V - v0 < s->tile ? s->V - v0 : s->tile;
        float *z = s->z + (s->whole ? v0 : 0);
        logits_tile(s, n, w, v0, nv, z);
        nf_cpu_lanes(s->q, nf_row_blocks(n), first_rows, &(struct rows){s, index, target, n, v0, nv, z, 0.0f});
    }
    for (int64_t i = 0; i < n; i++)
        s->max[i] += logf(s->sum[i]);
}

/* dw [v0, v0 + nv) = dzT h, added to what is there unless first */
static void weight_gradient(const struct head *s, int64_t n, nf_grad dw, bool first, int64_t v0, int64_t nv, const float *z)
{
    const bool narrow = dw.t.dtype != NF_F32;
    float *to = narrow ? s->dw : nf_row_out(&dw.t, v0);

    if (narrow && !first)
        for (int64_t v = 0; v < nv; v++)
            nf_widen_row(to + v * s->H, nf_row(&dw.t, v0 + v), dw.t.dtype, s->H);
    nf_cpu_gemm_shared(s->q, true, false, nv, s->H, n, 1.0f, z, s->ldz, s->h, s->H, first ? 0.0f : 1.0f, to,
                       narrow ? s->H : dw.t.stride[0]);
    for (int64_t v = 0; narrow && v < nv; v++)
        nf_narrow_row(nf_row_out(&dw.t, v0 + v), dw.t.dtype, to + v * s->H, s->H);
}

static void second_pass(const struct head *s, int64_t n, bool dh, nf_grad dw, bool first, nf_in w, const int32_t *index,
                        const int32_t *target, float scale)
{
    for (int64_t v0 = 0; v0 < s->V; v0 += s->tile) {
        const int64_t nv = s->V - v0 < s->tile ? s->V - v0 : s->tile;
        float *z = s->z + (s->whole ? v0 : 0);
        int64_t ld;
        if (!s->whole)
            logits_tile(s, n, w, v0, nv, z);
        nf_cpu_lanes(s->q, nf_row_blocks(n), second_rows, &(struct rows){s, index, target, n, v0, nv, z, scale});
        if (dh) {
            const float *tile = weight_tile(s, w, v0, nv, &ld);
            nf_cpu_gemm_shared(s->q, false, false, n, s->H, nv, 1.0f, z, s->ldz, tile, ld, v0 ? 1.0f : 0.0f, s->dh, s->H);
        }
        if (dw.t.data)
            weight_gradient(s, n, dw, first, v0, nv, z);
    }
}

static void fill_zero(const nf_tensor *t)
{
    for (int64_t i = 0; i < t->dim[0]; i++)
        memset(nf_row_out(t, i), 0, (size_t)t->dim[1] * nf_dtype_size(t->dtype));
}

nf_status nf_cpu_head_loss(nf_queue *q, double *loss, float *token_loss, nf_out dh, nf_grad dw, nf_in h, nf_in w,
                           const int32_t *target, const float *scale, void *scratch)
{
    double sum = 0.0;
    int64_t scored = 0;
    struct head s;

    lay(&s, h, w, dh != NULL, dw, scratch);
    s.q = q;
    for (int64_t t = 0; t < s.T; t++) {
        if (target[t] != -100 && (target[t] < 0 || target[t] >= s.V))
            return nf_fail(NF_EBUG, "head_loss: target %d of token %lld, the vocabulary has %lld", target[t], (long long)t,
                           (long long)s.V);
        if (target[t] != -100)
            s.index[scored++] = (int32_t)t;
        else {
            if (token_loss)
                token_loss[t] = 0.0f;
            if (dh)
                memset(nf_row_out(dh, t), 0, (size_t)s.H * nf_dtype_size(dh->dtype));
        }
    }
    if (scored == 0 && dw.t.data && !dw.accumulate)
        fill_zero(&dw.t);
    for (int64_t i0 = 0; i0 < scored; i0 += s.tokens) {
        const int64_t n = scored - i0 < s.tokens ? scored - i0 : s.tokens;
        const int32_t *index = s.index + i0;
        for (int64_t i = 0; i < n; i++)
            nf_widen_row(s.h + i * s.H, nf_row(h, index[i]), h->dtype, s.H);
        first_pass(&s, n, w, index, target);
        for (int64_t i = 0; i < n; i++) {
            const float own = s.max[i] - s.target[i];
            sum += (double)own;
            if (token_loss)
                token_loss[index[i]] = own;
        }
        if (dh || dw.t.data)
            second_pass(&s, n, dh != NULL, dw, i0 == 0 && !dw.accumulate, w, index, target, *scale);
        for (int64_t i = 0; dh && i < n; i++)
            nf_narrow_row(nf_row_out(dh, index[i]), dh->dtype, s.dh + i * s.H, s.H);
    }
    *loss += (double)*scale * sum;
    return NF_OK;
}

size_t nf_cpu_head_logits_scratch(nf_in h, nf_in w)
{
    struct nf_bump b = {0};
    const int64_t tile = w->dim[0] < 4096 ? w->dim[0] : 4096;

    nf_stage(&b, h);
    nf_bump_floats(&b, w->dtype == NF_F32 ? 0 : tile * w->dim[1]);
    return b.at;
}

nf_status nf_cpu_head_logits(nf_queue *q, nf_out logits, nf_in h, nf_in w, void *scratch)
{
    struct nf_bump b = {.base = scratch};
    struct head s = {.V = w->dim[0], .H = h->dim[1], .q = q};
    const nf_tensor x = nf_stage(&b, h);

    s.tile = s.V < 4096 ? s.V : 4096;
    s.w = nf_bump_floats(&b, w->dtype == NF_F32 ? 0 : s.tile * s.H);
    nf_stage_load(q, &x, h);
    for (int64_t v0 = 0; v0 < s.V; v0 += s.tile) {
        const int64_t nv = s.V - v0 < s.tile ? s.V - v0 : s.tile;
        int64_t ld;
        const float *tile = weight_tile(&s, w, v0, nv, &ld);
        nf_cpu_gemm_shared(q, false, true, x.dim[0], nv, s.H, 1.0f, x.data, x.stride[0], tile, ld, 0.0f,
                           (float *)logits->data + v0, logits->stride[0]);
    }
    return NF_OK;
}
