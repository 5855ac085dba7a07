/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_moe.c: the two walks. Buffers that are lent to the exchange are overwritten with other numbers as soon as the contract
 * allows it, so that a message that reads or writes them too late is seen.
 */
#include "fake_moe.h"

#include <stdlib.h>
#include <string.h>

int fake_factor(int expert)
{
    return expert % 12 + 1;
}

double fake_get(const void *x, nf_dtype type, int64_t i)
{
    return type == NF_F32 ? ((const float *)x)[i] : nf_bf16_to_f32(((const uint16_t *)x)[i]);
}

void fake_put(void *x, nf_dtype type, int64_t i, double value)
{
    if (type == NF_F32)
        ((float *)x)[i] = (float)value;
    else
        ((uint16_t *)x)[i] = nf_f32_to_bf16((float)value);
}

static void *memory(int64_t n, size_t each)
{
    void *p = calloc((size_t)n + 1, each);
    need(p ? NF_OK : NF_ENOMEM);
    return p;
}

struct fake_result fake_result_new(int64_t tokens, const struct nf_xshape *s)
{
    return (struct fake_result){.y = memory(tokens * s->width, sizeof(float)),
                                .dx = memory(tokens * s->width, sizeof(float)),
                                .dweight = memory(tokens * s->k, sizeof(float))};
}

void fake_result_free(struct fake_result *r)
{
    free(r->y);
    free(r->dx);
    free(r->dweight);
}

/* What the layer keeps of a slice's received rows. */
struct kept {
    int64_t count;
    void *rows;
    float *side;
    int32_t *ids;
};

struct walk {
    struct world *w;
    const struct fake_case *c;
    const struct nf_xshape *s;
    struct fake_result *r;
    nf_xplan *plan;
    int first, experts, slices;
    int64_t row_cap, expert_cap;
    struct kept *kept; /* [chunks] */
    void *partial;     /* as they are made, on the host */
    float *side;
    struct { /* on the device */
        void *x, *dy, *partial[2];
        float *weight, *side[2];
        int32_t *ids;
    } on;
};

static size_t rows_bytes(const struct walk *k, int64_t rows)
{
    return (size_t)(rows * k->s->width) * nf_dtype_size(k->s->dtype);
}

static size_t band_bytes(const struct walk *k, int64_t rows)
{
    return (size_t)(rows * k->s->k) * sizeof(float);
}

static struct kept kept_new(const struct walk *k)
{
    return (struct kept){.rows = memory(k->row_cap * k->s->width, nf_dtype_size(k->s->dtype)),
                         .side = memory(k->row_cap * k->s->k, sizeof(float)),
                         .ids = memory(k->row_cap * k->s->k, sizeof(int32_t))};
}

static void kept_free(struct kept *x)
{
    free(x->rows);
    free(x->side);
    free(x->ids);
}

/* Copy what has arrived, and see that it fits, expert by expert with padding. */
static void receive(struct walk *k, int slice, struct kept *to)
{
    struct nf_received in = nf_xplan_received(k->plan, slice);
    int64_t *each = memory(k->experts, sizeof *each), expert_rows = 0;
    int32_t rows;

    world_get(k->w, &rows, in.count, sizeof rows);
    k->r->fits = k->r->fits && in.cap == k->row_cap && rows >= 0 && rows <= k->row_cap;
    to->count = rows < 0 ? 0 : rows <= k->row_cap ? rows : k->row_cap;
    world_get(k->w, to->rows, in.rows, rows_bytes(k, to->count));
    world_get(k->w, to->side, in.side, band_bytes(k, to->count));
    world_get(k->w, to->ids, in.ids, band_bytes(k, to->count));
    for (int64_t i = 0; i < to->count * k->s->k; i++) {
        k->r->fits = k->r->fits && to->ids[i] >= -1 && to->ids[i] < k->experts;
        if (to->ids[i] >= 0 && to->ids[i] < k->experts)
            each[to->ids[i]]++;
    }
    for (int e = 0; e < k->experts; e++)
        expert_rows += (each[e] + k->s->row_pad - 1) / k->s->row_pad * k->s->row_pad;
    k->r->fits = k->r->fits && expert_rows <= k->expert_cap;
    free(each);
}

