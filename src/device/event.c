/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that the host completes, and waiting for them.
 *
 * test() of a pending event may run ops, which call nf_queue_progress(), and may wait for other events: so a slot whose test()
 * is on the stack is never tested again, a progress inside a progress calls the hook alone, and a wait inside a test() still
 * moves everything else. A failure is told at every wait for its event; if the slot is taken again before anybody waited, who
 * takes it is told.
 */
#include "private.h"

#include "nemafit/log.h"

#include <sched.h>

static struct nf_slot *slot_of(nf_device *d, uint64_t number)
{
    return &d->ring[number % NF_RING];
}

static nf_event event_of(uint64_t number)
{
    return (nf_event){(uint32_t)(number % NF_RING), (uint32_t)(number / NF_RING + 1)};
}

static uint64_t number_of(nf_event e)
{
    return ((uint64_t)e.gen - 1) * NF_RING + e.slot;
}

/* A record of a GPU's queue. If the question fails, so did the work before it: that is where an error of a kernel shows. */
static bool test_record(void *obj, nf_status *status)
{
    struct nf_slot *s = obj;
    bool done = true;
    *status = s->device->gpu->query(s->native, &done);
    return done || *status;
}

static const struct nf_pending_ops record_ops = {test_record};

static void poll(struct nf_slot *s)
{
    if (!s->pending || s->running)
        return;
    nf_status status = NF_OK;
    s->running = true;
    bool over = s->ops->test(s->obj, &status);
    s->running = false;
    if (over) {
        s->pending = false;
        s->status = status;
        s->untold = status != NF_OK;
    }
}

static void poll_ring(nf_device *d)
{
    uint64_t end = d->next; /* what a test() adds is polled the next time */
    for (uint64_t n = d->oldest; n < end; n++)
        poll(slot_of(d, n));
    while (d->oldest < d->next && !slot_of(d, d->oldest)->pending)
        d->oldest++;
}

void nf_device_poll(nf_device *d)
{
    if (d->progress)
        (void)d->progress(d->progress_ctx); /* who waits is told */
    if (d->polling || d->oldest == d->next)
        return;
    d->polling = true;
    poll_ring(d);
    d->polling = false;
}

static nf_status told(struct nf_slot *s)
{
    s->untold = false;
    return s->status;
}

static nf_status poll_until(nf_device *d, nf_event event)
{
    uint64_t number = number_of(event);
    struct nf_slot *s = slot_of(d, number);

    for (int polls = 0; number + NF_RING >= d->next && s->pending; polls++) {
        if (s->running)
            return nf_fail(NF_EBUG, "event %u.%u waits for itself", event.slot, event.gen);
        poll(s);
        if (!s->pending)
            break;
        if (d->progress)
            NF_TRY(d->progress(d->progress_ctx));
        poll_ring(d); /* also inside a test(): what we wait for may need other ranks, and they our other events */
        if (polls >= 32)
            sched_yield(); /* there may be more ranks than cores */
    }
    return NF_OK;
}

nf_status nf_event_settle(nf_device *d, nf_event event)
{
    if (event.gen == 0)
        return NF_OK;
    uint64_t number = number_of(event);
    NF_CHECK(event.slot < NF_RING && number < d->next);
    struct nf_slot *s = slot_of(d, number);
    if (number + NF_RING >= d->next && s->pending) {
        const bool outermost = !d->waiting;
        const double begin = nf_seconds();
        if (outermost)
            NF_TRY(nf_stand_still(d));
        d->waiting = true;
        nf_status status = poll_until(d, event);
        d->waiting = !outermost;
        if (outermost)
            NF_TRY(nf_go_on(d));
        d->wait_seconds += outermost ? nf_seconds() - begin : 0;
        NF_TRY(status);
    }
    return number + NF_RING >= d->next ? told(s) : NF_OK; /* an older one: who took its slot was told */
}

/* The next slot, free: what it held before is over. */
static nf_status take_slot(nf_device *d, struct nf_slot **slot)
{
    struct nf_slot *s = slot_of(d, d->next);
    if (s->pending)
        NF_TRY(nf_event_settle(d, event_of(d->next - NF_RING)));
    if (s->untold)
        return told(s);
    *slot = s;
    return NF_OK;
}

nf_status nf_event_pending(nf_device *d, const struct nf_pending_ops *ops, void *obj, nf_event *event)
{
    struct nf_slot *s = NULL;
    NF_TRY(take_slot(d, &s));
    *s = (struct nf_slot){.ops = ops, .obj = obj, .pending = true, .native = s->native};
    *event = event_of(d->next++);
    return NF_OK;
}

nf_status nf_event_recorded(nf_queue *queue, nf_event *event)
{
    nf_device *d = queue->device;
    struct nf_slot *s = NULL;
    NF_TRY(take_slot(d, &s));
    if (!s->native)
        NF_TRY(d->gpu->event_new(d->native, &s->native));
    NF_TRY(d->gpu->record(s->native, queue->native));
    *s = (struct nf_slot){.ops = &record_ops, .obj = s, .device = d, .native = s->native, .pending = true, .recorded = true};
    *event = event_of(d->next++);
    return NF_OK;
}

void *nf_event_native(nf_device *d, nf_event event)
{
    if (event.gen == 0)
        return NULL;
    uint64_t number = number_of(event);
    struct nf_slot *s = slot_of(d, number);
    return number < d->next && number + NF_RING >= d->next && s->pending && s->recorded ? s->native : NULL;
}

bool nf_event_done(nf_device *d, nf_event event)
{
    if (event.gen == 0)
        return true;
    uint64_t number = number_of(event);
    if (number >= d->next || number + NF_RING < d->next)
        return true;
    struct nf_slot *s = slot_of(d, number);
    poll(s);
    if (s->pending)
        nf_device_poll(d);
    return !s->pending;
}

nf_status nf_event_host_wait(nf_device *d, nf_event event)
{
    d->host_waits++; /* also for what is over already: the number depends on the program, not on its luck */
    return nf_event_settle(d, event);
}

int64_t nf_device_host_waits(const nf_device *d)
{
    return d->host_waits;
}

double nf_device_wait_seconds(const nf_device *d)
{
    return d->wait_seconds;
}
