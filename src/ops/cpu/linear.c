/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c: linear layers as walks over tiles (block.h), and their weights' gradients, whose tiles sum over all rows. */
#include "blas.h"
#include "block.h"
#include "cpu.h"
#include "parts.h"
#include "scratch.h"
#include "vmath.h"

#include <string.h>

/* ---- forward, and towards the input ------------------------------------------------------------------------------------ */

struct walk {
    struct nf_block b;
    struct nf_mat w;
    nf_tensor bias;
    bool has_bias;
    struct nf_cut rows, cols;
    float *scratch;
    int64_t lane_floats;
};

static size_t plan(struct walk *s, bool dgrad, nf_out out, nf_out pre, nf_out again, nf_in in, nf_in w,
                   const struct nf_linear_arg *arg)
{
    const bool halved = !dgrad && nf_act_gated(&arg->act);
    const int64_t N = w->dim[0], K = w->dim[1];

    *s = (struct walk){.w = {w->data, w->dtype, w->stride[0], !dgrad, NULL}};
    s->b = (struct nf_block){.dgrad = dgrad,
                             .in = *in,
                             .out = *out,
                             .has_pre = pre != NULL,
                             .has_again = again != NULL,
                             .has_add = arg->add != NULL,
                             .act = arg->act,
                             .w_type = w->dtype,
                             .cols = dgrad    ? K
                                     : halved ? N / 2
                                              : N};
    if (pre)
        s->b.pre = *pre;
    if (again)
        s->b.again = *again;
    if (arg->add)
        s->b.add = *arg->add;
    if (!dgrad && arg->bias && arg->bias->data) {
        s->has_bias = true;
        s->bias = nf_matrix(arg->bias->data, arg->bias->dtype, 1, N, N);
    }
    nf_cut_gemm(in->dim[0], s->b.cols, in->dim[1], &s->rows, &s->cols);
    s->b.most_rows = s->rows.size;
    s->b.most_cols = s->cols.size;
    s->lane_floats = nf_block_scratch(&s->b);
    return (size_t)(nf_lanes(s->rows.count * s->cols.count) * s->lane_floats) * sizeof(float);
}

size_t nf_cpu_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg)
{
    struct walk s;
    return plan(&s, false, y, pre, NULL, x, w, arg);
}

size_t nf_cpu_linear_dgrad_scratch(nf_out dx, nf_out again, nf_in dy, nf_in w, nf_in pre, const struct nf_linear_arg *arg)
{
    struct walk s;
    return plan(&s, true, dx, pre, again, dy, w, arg);
}

/* Row tiles run fastest: a panel of the weight is used by all of them while it is in the cache. */
static void walk_tile(void *ctx, int64_t tile, int64_t lane)
{
    const struct walk *s = ctx;
    const int64_t i = tile % s->rows.count, j = tile / s->rows.count;
    struct nf_block_tile t = {.i0 = nf_cut_at(&s->rows, i),
                              .i1 = nf_cut_at(&s->rows, i + 1),
                              .j0 = nf_cut_at(&s->cols, j),
                              .j1 = nf_cut_at(&s->cols, j + 1),
                              .j = j,
                              .w = s->w,
                              .bias = s->has_bias ? &s->bias : NULL};

    nf_block_run(&s->b, &t, s->scratch + lane * s->lane_floats);
}

nf_status nf_cpu_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg, void *scratch)
{
    struct walk s;

    plan(&s, false, y, pre, NULL, x, w, arg);
    s.scratch = scratch;
    nf_cpu_lanes(q, s.rows.count * s.cols.count, walk_tile, &s);
    return NF_OK;
}

nf_status nf_cpu_linear_dgrad(nf_queue *q, nf_out dx, nf_out act_again, nf_in dy, nf_in w, nf_in pre,
                              const struct nf_linear_arg *arg, void *scratch)
{
    struct walk s;

    plan(&s, true, dx, pre, act_again, dy, w, arg);
    s.scratch = scratch;
    nf_cpu_lanes(q, s.rows.count * s.cols.count, walk_tile, &s);
    return NF_OK;
}

/* ---- towards the weights ------------------------------------------------------------------------------------------------ */

struct wgrad {
    nf_grad dw, db;
    nf_tensor dy, x;
    struct nf_cut rows, cols, parts;
    float *lanes, *part;
    int64_t lane_floats;
};

