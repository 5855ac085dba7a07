/* SPDX-License-Identifier: Apache-2.0 */
/* block.c: tiles of a linear layer (block.h). */
#include "block.h"

#include "lanes.h"
#include "vmath.h"

#include <string.h>

/* A lane's scratch. */
struct work {
    float *pack, *padded, *tile, *bias, *row[5];
};

static bool gated(const struct nf_block *b)
{
    return nf_act_gated(&b->act);
}

static bool add_is_out(const struct nf_block *b)
{
    return b->has_add && b->add.data == b->out.data;
}

/* Where the product may be written at once. */
enum target { TILE, OUT, PRE };
static enum target target(const struct nf_block *b)
{
    if (b->pad)
        return TILE;
    if (b->dgrad) {
        bool plain = b->act.kind == NF_ACT_NONE && !b->row_weight && !b->has_dot;
        return b->out.dtype == NF_F32 && !gated(b) && (!add_is_out(b) || plain) ? OUT : TILE;
    }
    if (b->has_pre)
        return b->pre.dtype == NF_F32 && b->act.kind != NF_ACT_NONE ? PRE : TILE;
    if (b->out.dtype != NF_F32 || gated(b))
        return TILE;
    return !add_is_out(b) || (b->act.kind == NF_ACT_NONE && !b->row_weight) ? OUT : TILE;
}

static int64_t halves(const struct nf_block *b)
{
    return gated(b) && !b->dgrad ? 2 : 1;
}

static int64_t lay(const struct nf_block *b, struct work *w, float *scratch)
{
    struct nf_bump p = {.base = (char *)scratch};

    w->pack = nf_bump_floats(&p, nf_mats_buffer(b->most_rows, b->most_cols, b->in.dtype != NF_F32, b->w_type != NF_F32));
    w->padded = nf_bump_floats(&p, b->pad * b->in.dim[1]);
    w->tile = nf_bump_floats(&p, target(b) == TILE ? b->most_rows * b->most_cols * halves(b) : 0);
    w->bias = nf_bump_floats(&p, b->most_cols * 2);
    for (int i = 0; i < 5; i++)
        w->row[i] = nf_bump_floats(&p, b->most_cols);
    return (int64_t)(p.at / sizeof(float));
}

int64_t nf_block_scratch(const struct nf_block *b)
{
    struct work w;
    return lay(b, &w, NULL);
}

/* n elements of a row in fp32: where they lie, or widened. */
static const float *row_of(const nf_tensor *t, int64_t i, int64_t j, int64_t n, float *buffer)
{
    const char *at = (const char *)nf_row(t, i) + (size_t)j * nf_dtype_size(t->dtype);

    if (t->dtype == NF_F32)
        return (const float *)(const void *)at;
    nf_widen_row(buffer, at, t->dtype, n);
    return buffer;
}

static void *place(const nf_tensor *t, int64_t i, int64_t j)
{
    return (char *)nf_row_out(t, i) + (size_t)j * nf_dtype_size(t->dtype);
}

static void put(const nf_tensor *t, int64_t i, int64_t j, const float *x, int64_t n)
{
    void *at = place(t, i, j);

    if (at != x)
        nf_narrow_row(at, t->dtype, x, n);
}

NF_CLONES static void plus(float *y, const float *a, const float *b, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

NF_CLONES static void times(float *y, float by, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] *= by;
}

