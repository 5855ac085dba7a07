/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues. On the host work runs inside the call that gives it, so a record has happened at once, and to wait for an event is to
 * poll until it is over; on a GPU a queue is a stream that waits by itself for records of other streams. Waiting of a queue is
 * not counted as a wait of the host, also where the host polls: on other devices it goes on.
 */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>

nf_status nf_queue_new(nf_device *device, const char *name, int priority, nf_arena *work, nf_queue **queue)
{
    nf_queue *q = calloc(1, sizeof *q);
    if (!q)
        return nf_fail(NF_ENOMEM, "queue %s: no memory", name);
    q->device = device;
    q->work = work;
    q->priority = priority;
    snprintf(q->name, sizeof q->name, "%s", name);
    nf_status s = device->gpu ? device->gpu->queue_new(device->native, priority, &q->native) : NF_OK;
    if (s) {
        free(q);
        return s;
    }
    *queue = q;
    return NF_OK;
}

void nf_queue_free(nf_queue *queue)
{
    if (queue && queue->native)
        queue->device->gpu->queue_free(queue->native);
    free(queue);
}

nf_gpu_queue *nf_queue_native(nf_queue *queue)
{
    return queue->native;
}

nf_arena *nf_queue_work(nf_queue *queue)
{
    return queue->work;
}

nf_device *nf_queue_device(nf_queue *queue)
{
    return queue->device;
}

bool nf_queue_is_dry(const nf_queue *queue)
{
    return queue->device->dry;
}

void nf_queue_progress(nf_queue *queue)
{
    nf_device_tick(queue->device);
    nf_device_poll(queue->device);
}

void nf_queue_waited(nf_queue *queue)
{
    queue->count.host_waits++;
    queue->device->host_waits++;
}

nf_status nf_queue_drain(nf_queue *queue)
{
    nf_queue_waited(queue);
    nf_device_tick(queue->device);
    nf_device_poll(queue->device);
    if (!queue->native)
        return NF_OK;
    NF_TRY(nf_stand_still(queue->device));
    NF_TRY(queue->device->gpu->drain(queue->native));
    return nf_go_on(queue->device);
}

void nf_queue_count(nf_queue *queue, double flops, double bytes_moved)
{
    queue->count.flops += flops;
    queue->count.bytes_moved += bytes_moved;
    queue->count.launches++;
    nf_device_tick(queue->device);
}

void nf_queue_count_sent(nf_queue *queue, double bytes)
{
    queue->count.bytes_sent += bytes;
}

struct nf_work_count nf_queue_counted(const nf_queue *queue)
{
    return queue->count;
}

nf_status nf_queue_record(nf_queue *queue, nf_event *event)
{
    if (queue->native)
        return nf_event_recorded(queue, event);
    *event = NF_DONE;
    return NF_OK;
}

nf_status nf_queue_wait(nf_queue *queue, nf_event event)
{
    nf_device *d = queue->device;
    void *native = queue->native ? nf_event_native(d, event) : NULL;
    const bool timed = d->stopwatch && nf_stopwatch_is_of(d->stopwatch, queue);

    if (!native)
        return nf_event_settle(d, event);
    if (timed)
        NF_TRY(nf_stand_still(d));
    NF_TRY(d->gpu->wait(queue->native, native));
    return timed ? nf_go_on(d) : NF_OK;
}