static size_t plan_wgrad(struct wgrad *s, nf_grad dw, nf_grad db, nf_in dy, nf_in x, void *scratch)
{
    struct nf_bump p = {.base = scratch};
    const int64_t T = dy->dim[0], N = dy->dim[1], K = x->dim[1];

    *s = (struct wgrad){.dw = dw, .db = db, .dy = *dy, .x = *x, .parts = nf_cut_parts(T)};
    if (dw.t.data) {
        nf_cut_gemm(N, K, T, &s->rows, &s->cols);
        s->lane_floats = nf_mats_buffer(s->rows.size, s->cols.size, dy->dtype != NF_F32, x->dtype != NF_F32) +
                         (dw.t.dtype != NF_F32 ? s->rows.size * s->cols.size : 0);
        s->lanes = nf_bump_floats(&p, nf_lanes(s->rows.count * s->cols.count) * s->lane_floats);
    }
    if (db.t.data)
        s->part = nf_bump_floats(&p, (s->parts.count + nf_lanes(s->parts.count)) * N);
    return p.at;
}

size_t nf_cpu_linear_wgrad_scratch(nf_grad dw, nf_grad db, nf_in dy, nf_in x)
{
    struct wgrad s;
    return plan_wgrad(&s, dw, db, dy, x, NULL);
}

static void wgrad_tile(void *ctx, int64_t tile, int64_t lane)
{
    const struct wgrad *s = ctx;
    const int64_t i = tile % s->rows.count, j = tile / s->rows.count;
    const int64_t i0 = nf_cut_at(&s->rows, i), m = nf_cut_at(&s->rows, i + 1) - i0;
    const int64_t j0 = nf_cut_at(&s->cols, j), n = nf_cut_at(&s->cols, j + 1) - j0;
    const struct nf_mat dy = nf_mat_from((struct nf_mat){s->dy.data, s->dy.dtype, s->dy.stride[0], true, NULL}, i0, 0);
    const struct nf_mat x = nf_mat_from((struct nf_mat){s->x.data, s->x.dtype, s->x.stride[0], false, NULL}, 0, j0);
    float *buffer = s->lanes + lane * s->lane_floats, *c;
    const int64_t ld = s->dw.t.stride[0];

    if (s->dw.t.dtype == NF_F32) {
        nf_cpu_gemm_mats(m, n, s->x.dim[0], dy, x, s->dw.accumulate ? 1.0f : 0.0f, (float *)s->dw.t.data + i0 * ld + j0, ld,
                         buffer);
        return;
    }
    c = buffer + s->lane_floats - s->rows.size * s->cols.size;
    nf_cpu_gemm_mats(m, n, s->x.dim[0], dy, x, 0.0f, c, n, buffer);
    for (int64_t r = 0; r < m; r++)
        nf_grad_write(s->dw, (i0 + r) * ld + j0, c + r * n, n);
}

NF_CLONES static void add_row(float *sum, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        sum[i] += x[i];
}

static void column_sums(void *ctx, int64_t part, int64_t lane)
{
    const struct wgrad *s = ctx;
    const int64_t N = s->dy.dim[1];
    float *sum = s->part + part * N, *row = s->part + (s->parts.count + lane) * N;

    memset(sum, 0, (size_t)N * sizeof *sum);
    for (int64_t i = nf_cut_at(&s->parts, part); i < nf_cut_at(&s->parts, part + 1); i++) {
        const float *dy = nf_row(&s->dy, i);
        if (s->dy.dtype != NF_F32) {
            nf_widen_row(row, dy, s->dy.dtype, N);
            dy = row;
        }
        add_row(sum, dy, N);
    }
}

nf_status nf_cpu_linear_wgrad(nf_queue *q, nf_grad dw, nf_grad db, nf_in dy, nf_in x, void *scratch)
{
    struct wgrad s;

    plan_wgrad(&s, dw, db, dy, x, scratch);
    if (dw.t.data)
        nf_cpu_lanes(q, s.rows.count * s.cols.count, wgrad_tile, &s);
    if (db.t.data) {
        nf_cpu_lanes(q, s.parts.count, column_sums, &s);
        nf_parts_add(q, db, s.part, s.parts.count, dy->dim[1]);
    }
    return NF_OK;
}
