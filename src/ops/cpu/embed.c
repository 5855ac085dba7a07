/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c: rows by token, and their gradient. Backward: the tokens of one id form a chain in ascending order, so every row of
 * dw is summed in fp32 and written once, by whichever thread has it.
 */
#include "cpu.h"
#include "parts.h"
#include "scratch.h"
#include "vmath.h"

#include <string.h>

static nf_status check_ids(const char *op, const int32_t *ids, int64_t tokens, int64_t vocabulary)
{
    for (int64_t t = 0; t < tokens; t++)
        if (ids[t] < 0 || ids[t] >= vocabulary)
            return nf_fail(NF_EBUG, "%s: token %lld has id %d, the vocabulary has %lld", op, (long long)t, (int)ids[t],
                           (long long)vocabulary);
    return NF_OK;
}

struct embed {
    nf_tensor y, w;
    const int32_t *ids;
    struct nf_cut rows;
};

static void forward_tile(void *ctx, int64_t tile)
{
    const struct embed *s = ctx;
    const size_t bytes = (size_t)s->y.dim[1] * nf_dtype_size(s->y.dtype);

    for (int64_t t = nf_cut_at(&s->rows, tile); t < nf_cut_at(&s->rows, tile + 1); t++)
        memcpy(nf_row_out(&s->y, t), nf_row(&s->w, s->ids[t]), bytes);
}

nf_status nf_cpu_embed(nf_queue *q, nf_out y, const int32_t *ids, nf_in w)
{
    struct embed s = {*y, *w, ids, nf_cut_rows(y->dim[0], y->dim[1])};

    NF_TRY(check_ids("embed", ids, y->dim[0], w->dim[0]));
    nf_cpu_tiles(q, s.rows.count, forward_tile, &s);
    return NF_OK;
}

struct embed_bwd {
    nf_grad dw;
    nf_tensor dy;
    int32_t pad_id, *first, *next; /* [V], [T]: chains of tokens, -1 at the end */
    float *sum, *row;              /* [lanes, H] */
    struct nf_cut rows;
};

static size_t lay(struct embed_bwd *s, int64_t tokens, nf_grad dw, void *scratch)
{
    struct nf_bump b = {.base = scratch};

    s->rows = nf_cut_rows(dw.t.dim[0], dw.t.dim[1]);
    s->first = nf_bump_get(&b, dw.t.dim[0], sizeof(int32_t));
    s->next = nf_bump_get(&b, tokens, sizeof(int32_t));
    s->sum = nf_bump_floats(&b, nf_lanes(s->rows.count) * dw.t.dim[1]);
    s->row = nf_bump_floats(&b, nf_lanes(s->rows.count) * dw.t.dim[1]);
    return b.at;
}

size_t nf_cpu_embed_bwd_scratch(int64_t tokens, nf_grad dw)
{
    struct embed_bwd s;
    return lay(&s, tokens, dw, NULL);
}

NF_CLONES static void add_row(float *sum, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        sum[i] += x[i];
}

static void backward_tile(void *ctx, int64_t tile, int64_t lane)
{
    const struct embed_bwd *s = ctx;
    const int64_t H = s->dy.dim[1];
    float *sum = s->sum + lane * H, *row = s->row + lane * H;

    for (int64_t v = nf_cut_at(&s->rows, tile); v < nf_cut_at(&s->rows, tile + 1); v++) {
        nf_grad g = s->dw;
        int32_t t = s->first[v];
        if (v == s->pad_id) { /* also what other uses of this row gave */
            t = -1;
            g.accumulate = false;
        } else if (t < 0 && g.accumulate) {
            continue;
        }
        memset(sum, 0, (size_t)H * sizeof *sum);
        for (; t >= 0; t = s->next[t]) {
            nf_widen_row(row, nf_row(&s->dy, t), s->dy.dtype, H);
            add_row(sum, row, H);
        }
        nf_grad_write(g, v * g.t.stride[0], sum, H);
    }
}

nf_status nf_cpu_embed_bwd(nf_queue *q, nf_grad dw, const int32_t *ids, nf_in dy, int32_t pad_id, void *scratch)
{
    struct embed_bwd s = {.dw = dw, .dy = *dy, .pad_id = pad_id};

    NF_TRY(check_ids("embed_bwd", ids, dy->dim[0], dw.t.dim[0]));
    lay(&s, dy->dim[0], dw, scratch);
    for (int64_t v = 0; v < dw.t.dim[0]; v++)
        s.first[v] = -1;
    for (int64_t t = dy->dim[0] - 1; t >= 0; t--) {
        s.next[t] = s.first[ids[t]];
        s.first[ids[t]] = (int32_t)t;
    }
    nf_cpu_lanes(q, s.rows.count, backward_tile, &s);
    return NF_OK;
}