/* The sum over the local experts of a received row: of weight (e + 1). */
static double factor(const struct walk *k, const struct kept *in, int64_t i)
{
    double f = 0;
    for (int j = 0; j < k->s->k; j++) {
        int32_t id = in->ids[i * k->s->k + j];
        if (id >= 0)
            f += (double)in->side[i * k->s->k + j] * fake_factor(k->first + id);
    }
    return f;
}

static void scale_rows(const struct walk *k, const struct kept *in, const struct kept *by, void *partial)
{
    for (int64_t i = 0; i < in->count; i++) {
        double f = factor(k, by, i);
        for (int64_t x = 0; x < k->s->width; x++)
            fake_put(partial, k->s->dtype, i * k->s->width + x, f * fake_get(in->rows, k->s->dtype, i * k->s->width + x));
    }
}

/* d weight of each slot of a received row: (e + 1) <dy, x>. */
static void weight_gradients(const struct walk *k, const struct kept *dy, const struct kept *x, float *side)
{
    for (int64_t i = 0; i < dy->count; i++) {
        double dot = 0;
        for (int64_t h = 0; h < k->s->width; h++)
            dot += fake_get(dy->rows, k->s->dtype, i * k->s->width + h) * fake_get(x->rows, k->s->dtype, i * k->s->width + h);
        for (int j = 0; j < k->s->k; j++) {
            int32_t id = x->ids[i * k->s->k + j];
            side[i * k->s->k + j] = id >= 0 ? (float)(dot * fake_factor(k->first + id)) : 0;
        }
    }
}

static void combine(struct walk *k, int chunk, float *y, float *weights)
{
    struct nf_returned back = nf_xplan_returned(k->plan, chunk);
    int32_t *where = memory(back.tokens * back.slots, sizeof *where), rows = 0;

    world_get(k->w, where, back.where, (size_t)(back.tokens * back.slots) * sizeof *where);
    for (int64_t i = 0; i < back.tokens * back.slots; i++)
        rows = where[i] >= rows ? where[i] + 1 : rows;
    void *row = memory(rows * k->s->width, nf_dtype_size(k->s->dtype));
    float *side = memory(rows * k->s->k, sizeof *side);
    world_get(k->w, row, back.rows, rows_bytes(k, rows));
    if (weights)
        world_get(k->w, side, back.side, band_bytes(k, rows));
    for (int64_t t = 0; t < back.tokens; t++)
        for (int64_t i = 0; i < back.slots; i++) {
            int64_t from = where[t * back.slots + i];
            for (int64_t x = 0; x < k->s->width && from >= 0; x++)
                y[(back.token0 + t) * k->s->width + x] += (float)fake_get(row, k->s->dtype, from * k->s->width + x);
            for (int j = 0; j < k->s->k && from >= 0 && weights; j++)
                weights[(back.token0 + t) * k->s->k + j] += side[from * k->s->k + j];
        }
    free(where);
    free(row);
    free(side);
}

static void send(struct walk *k, int slice, const void *rows, const float *side, nf_event *event)
{
    need(nf_exchange_out(k->w->queue, k->plan, slice, rows, k->c->ld, side, event));
}

