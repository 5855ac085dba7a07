/* SPDX-License-Identifier: Apache-2.0 */
/* residency_init.c: weights drawn at random, with what is held of their fp32 values. */
#include <stdlib.h>
#include <string.h>

#include "residency.h"

enum { CHUNK = 1 << 20, PART = 1 << 14 /* that one thread draws at a time */ };

/* On the host: fp32 values, as weights, and remainders. */
struct drawn {
    float x[CHUNK];
    uint16_t half[CHUNK];
    int16_t low[CHUNK];
};

/* n drawn values to elements [at, at + n) of a piece, and none on its way on return. */
static nf_status put(nf_queue *q, const nf_named *w, int64_t at, int64_t n, struct drawn *d)
{
    const int threads = nf_device_threads(nf_queue_device(q));
    const size_t halves = (size_t)n * sizeof *d->half, wide = (size_t)n * sizeof *d->x;

    if (w->desc->dtype == NF_F32) {
        NF_TRY(nf_copy(q, (float *)w->data + at, d->x, wide));
        return nf_queue_drain(q);
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        if (w->low)
            nf_split_f32(d->x[i], &d->half[i], &d->low[i]);
        else
            d->half[i] = nf_f32_to_bf16(d->x[i]);
    }
    NF_TRY(nf_copy(q, (uint16_t *)w->data + at, d->half, halves));
    if (w->low)
        NF_TRY(nf_copy(q, w->low + at, d->low, halves));
    if (w->master)
        NF_TRY(nf_copy(q, w->master + at, d->x, wide));
    return nf_queue_drain(q);
}

/* Elements are functions of their numbers alone: the same on any number of threads. */
static void draw(const nf_model *m, int p, uint64_t seed, int64_t first, int64_t count, float *out, int threads)
{
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < count; at += PART)
        m->init(m, p, seed, first + at, count - at < PART ? count - at : PART, out + at);
}

nf_status nf_residency_init_random(nf_residency *res, uint64_t seed)
{
    const nf_model *m = res->arg.model;
    struct drawn *d = malloc(sizeof *d);
    nf_status s = d ? NF_OK : nf_fail(NF_ENOMEM, "no memory to draw weights");
    const int threads = nf_device_threads(nf_queue_device(res->arg.queue));

    for (int p = 0; p < m->params && !s; p++) {
        const nf_named *n = &res->named[NF_WEIGHTS][p];
        for (int64_t at = 0; at < n->piece.count && !s; at += CHUNK) {
            int64_t count = n->piece.count - at < CHUNK ? n->piece.count - at : CHUNK;
            draw(m, p, seed, n->piece.first + at, count, d->x, threads);
            s = put(res->arg.queue, n, at, count, d);
        }
    }
    free(d);
    return s;
}
