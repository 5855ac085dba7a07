/* SPDX-License-Identifier: Apache-2.0 */
/* order.c: received rows to expert order and back. Sums run in expert order, then in rank order: never in order of arrival. */
#include "cpu.h"
#include "half.h"
#include "lanes.h"
#include "scratch.h"

#include <string.h>

enum { SPAN = 256 /* elements summed at a time */ };

size_t nf_cpu_order_scratch(const struct nf_order *order)
{
    return (size_t)order->experts * sizeof(int32_t);
}

/* Insert x into the k places of a row: ascending, -1 for none at the end. */
static void insert(int32_t *place, int used, int32_t x)
{
    for (; used > 0 && place[used - 1] > x; used--)
        place[used] = place[used - 1];
    place[used] = x;
}

nf_status nf_cpu_order_build(nf_queue *q, const struct nf_order *o, const int32_t *ids, const float *side, const int32_t *count,
                             int pad, void *scratch)
{
    const int64_t rows = *count;
    int32_t *next = scratch; /* of each expert: first its rows, then where the next one goes */
    int64_t at = 0;

    if (rows < 0 || rows > o->row_cap)
        return nf_fail(NF_EBUG, "order_build: %lld rows, the window holds %lld", (long long)rows, (long long)o->row_cap);
    memset(next, 0, (size_t)o->experts * sizeof *next);
    for (int64_t i = 0; i < rows * o->k; i++) {
        if (ids[i] < -1 || ids[i] >= o->experts)
            return nf_fail(NF_EBUG, "order_build: row %lld names expert %d of %d", (long long)(i / o->k), ids[i], o->experts);
        if (ids[i] >= 0)
            next[ids[i]]++;
    }
    for (int e = 0; e < o->experts; e++) {
        const int64_t first = (at + pad - 1) / pad * pad;
        at = first + next[e];
        o->expert[e] = e;
        o->begin[e] = (int32_t)(o->base + first);
        o->end[e] = (int32_t)(o->base + at);
        next[e] = (int32_t)first;
    }
    if (at > o->expert_cap)
        return nf_fail(NF_EBUG, "order_build: %lld expert rows, there is room for %lld", (long long)at,
                       (long long)o->expert_cap);
    for (int64_t row = 0; row < rows; row++) {
        int32_t *place = o->place + row * o->k;
        int used = 0;
        for (int s = 0; s < o->k; s++) {
            const int32_t e = ids[row * o->k + s];
            if (e < 0)
                continue;
            const int32_t to = next[e]++;
            o->source[to] = (int32_t)row;
            o->slot[to] = s;
            o->weight[to] = side ? side[row * o->k + s] : 0.0f;
            insert(place, used++, to);
        }
        for (; used < o->k; used++)
            place[used] = -1;
    }
    nf_queue_progress(q);
    return NF_OK;
}

struct moving {
    const struct nf_order *o;
    nf_in from, add;
    nf_out to;
    const int32_t *where;
    int64_t slots, rows;
    int k;
    float *side_to;
    const float *side_from;
};

static void expand_expert(void *ctx, int64_t e, int64_t lane)
{
    const struct moving *m = ctx;
    const struct nf_order *o = m->o;
    const size_t bytes = (size_t)m->from->dim[1] * nf_dtype_size(m->from->dtype);

    (void)lane;
    for (int64_t r = o->begin[e] - o->base; r < o->end[e] - o->base; r++)
        memcpy(nf_row_out(m->to, r), nf_row(m->from, o->source[r]), bytes);
}

nf_status nf_cpu_expand(nf_queue *q, nf_out rows, nf_in received, const struct nf_order *o)
{
    nf_cpu_lanes(q, o->experts, expand_expert, &(struct moving){.o = o, .from = received, .to = rows});
    return NF_OK;
}

static void add_span(float *restrict sum, nf_in from, int64_t row, int64_t first, int64_t n)
{
    const char *p = (const char *)nf_row(from, row) + (size_t)first * nf_dtype_size(from->dtype);

    if (from->dtype == NF_F32)
        for (int64_t i = 0; i < n; i++)
            sum[i] += ((const float *)(const void *)p)[i];
    else
        for (int64_t i = 0; i < n; i++)
            sum[i] += nf_vfrom_bf16(((const uint16_t *)(const void *)p)[i]);
}

static void store_span(nf_out to, int64_t row, int64_t first, const float *sum, int64_t n)
{
    nf_narrow_row((char *)nf_row_out(to, row) + (size_t)first * nf_dtype_size(to->dtype), to->dtype, sum, n);
}

/* to[row] = sum over the rows of `from` that the list names, in its order, then add[row]; -1: none */
static void sum_rows(nf_out to, int64_t row, nf_in from, const int32_t *list, int64_t n, nf_in add)
{
    for (int64_t first = 0; first < to->dim[1]; first += SPAN) {
        const int64_t width = to->dim[1] - first < SPAN ? to->dim[1] - first : SPAN;
        float sum[SPAN] = {0};
        for (int64_t r = 0; r < n; r++)
            if (list[r] >= 0)
                add_span(sum, from, list[r], first, width);
        if (add)
            add_span(sum, add, row, first, width);
        store_span(to, row, first, sum, width);
    }
}

static void collapse_block(void *ctx, int64_t block, int64_t lane)
{
    const struct moving *m = ctx;
    const struct nf_order *o = m->o;

    (void)lane;
    for (int64_t i = block * NF_ROW_BLOCK; i < nf_block_end(block, m->rows); i++) {
        const int32_t *place = o->place + i * o->k;
        sum_rows(m->to, i, m->from, place, o->k, NULL);
        if (!m->side_to)
            continue;
        memset(m->side_to + i * o->k, 0, (size_t)o->k * sizeof(float));
        for (int s = 0; s < o->k && place[s] >= 0; s++)
            m->side_to[i * o->k + o->slot[place[s]]] = m->side_from[place[s]];
    }
}

nf_status nf_cpu_collapse(nf_queue *q, nf_out partial, float *side, nf_in rows, const float *row_side, const struct nf_order *o,
                          const int32_t *count)
{
    struct moving m = {.o = o, .from = rows, .to = partial, .rows = *count, .side_to = side, .side_from = row_side};

    nf_cpu_lanes(q, nf_row_blocks(m.rows), collapse_block, &m);
    return NF_OK;
}

static void combine_block(void *ctx, int64_t block, int64_t lane)
{
    const struct moving *m = ctx;

    (void)lane;
    for (int64_t t = block * NF_ROW_BLOCK; t < nf_block_end(block, m->to->dim[0]); t++) {
        const int32_t *list = m->where + t * m->slots;
        sum_rows(m->to, t, m->from, list, m->slots, m->add);
        if (!m->side_to)
            continue;
        memset(m->side_to + t * m->k, 0, (size_t)m->k * sizeof(float));
        for (int64_t r = 0; r < m->slots; r++)
            for (int s = 0; s < m->k && list[r] >= 0; s++)
                m->side_to[t * m->k + s] += m->side_from[(int64_t)list[r] * m->k + s];
    }
}

nf_status nf_cpu_combine(nf_queue *q, nf_out y, float *weights, nf_in returned, const float *side, const int32_t *where,
                         int64_t slots, int k, nf_in add)
{
    struct moving m = {
        .from = returned, .add = add, .to = y, .where = where, .slots = slots, .k = k, .side_to = weights, .side_from = side};

    nf_cpu_lanes(q, nf_row_blocks(y->dim[0]), combine_block, &m);
    return NF_OK;
}