static void forward(struct walk *k)
{
    nf_event out[2] = {NF_DONE, NF_DONE}, back[2] = {NF_DONE, NF_DONE};
    struct kept spare = kept_new(k);

    for (int s = 0; s < k->slices && s < 2; s++)
        send(k, s, k->on.x, k->on.weight, &out[s]);
    for (int s = 0; s < k->slices; s++) {
        struct nf_slice slice = nf_xplan_slice(k->plan, s);
        struct kept *in = slice.kept ? &k->kept[slice.chunk] : &spare;
        need(nf_queue_wait(k->w->queue, out[s & 1]));
        receive(k, s, in);
        need(nf_queue_wait(k->w->queue, back[s & 1]));
        memset(k->partial, 0x7f, rows_bytes(k, k->row_cap));
        scale_rows(k, in, in, k->partial);
        world_put(k->w, k->on.partial[s & 1], k->partial, rows_bytes(k, k->row_cap));
        need(nf_exchange_back(k->w->queue, k->plan, s, k->on.partial[s & 1], NULL, &back[s & 1]));
        if (s + 2 < k->slices)
            send(k, s + 2, k->on.x, k->on.weight, &out[s & 1]);
        struct nf_slice before = s ? nf_xplan_slice(k->plan, s - 1) : slice;
        if (s && before.last) {
            need(nf_queue_wait(k->w->queue, back[(s - 1) & 1]));
            combine(k, before.chunk, k->r->y, NULL);
        }
    }
    for (int i = 0; i < 2; i++)
        need(nf_queue_wait(k->w->queue, back[i]));
    combine(k, k->s->chunks - 1, k->r->y, NULL);
    kept_free(&spare);
}

static void backward(struct walk *k)
{
    const bool whole = k->slices == k->s->chunks;
    nf_event out[2] = {NF_DONE, NF_DONE}, back[2] = {NF_DONE, NF_DONE};
    struct kept spare = kept_new(k), dy = kept_new(k);

    for (int s = 0; whole && s < k->slices && s < 2; s++)
        send(k, s, k->on.dy, NULL, &out[s]);
    for (int s = 0; s < k->slices; s++) {
        struct nf_slice slice = nf_xplan_slice(k->plan, s);
        struct kept *x = slice.kept ? &k->kept[slice.chunk] : &spare;
        if (!slice.kept) {
            nf_event again;
            send(k, s, k->on.x, k->on.weight, &again);
            need(nf_queue_wait(k->w->queue, again));
            receive(k, s, x);
        }
        if (!whole)
            send(k, s, k->on.dy, NULL, &out[s & 1]);
        need(nf_queue_wait(k->w->queue, out[s & 1]));
        receive(k, s, &dy);
        k->r->fits = k->r->fits && dy.count == x->count && memcmp(dy.ids, x->ids, (size_t)(x->count * k->s->k) * 4) == 0;
        for (int64_t i = 0; i < dy.count * k->s->k; i++)
            k->r->fits = k->r->fits && dy.side[i] == 0;
        need(nf_queue_wait(k->w->queue, back[s & 1]));
        scale_rows(k, &dy, x, k->partial);
        weight_gradients(k, &dy, x, k->side);
        world_put(k->w, k->on.partial[s & 1], k->partial, rows_bytes(k, k->row_cap));
        world_put(k->w, k->on.side[s & 1], k->side, band_bytes(k, k->row_cap));
        need(nf_exchange_back(k->w->queue, k->plan, s, k->on.partial[s & 1], k->on.side[s & 1], &back[s & 1]));
        if (whole && s + 2 < k->slices)
            send(k, s + 2, k->on.dy, NULL, &out[s & 1]);
        struct nf_slice before = s ? nf_xplan_slice(k->plan, s - 1) : slice;
        if (s && before.last) {
            need(nf_queue_wait(k->w->queue, back[(s - 1) & 1]));
            combine(k, before.chunk, k->r->dx, k->r->dweight);
        }
    }
    for (int i = 0; i < 2; i++)
        need(nf_queue_wait(k->w->queue, back[i]));
    combine(k, k->s->chunks - 1, k->r->dx, k->r->dweight);
    kept_free(&spare);
    kept_free(&dy);
}

static void *placed(struct world *w, const void *host, size_t bytes)
{
    void *p = world_memory(w, bytes);
    world_put(w, p, host, bytes);
    return p;
}

