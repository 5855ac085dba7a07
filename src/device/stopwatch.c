/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stopwatch.c: the time of a queue in laps. A bank is a row of moments; from each moment on, time belongs to the phase and part
 * noted with it. On a GPU a moment is an event, made when a bank is fuller than ever before and used again in later rounds.
 */
#include "private.h"

#include "nemafit/log.h"

#include <stdlib.h>

struct moment {
    void *native;   /* the GPU's */
    double seconds; /* the host's */
    int phase, part;
};

struct bank {
    struct moment *moment;
    int moments, room;
};

struct nf_stopwatch {
    nf_queue *queue;
    bool parts, still, running;
    int bank, phase, part;
    struct bank banks[2];
};

nf_status nf_stopwatch_new(nf_queue *queue, bool parts, bool still, nf_stopwatch **stopwatch)
{
    NF_CHECK(!queue->device->stopwatch);
    nf_stopwatch *w = calloc(1, sizeof *w);
    if (!w)
        return nf_fail(NF_ENOMEM, "no memory for a stopwatch");
    *w = (nf_stopwatch){.queue = queue, .parts = parts, .still = still};
    *stopwatch = queue->device->stopwatch = w;
    return NF_OK;
}

void nf_stopwatch_free(nf_stopwatch *w)
{
    if (!w)
        return;
    nf_device *d = w->queue->device;
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < w->banks[b].room; i++)
            if (w->banks[b].moment[i].native)
                d->gpu->event_free(w->banks[b].moment[i].native);
        free(w->banks[b].moment);
    }
    d->stopwatch = NULL;
    free(w);
}

bool nf_stopwatch_is_of(const nf_stopwatch *stopwatch, const nf_queue *queue)
{
    return stopwatch->queue == queue;
}

static nf_status grow(struct bank *b)
{
    const int room = b->room ? 2 * b->room : 64;
    struct moment *m = realloc(b->moment, (size_t)room * sizeof *m);

    if (!m)
        return nf_fail(NF_ENOMEM, "no memory for the times of a step");
    for (int i = b->room; i < room; i++)
        m[i] = (struct moment){0};
    b->moment = m;
    b->room = room;
    return NF_OK;
}

static nf_status moment(nf_stopwatch *w)
{
    struct bank *b = &w->banks[w->bank];
    nf_device *d = w->queue->device;

    if (b->moments == b->room)
        NF_TRY(grow(b));
    struct moment *m = &b->moment[b->moments++];
    m->phase = w->phase;
    m->part = w->part;
    if (!d->gpu) {
        m->seconds = nf_seconds();
        return NF_OK;
    }
    if (!m->native)
        NF_TRY(d->gpu->moment_new(d->native, &m->native));
    return d->gpu->record(m->native, w->queue->native);
}

nf_status nf_stopwatch_start(nf_stopwatch *w, int bank, int phase, int part)
{
    NF_CHECK((bank == 0 || bank == 1) && phase >= 0 && phase < NF_LAP_PHASES && part >= 0 && part < NF_LAP_PARTS);
    w->bank = bank;
    w->banks[bank].moments = 0;
    w->phase = phase;
    w->part = part;
    w->running = !w->queue->device->dry;
    return w->running ? moment(w) : NF_OK;
}

nf_status nf_stopwatch_phase(nf_stopwatch *w, int phase, int part)
{
    NF_CHECK(phase >= 0 && phase < NF_LAP_PHASES && part >= 0 && part < NF_LAP_PARTS);
    w->phase = phase;
    w->part = part;
    return w->running ? moment(w) : NF_OK;
}

nf_status nf_stopwatch_stop(nf_stopwatch *w)
{
    if (w->running)
        NF_TRY(moment(w));
    w->running = false;
    return NF_OK;
}

nf_status nf_lap(nf_queue *queue, int part)
{
    nf_stopwatch *w = queue->device->stopwatch;

    if (!w || !w->running || !w->parts || w->part == part)
        return NF_OK;
    NF_CHECK(part >= 0 && part < NF_LAP_PARTS);
    w->part = part;
    return moment(w);
}

nf_status nf_stand_still(nf_device *d)
{
    nf_stopwatch *w = d->stopwatch;

    if (!w || !w->running || !w->still)
        return NF_OK;
    const int part = w->part;
    w->part = NF_LAP_STILL;
    nf_status s = moment(w);
    w->part = part;
    return s;
}

nf_status nf_go_on(nf_device *d)
{
    nf_stopwatch *w = d->stopwatch;

    return w && w->running && w->still ? moment(w) : NF_OK;
}

nf_status nf_stopwatch_read(nf_stopwatch *w, int bank, double seconds[NF_LAP_PHASES][NF_LAP_PARTS])
{
    const struct bank *b = &w->banks[bank];
    const nf_device *d = w->queue->device;

    NF_CHECK((bank == 0 || bank == 1) && !(w->running && w->bank == bank));
    for (int i = 0; i < NF_LAP_PHASES; i++)
        for (int k = 0; k < NF_LAP_PARTS; k++)
            seconds[i][k] = 0;
    for (int i = 0; i + 1 < b->moments; i++) {
        const struct moment *from = &b->moment[i], *to = from + 1;
        double took = to->seconds - from->seconds;
        if (d->gpu)
            NF_TRY(d->gpu->elapsed(from->native, to->native, &took));
        seconds[from->phase][from->part] += took;
    }
    return NF_OK;
}
