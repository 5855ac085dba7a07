/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_gpurows.c: the kernels of the token exchange over NCCL against plain loops: rows of all alignments gathered from a list by
 * up to as many segments as there may be, with and without a side band, nothing beside them written; and ids made local. One
 * rank, one GPU; skipped where there is none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/gpu_comm.h"
#include "tap.h"
#include "world.h"

enum { TOKENS = 301, TOKEN0 = 77, PLACES = 3 * TOKENS, BESIDE = 64 };

/* What a case needs, on the host and on the device. */
struct memory {
    char *host, *on;
    size_t bytes;
};

static struct memory memory_new(struct world *w, size_t bytes, uint64_t key)
{
    struct memory m = {.host = malloc(bytes + BESIDE), .on = world_memory(w, bytes + BESIDE), .bytes = bytes + BESIDE};

    need(m.host ? NF_OK : NF_ENOMEM);
    for (size_t i = 0; i < m.bytes; i++)
        m.host[i] = (char)world_bits(key, 1, i);
    world_put(w, m.on, m.host, m.bytes);
    return m;
}

static bool memory_is(struct world *w, const struct memory *m)
{
    char *now = malloc(m->bytes);

    world_get(w, now, m->on, m->bytes);
    bool same = memcmp(now, m->host, m->bytes) == 0;
    for (size_t i = 0; !same && i < m->bytes; i++)
        if (now[i] != m->host[i]) {
            tap_note("byte %zu of %zu is %d, not %d", i, m->bytes, now[i], m->host[i]);
            break;
        }
    free(now);
    return same;
}

static void memory_free(struct world *w, struct memory *m)
{
    free(m->host);
    world_release(w, m->on);
}

struct shape {
    size_t row, stride, shift; /* bytes; shift: of the first row and of the first row out */
    int k, segments;
    bool side;
};

/* Segments that do not overlap in the output, some empty; what they are to write is written on the host. */
static void expect(const struct shape *s, struct nf_gpu_gather *g, const struct memory m[7])
{
    const int32_t *list = (const int32_t *)(void *)m[3].host;
    int64_t to = 0;

    for (int i = 0; i < s->segments; i++) {
        const uint64_t bits = world_bits(5, (uint64_t)s->segments, (uint64_t)i);
        const int64_t most = (PLACES - to) / (s->segments - i);
        const int32_t rows = (int32_t)(most > 0 ? bits % (uint64_t)most : 0), from = (int32_t)(bits >> 20) % (PLACES - rows);
        g->segment[i] = (struct nf_gpu_segment){from < 0 ? -from : from, (int32_t)to, rows};
        for (int32_t r = 0; r < rows; r++) {
            const size_t token = (size_t)(list[g->segment[i].from + r] - TOKEN0), band = (size_t)s->k * 4,
                         at = (size_t)(to + r);
            memcpy(m[4].host + s->shift + at * s->row, m[0].host + s->shift + token * s->stride, s->row);
            if (s->side)
                memcpy(m[5].host + at * band, m[1].host + token * band, band);
            memcpy(m[6].host + at * band, m[2].host + token * band, band);
        }
        to += rows + (bits >> 8 & 1);
        to = to < PLACES ? to : PLACES;
    }
    g->segments = s->segments;
}

static void gathers(struct world *w, const struct nf_gpu_comm *gpu, const struct shape *s)
{
    const size_t band = (size_t)s->k * 4;
    const size_t bytes[7] = {
        s->shift + TOKENS * s->stride,    TOKENS * band,       TOKENS * band,      PLACES * sizeof(int32_t),
        s->shift + (PLACES + 1) * s->row, (PLACES + 1) * band, (PLACES + 1) * band};
    struct memory m[7]; /* rows, side, ids, list; rows, side, ids out */
    bool right = true;

    for (int i = 0; i < 7; i++)
        m[i] = memory_new(w, bytes[i], (uint64_t)i);
    for (int i = 0; i < PLACES; i++)
        ((int32_t *)(void *)m[3].host)[i] = (int32_t)(TOKEN0 + world_bits(9, 9, (uint64_t)i) % TOKENS);
    world_put(w, m[3].on, m[3].host, m[3].bytes);
    struct nf_gpu_gather g = {.rows = m[0].on + s->shift,
                              .stride = s->stride,
                              .row = s->row,
                              .side = s->side ? (const float *)(void *)m[1].on : NULL,
                              .ids = (const int32_t *)(void *)m[2].on,
                              .list = (const int32_t *)(void *)m[3].on,
                              .token0 = TOKEN0,
                              .k = s->k,
                              .out_rows = m[4].on + s->shift,
                              .out_side = (float *)(void *)m[5].on,
                              .out_ids = (int32_t *)(void *)m[6].on};
    expect(s, &g, m);
    need(gpu->gather(nf_queue_native(w->queue), &g));
    need(nf_queue_drain(w->queue));
    for (int i = 0; i < 7; i++)
        right = memory_is(w, &m[i]) && right;
    tap_ok(right, "rows of %zu bytes, %zu apart, from %zu on; k = %d, %d segment(s)%s", s->row, s->stride, s->shift, s->k,
           s->segments, s->side ? "" : ", no side");
    for (int i = 0; i < 7; i++)
        memory_free(w, &m[i]);
}

static void localizes(struct world *w, const struct nf_gpu_comm *gpu)
{
    enum { N = 40001, FIRST = 24, LOCAL = 8 };
    struct memory m = memory_new(w, N * sizeof(int32_t), 0);
    int32_t *ids = (int32_t *)(void *)m.host;

    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)(world_bits(3, 3, (uint64_t)i) % 65) - 1;
    world_put(w, m.on, m.host, m.bytes);
    need(gpu->localize(nf_queue_native(w->queue), (int32_t *)(void *)m.on, N, FIRST, LOCAL));
    need(gpu->localize(nf_queue_native(w->queue), (int32_t *)(void *)m.on, 0, FIRST, LOCAL));
    for (int i = 0; i < N; i++)
        ids[i] = ids[i] >= FIRST && ids[i] < FIRST + LOCAL ? ids[i] - FIRST : -1;
    tap_ok(memory_is(w, &m), "ids become this rank's own");
    memory_free(w, &m);
}

int main(void)
{
    static const struct shape shape[] = {
        {5376, 5376, 0, 6, 2, true},    {5376, 6000, 0, 6, 64, true}, {5376, 5376, 0, 6, 2, false},
        {4096, 4096, 16, 8, 1, true},   {4096, 4096, 4, 8, 3, true},  {4096, 4100, 0, 8, 64, false},
        {20, 28, 0, 3, 5, true},        {2, 2, 2, 1, 1, true},        {10, 14, 0, 40, 7, true},
        {16, 16, 0, 1, 64, true},       {520, 528, 8, 3, 2, true},    {34, 34, 0, 33, 1, false},
        {11520, 11520, 0, 22, 3, true},
    };
    nf_device *device;

    if (nf_device_cuda(0, 1, &device)) {
        printf("1..0 # SKIP %.*s\n", (int)strcspn(nf_diagnosis(), "\n"), nf_diagnosis());
        return 0;
    }
    tap_open();
    struct world w = world_open_on(device, 1 << 20);
    const struct nf_gpu_comm *gpu = nf_device_gpu(device)->comm;
    need(nf_device_gpu(device)->comm_bytes == sizeof *gpu ? NF_OK : NF_EDEVICE);
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        gathers(&w, gpu, &shape[i]);
    localizes(&w, gpu);
    world_close(&w);
    return tap_done();
}