static void walk_new(struct walk *k, const nf_mesh *mesh)
{
    const nf_group *ep = nf_mesh_group(mesh, NF_EP);

    k->experts = k->s->experts / nf_group_size(ep);
    k->first = nf_group_rank(ep) * k->experts;
    k->row_cap = nf_x_row_cap(ep, k->s);
    k->expert_cap = nf_x_expert_cap(ep, k->s);
    k->kept = memory(k->s->chunks, sizeof *k->kept);
    for (int c = 0; c < k->s->chunks; c++)
        k->kept[c] = kept_new(k);
    k->partial = memory(k->row_cap * k->s->width, nf_dtype_size(k->s->dtype));
    k->side = memory(k->row_cap * k->s->k, sizeof(float));
    k->on.x = placed(k->w, k->c->x, (size_t)(k->c->tokens * k->c->ld) * nf_dtype_size(k->s->dtype));
    k->on.dy = placed(k->w, k->c->dy, (size_t)(k->c->tokens * k->c->ld) * nf_dtype_size(k->s->dtype));
    k->on.weight = placed(k->w, k->c->weight, band_bytes(k, k->c->tokens));
    k->on.ids = placed(k->w, k->c->ids, band_bytes(k, k->c->tokens));
    for (int i = 0; i < 2; i++) {
        k->on.partial[i] = world_memory(k->w, rows_bytes(k, k->row_cap));
        k->on.side[i] = world_memory(k->w, band_bytes(k, k->row_cap));
    }
}

static void walk_free(struct walk *k)
{
    for (int c = 0; c < k->s->chunks; c++)
        kept_free(&k->kept[c]);
    free(k->kept);
    free(k->partial);
    free(k->side);
    void *on[] = {k->on.x, k->on.dy, k->on.weight, k->on.ids, k->on.partial[0], k->on.partial[1], k->on.side[0], k->on.side[1]};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++)
        world_release(k->w, on[i]);
}

static void plan(struct walk *k, nf_exchange *x)
{
    nf_event counted;

    need(nf_xplan_new(k->w->queue, x, k->w->step, NF_LOW, k->s, &k->plan));
    need(nf_xplan_counts(k->w->queue, k->plan, k->on.ids, k->c->tokens, &counted));
    need(nf_queue_wait(k->w->queue, counted));
    need(nf_xplan_slices(k->w->queue, k->plan, &k->slices));
}

/* Through windows that were too small the forward is done again, with counts on the host. */
static void repeat_overflowed(struct walk *k, nf_exchange *x, nf_mark step)
{
    bool overflowed;

    need(nf_exchange_overflowed(k->w->queue, x, &overflowed));
    if (!overflowed)
        return;
    memset(k->r->y, 0, (size_t)(k->c->tokens * k->s->width) * sizeof(float));
    k->r->fits = true;
    nf_arena_reset(k->w->step, NF_LOW, step);
    nf_exchange_count_on_host(x, true);
    plan(k, x);
    nf_exchange_count_on_host(x, false);
    forward(k);
}

void fake_walk(struct world *w, const nf_mesh *mesh, const struct fake_case *c, struct fake_result *r)
{
    struct walk k = {.w = w, .c = c, .s = &c->shape, .r = r};
    nf_mark run = nf_arena_mark(w->run), step = nf_arena_mark(w->step);
    nf_exchange *x;

    r->fits = true;
    walk_new(&k, mesh);
    need(nf_exchange_new(mesh, &x));
    nf_exchange_reserve(x, &c->shape);
    need(nf_exchange_commit(x, w->run));
    size_t used = nf_arena_used(w->step);
    struct nf_traffic before = nf_mesh_traffic(mesh);
    int64_t waits = nf_device_host_waits(w->device) - w->waits;
    plan(&k, x);
    r->plan_bytes = nf_arena_used(w->step) - used;
    r->windows = strcmp(nf_exchange_transport(x), "peer windows") == 0;
    forward(&k);
    r->host_waits = nf_device_host_waits(w->device) - w->waits - waits;
    need(nf_queue_drain(w->queue)); /* what kernels have sent is known when they are over */
    struct nf_traffic after = nf_mesh_traffic(mesh);
    r->dispatch = after.dispatch - before.dispatch;
    r->combine = after.combine - before.combine;
    repeat_overflowed(&k, x, step);
    r->slices = k.slices;
    r->overflow = nf_xplan_overflow_slices(k.plan);
    backward(&k);
    nf_exchange_free(x);
    nf_arena_reset(w->step, NF_LOW, step);
    nf_arena_reset(w->run, NF_LOW, run);
    walk_free(&k);
}
