/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.c: the experts' linear layers, forward and towards the input, in three ways.
 *
 *   eager     one expert after another, each product shared by the threads: how a loop over modules does it
 *   batched   all groups cut into tiles of BATCH_ROWS rows, short ones filled up with zeros: products of one size
 *   grouped   one list of (group, row tile, column tile), shared by the threads
 *
 * The list is not stored: tiles are numbered through, and first[g] is the number of a group's first.
 */
#include "grouped.h"
#include "block.h"
#include "cpu.h"
#include "lanes.h"
#include "scratch.h"
#include "tiles.h"
#include "vmath.h"

enum { MOST_ROWS = 512, MOST_COLS = 768, BATCH_ROWS = 64 };

nf_status nf_groups_check(const char *op, const struct nf_groups *groups, int64_t rows, int64_t experts)
{
    for (int g = 0; g < groups->count; g++) {
        int64_t begin = nf_group_begin(groups, g), end = nf_group_end(groups, g);
        if (begin < 0 || end < begin || end > rows)
            return nf_fail(NF_EBUG, "%s: group %d is rows [%lld, %lld) of %lld (base %lld)", op, g, (long long)begin,
                           (long long)end, (long long)rows, (long long)groups->base);
        if (groups->expert[g] < 0 || groups->expert[g] >= experts)
            return nf_fail(NF_EBUG, "%s: group %d is of expert %d of %lld", op, g, (int)groups->expert[g], (long long)experts);
    }
    return NF_OK;
}

struct walk {
    struct nf_block b;
    nf_tensor w, bias;
    bool transposed, has_bias; /* transposed: how the block reads w */
    struct nf_cut cols;
    const struct nf_groups *groups;
    int64_t tile_rows, *first; /* [groups + 1] */
    float *lanes, *pair;       /* pair: two rows of dy's width */
    int64_t lane_floats, base_tile;
};

static size_t plan(struct walk *s, bool dgrad, nf_out out, nf_out pre, nf_out again, bool dot, nf_in in, nf_in w,
                   const struct nf_groups *groups, const struct nf_grouped_arg *arg, void *scratch)
{
    struct nf_bump p = {.base = scratch};
    const bool halved = !dgrad && nf_act_gated(&arg->act), batched = arg->backend == NF_EXPERTS_BATCHED;
    const int64_t N = arg->in_out ? w->dim[2] : w->dim[1], K = arg->in_out ? w->dim[1] : w->dim[2], rows = in->dim[0];

    *s = (struct walk){.w = *w, .transposed = dgrad == arg->in_out, .groups = groups};
    s->b = (struct nf_block){.dgrad = dgrad,
                             .in = *in,
                             .out = *out,
                             .has_pre = pre != NULL,
                             .has_again = again != NULL,
                             .act = arg->act,
                             .w_type = w->dtype,
                             .cols = dgrad    ? K
                                     : halved ? N / 2
                                              : N,
                             .row_weight = arg->row_weight,
                             .dot_rows = rows,
                             .pad = batched ? BATCH_ROWS : 0};
    if (pre)
        s->b.pre = *pre;
    if (again)
        s->b.again = *again;
    if (arg->bias && arg->bias->data) {
        s->has_bias = true;
        s->bias = *arg->bias;
    }
    s->cols = nf_cut_of(s->b.cols, nf_group_tile(groups->count, MOST_COLS), 16);
    s->tile_rows = batched ? BATCH_ROWS : MOST_ROWS;
    s->b.most_rows = batched || rows > MOST_ROWS ? s->tile_rows : (rows + 15) / 16 * 16;
    s->b.most_cols = s->cols.size;
    s->b.has_dot = dot;
    if (dot)
        s->b.dot = nf_bump_floats(&p, s->cols.count * rows);
    s->pair = nf_bump_floats(&p, dot ? 2 * in->dim[1] : 0);
    s->lane_floats = nf_block_scratch(&s->b);
    s->first = nf_bump_get(&p, groups->count + 1, sizeof(int64_t));
    s->lanes = nf_bump_floats(&p, nf_lanes((rows / s->tile_rows + groups->count) * s->cols.count) * s->lane_floats);
    return p.at;
}

size_t nf_cpu_grouped_linear_scratch(nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                     const struct nf_grouped_arg *arg)
{
    struct walk s;
    return plan(&s, false, y, pre, NULL, false, x, w, groups, arg, NULL);
}

size_t nf_cpu_grouped_dgrad_scratch(nf_out dx, nf_out again, const float *drow_weight, nf_in dy, nf_in w, nf_in pre,
                                    const struct nf_groups *groups, const struct nf_grouped_arg *arg)
{
    struct walk s;
    return plan(&s, true, dx, pre, again, drow_weight != NULL, dy, w, groups, arg, NULL);
}

static int64_t group_rows(const struct walk *s, int g)
{
    return nf_group_end(s->groups, g) - nf_group_begin(s->groups, g);
}