NF_CLONES static float dot(const float *a, const float *b, int64_t n)
{
    float s = 0.0f;

    NF_SIMD_SUM(s)
    for (int64_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

/* out[i, j...] = x (+ add); x may be the place itself, or is overwritten. */
static void finish(const struct nf_block *b, int64_t i, int64_t j, float *x, int64_t n, bool add, float *buffer)
{
    if (add)
        plus(x, x, row_of(&b->add, i, j, n, buffer), n);
    put(&b->out, i, j, x, n);
}

static void forward_rows(const struct nf_block *b, const struct nf_block_tile *t, struct work *w, float *c, int64_t ldc,
                         int64_t up, bool added)
{
    const int64_t n = t->j1 - t->j0;

    if (t->bias) {
        memcpy(w->bias, row_of(t->bias, 0, t->j0, n, w->bias), (size_t)n * sizeof(float));
        if (gated(b)) {
            float *second = w->bias + b->most_cols;
            memcpy(second, row_of(t->bias, 0, b->cols + t->j0, n, second), (size_t)n * sizeof(float));
        }
    }
    for (int64_t i = t->i0; i < t->i1; i++) {
        float *u = c + (i - t->i0) * ldc, *v = u + up;
        float *a = b->out.dtype == NF_F32 && !add_is_out(b) ? place(&b->out, i, t->j0) : u;
        if (t->bias) {
            plus(u, u, w->bias, n);
            if (gated(b))
                plus(v, v, w->bias + b->most_cols, n);
        }
        if (b->has_pre) {
            put(&b->pre, i, t->j0, u, n);
            if (gated(b))
                put(&b->pre, i, b->cols + t->j0, v, n);
            if (a == u && b->act.kind != NF_ACT_NONE)
                a = w->row[0]; /* u may be pre itself */
        }
        nf_act_row(&b->act, a, u, v, n);
        if (b->row_weight)
            times(a, b->row_weight[i], n);
        finish(b, i, t->j0, a, n, b->has_add && !added, w->row[1]);
    }
}

static void dgrad_rows(const struct nf_block *b, const struct nf_block_tile *t, struct work *w, float *c, int64_t ldc,
                       bool added)
{
    const int64_t n = t->j1 - t->j0, K = b->cols;

    for (int64_t i = t->i0; i < t->i1; i++) {
        float *g = c + (i - t->i0) * ldc, *a = w->row[0], *dv = w->row[1];
        const float *u = NULL, *v = NULL;
        if (b->has_pre) {
            u = row_of(&b->pre, i, t->j0, n, w->row[2]);
            v = gated(b) ? row_of(&b->pre, i, K + t->j0, n, w->row[3]) : NULL;
            if (b->has_again || b->has_dot) {
                if (b->has_again && b->again.dtype == NF_F32)
                    a = place(&b->again, i, t->j0);
                nf_act_row(&b->act, a, u, v, n);
                if (b->has_again)
                    put(&b->again, i, t->j0, a, n);
                if (b->has_dot)
                    b->dot[t->j * b->dot_rows + i] = dot(g, a, n);
            }
        }
        if (b->row_weight)
            times(g, b->row_weight[i], n);
        if (b->has_pre)
            nf_act_grad_row(&b->act, g, dv, g, u, v, n);
        finish(b, i, t->j0, g, n, b->has_add && !added, w->row[4]);
        if (gated(b))
            finish(b, i, K + t->j0, dv, n, b->has_add && !added, w->row[4]);
    }
}

/* The rows of a short tile, filled up with zeros. */
static struct nf_mat padded(const struct nf_block *b, const struct nf_block_tile *t, float *buffer)
{
    const int64_t k = b->in.dim[1];

    for (int64_t i = 0; i < b->pad; i++) {
        if (i < t->i1 - t->i0)
            nf_widen_row(buffer + i * k, nf_row(&b->in, t->i0 + i), b->in.dtype, k);
        else
            memset(buffer + i * k, 0, (size_t)k * sizeof(float));
    }
    return (struct nf_mat){buffer, NF_F32, k, false, NULL};
}

void nf_block_run(const struct nf_block *b, const struct nf_block_tile *t, float *scratch)
{
    const enum target to = target(b);
    const int64_t m = b->pad ? b->pad : t->i1 - t->i0, n = t->j1 - t->j0;
    struct nf_mat in = {nf_row(&b->in, t->i0), b->in.dtype, b->in.stride[0], false, NULL};
    struct work w;
    int64_t ldc, up = 0;
    float *c;

    lay(b, &w, scratch);
    if (t->i1 - t->i0 < b->pad)
        in = padded(b, t, w.padded);
    if (to == TILE) {
        c = w.tile;
        ldc = n * halves(b);
        up = n;
    } else {
        const nf_tensor *y = to == OUT ? &b->out : &b->pre;
        c = place(y, t->i0, t->j0);
        ldc = y->stride[0];
        up = b->cols;
    }
    bool added = to == OUT && add_is_out(b);
    for (int64_t h = 0; h < halves(b); h++)
        nf_cpu_gemm_mats(m, n, b->in.dim[1], in, nf_mat_from(t->w, 0, h * b->cols + t->j0), added ? 1.0f : 0.0f, c + h * up,
                         ldc, w.pack);
    if (b->dgrad)
        dgrad_rows(b, t, &w, c, ldc, added);
    else
        forward_rows(b, t, &w, c, ldc, up, added);
}
