/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_wgrad.c: gradients of the experts' weights: tiles of (expert, rows of dw, columns of dw), each the sum over the
 * groups of its expert in the order of the array. `eager` takes one expert after another; padding with zeros would change
 * nothing in a sum over rows, so `batched` is the same as `grouped` here.
 */
#include "block.h"
#include "cpu.h"
#include "grouped.h"
#include "parts.h"
#include "scratch.h"
#include "vmath.h"

#include <string.h>

enum { MOST_ROWS = 512, MOST_COLS = 768, STRIP = 1024 };

struct walk {
    nf_grad dw, dbias;
    struct nf_mat left, right; /* dw = leftT right: dy and x, or x and dy where weights are stored in x out */
    nf_tensor dy;
    const struct nf_groups *groups;
    const float *row_weight;
    int64_t experts;
    struct nf_cut rows, cols, strips;
    int32_t *head, *next; /* [experts], [groups]: an expert's groups, -1 at the end */
    float *lanes;
    int64_t lane_floats, first_expert;
};

static size_t plan(struct walk *s, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                   const struct nf_grouped_arg *arg, void *scratch)
{
    struct nf_bump p = {.base = scratch};
    const float *rw = arg->row_weight;
    const struct nf_mat of_dy = {dy->data, dy->dtype, dy->stride[0], !arg->in_out, rw};
    const struct nf_mat of_x = {x->data, x->dtype, x->stride[0], arg->in_out, NULL};
    const int64_t m = arg->in_out ? x->dim[1] : dy->dim[1], n = arg->in_out ? dy->dim[1] : x->dim[1];

    *s = (struct walk){.dw = dw, .dbias = dbias, .dy = *dy, .groups = groups, .row_weight = rw};
    s->experts = dw.t.data ? dw.t.dim[0] : dbias.t.dim[0];
    s->left = arg->in_out ? of_x : of_dy;
    s->right = arg->in_out ? of_dy : of_x;
    s->rows = nf_cut_of(m, nf_group_tile(s->experts, MOST_ROWS), 16);
    s->cols = nf_cut_of(n, nf_group_tile(s->experts, MOST_COLS), 16);
    s->strips = nf_cut_of(dy->dim[1], STRIP, 16);
    s->head = nf_bump_get(&p, s->experts, sizeof(int32_t));
    s->next = nf_bump_get(&p, groups->count, sizeof(int32_t));
    s->lane_floats = 2 * STRIP;
    if (dw.t.data) {
        int64_t floats = nf_mats_buffer(s->rows.size, s->cols.size, nf_mat_packed(&s->left), nf_mat_packed(&s->right)) +
                         (dw.t.dtype != NF_F32 ? s->rows.size * s->cols.size : 0);
        s->lane_floats = floats > s->lane_floats ? floats : s->lane_floats;
    }
    s->lanes = nf_bump_floats(&p, nf_lanes(s->experts * s->rows.count * s->cols.count) * s->lane_floats);
    return p.at;
}

size_t nf_cpu_grouped_wgrad_scratch(nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                                    const struct nf_grouped_arg *arg)
{
    struct walk s;
    return plan(&s, dw, dbias, dy, x, groups, arg, NULL);
}

static void weight_tile(void *ctx, int64_t tile, int64_t lane)
{
    const struct walk *s = ctx;
    const int64_t each = s->rows.count * s->cols.count, e = s->first_expert + tile / each, local = tile % each;
    const int64_t i = local % s->rows.count, j = local / s->rows.count;
    const int64_t i0 = nf_cut_at(&s->rows, i), m = nf_cut_at(&s->rows, i + 1) - i0;
    const int64_t j0 = nf_cut_at(&s->cols, j), n = nf_cut_at(&s->cols, j + 1) - j0;
    const bool direct = s->dw.t.dtype == NF_F32;
    const int64_t at = e * s->dw.t.stride[0] + i0 * s->dw.t.stride[1] + j0;
    float *buffer = s->lanes + lane * s->lane_floats;
    float *c = direct ? (float *)s->dw.t.data + at : buffer + s->lane_floats - s->rows.size * s->cols.size;
    const int64_t ldc = direct ? s->dw.t.stride[1] : n;
    bool begun = direct && s->dw.accumulate;

    for (int g = s->head[e]; g >= 0; g = s->next[g]) {
        int64_t begin = nf_group_begin(s->groups, g), rows = nf_group_end(s->groups, g) - begin;
        if (rows == 0)
            continue;
        nf_cpu_gemm_mats(m, n, rows, nf_mat_from(s->left, i0, begin), nf_mat_from(s->right, begin, j0), begun ? 1.0f : 0.0f, c,
                         ldc, buffer);
        begun = true;
    }
    for (int64_t r = 0; r < m; r++) {
        if (!begun)
            memset(c + r * ldc, 0, (size_t)n * sizeof *c);
        if (!direct)
            nf_grad_write(s->dw, at + r * s->dw.t.stride[1], c + r * n, n);
    }
}

NF_CLONES static void add_scaled(float *sum, const float *x, float by, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        sum[i] += x[i] * by;
}

static void bias_strip(void *ctx, int64_t tile, int64_t lane)
{
    const struct walk *s = ctx;
    const int64_t e = s->first_expert + tile / s->strips.count, k = tile % s->strips.count;
    const int64_t j0 = nf_cut_at(&s->strips, k), n = nf_cut_at(&s->strips, k + 1) - j0;
    float *sum = s->lanes + lane * s->lane_floats, *row = sum + STRIP;

    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int g = s->head[e]; g >= 0; g = s->next[g])
        for (int64_t i = nf_group_begin(s->groups, g); i < nf_group_end(s->groups, g); i++) {
            const char *dy = (const char *)nf_row(&s->dy, i) + (size_t)j0 * nf_dtype_size(s->dy.dtype);
            nf_widen_row(row, dy, s->dy.dtype, n);
            add_scaled(sum, row, s->row_weight ? s->row_weight[i] : 1.0f, n);
        }
    nf_grad_write(s->dbias, e * s->dbias.t.stride[0] + j0, sum, n);
}

nf_status nf_cpu_grouped_wgrad(nf_queue *q, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                               const struct nf_grouped_arg *arg, void *scratch)
{
    struct walk s;

    plan(&s, dw, dbias, dy, x, groups, arg, scratch);
    NF_TRY(nf_groups_check("grouped_wgrad", groups, x->dim[0], s.experts));
    for (int64_t e = 0; e < s.experts; e++)
        s.head[e] = -1;
    for (int g = groups->count - 1; g >= 0; g--) {
        s.next[g] = s.head[groups->expert[g]];
        s.head[groups->expert[g]] = g;
    }
    const int64_t at_once = arg->backend == NF_EXPERTS_EAGER ? 1 : s.experts;
    for (; s.first_expert < s.experts; s.first_expert += at_once) {
        if (dw.t.data)
            nf_cpu_lanes(q, at_once * s.rows.count * s.cols.count, weight_tile, &s);
        if (dbias.t.data)
            nf_cpu_lanes(q, at_once * s.strips.count, bias_strip, &s);
    }
    return NF_OK;
}