static void run_tile(void *ctx, int64_t tile, int64_t lane)
{
    const struct walk *s = ctx;
    int lo = 0, hi = s->groups->count - 1;

    tile += s->base_tile;
    while (lo < hi) { /* the last group whose first tile is not behind this one */
        int mid = lo + (hi - lo + 1) / 2;
        if (s->first[mid] <= tile)
            lo = mid;
        else
            hi = mid - 1;
    }
    const int64_t local = tile - s->first[lo], n = group_rows(s, lo), begin = nf_group_begin(s->groups, lo);
    const int64_t e = s->groups->expert[lo];
    const struct nf_cut rows =
        s->b.pad ? (struct nf_cut){n, (n + s->tile_rows - 1) / s->tile_rows, s->tile_rows} : nf_cut_of(n, s->tile_rows, 16);
    const int64_t i = local % rows.count, j = local / rows.count;
    nf_tensor bias;
    struct nf_block_tile t = {.i0 = begin + nf_cut_at(&rows, i),
                              .i1 = begin + nf_cut_at(&rows, i + 1),
                              .j0 = nf_cut_at(&s->cols, j),
                              .j1 = nf_cut_at(&s->cols, j + 1),
                              .j = j,
                              .w = {(const char *)s->w.data + (size_t)(e * s->w.stride[0]) * nf_dtype_size(s->w.dtype),
                                    s->w.dtype, s->w.stride[1], s->transposed, NULL}};
    if (s->has_bias && !s->b.dgrad) {
        bias = nf_rows(s->bias, e, 1);
        t.bias = &bias;
    }
    nf_block_run(&s->b, &t, s->lanes + lane * s->lane_floats);
}

static void run(nf_queue *q, struct walk *s, enum nf_experts backend)
{
    const int count = s->groups->count;

    s->first[0] = 0;
    for (int g = 0; g < count; g++) {
        int64_t n = group_rows(s, g), tiles = n == 0     ? 0
                                              : s->b.pad ? (n + s->tile_rows - 1) / s->tile_rows
                                                         : nf_cut_of(n, s->tile_rows, 16).count;
        s->first[g + 1] = s->first[g] + tiles * s->cols.count;
    }
    if (backend != NF_EXPERTS_EAGER) {
        nf_cpu_lanes(q, s->first[count], run_tile, s);
        return;
    }
    for (int g = 0; g < count; g++) {
        s->base_tile = s->first[g];
        nf_cpu_lanes(q, s->first[g + 1] - s->first[g], run_tile, s);
    }
}

nf_status nf_cpu_grouped_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                const struct nf_grouped_arg *arg, void *scratch)
{
    struct walk s;

    NF_TRY(nf_groups_check("grouped_linear", groups, x->dim[0], w->dim[0]));
    plan(&s, false, y, pre, NULL, false, x, w, groups, arg, scratch);
    run(q, &s, arg->backend);
    return NF_OK;
}

/* ---- gradients of the routing weights ---------------------------------------------------------------------------------- */

NF_CLONES static float dot(const float *a, const float *b, int64_t n)
{
    float s = 0.0f;

    NF_SIMD_SUM(s)
    for (int64_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

/* The column tiles' parts in order, and what the bias gave: it is weighted too. */
static void sum_dots(const struct walk *s, float *drow_weight, float *rows)
{
    const int64_t N = s->b.in.dim[1];
    float *bias = rows, *dy = rows + N;

    for (int g = 0; g < s->groups->count; g++) {
        if (s->has_bias) {
            nf_tensor row = nf_rows(s->bias, s->groups->expert[g], 1);
            nf_widen_row(bias, row.data, row.dtype, N);
        }
        for (int64_t i = nf_group_begin(s->groups, g); i < nf_group_end(s->groups, g); i++) {
            float sum = 0.0f;
            for (int64_t j = 0; j < s->cols.count; j++)
                sum += s->b.dot[j * s->b.dot_rows + i];
            if (s->has_bias) {
                nf_widen_row(dy, nf_row(&s->b.in, i), s->b.in.dtype, N);
                sum += dot(dy, bias, N);
            }
            drow_weight[i] = sum;
        }
    }
}

nf_status nf_cpu_grouped_dgrad(nf_queue *q, nf_out dx, nf_out act_again, float *drow_weight, nf_in dy, nf_in w, nf_in pre,
                               const struct nf_groups *groups, const struct nf_grouped_arg *arg, void *scratch)
{
    struct walk s;

    NF_TRY(nf_groups_check("grouped_dgrad", groups, dy->dim[0], w->dim[0]));
    plan(&s, true, dx, pre, act_again, drow_weight != NULL, dy, w, groups, arg, scratch);
    run(q, &s, arg->backend);
    if (drow_weight)
        sum_dots(&s, drow_weight, s.pair);
    return NF_OK;
}
