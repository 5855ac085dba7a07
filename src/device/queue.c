/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues of the host: work runs inside the call that gives it, so a record has happened at once, and to wait for an event is
 * to poll until it is over. Waiting of a queue is not counted as a wait of the host: on other devices the host goes on.
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
    *queue = q;
    return NF_OK;
}

void nf_queue_free(nf_queue *queue)
{
    free(queue);
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
    nf_device_poll(queue->device);
}

nf_status nf_queue_drain(nf_queue *queue)
{
    queue->count.host_waits++;
    queue->device->host_waits++;
    nf_device_poll(queue->device);
    return NF_OK;
}

void nf_queue_count(nf_queue *queue, double flops, double bytes_moved)
{
    queue->count.flops += flops;
    queue->count.bytes_moved += bytes_moved;
    queue->count.launches++;
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
    (void)queue;
    *event = NF_DONE;
    return NF_OK;
}

nf_status nf_queue_wait(nf_queue *queue, nf_event event)
{
    return nf_event_settle(queue->device, event);
}

nf_status nf_graph_begin(nf_queue *queue, uint64_t key, bool *replayed)
{
    (void)queue;
    (void)key;
    *replayed = false;
    return NF_OK;
}

nf_status nf_graph_end(nf_queue *queue, uint64_t key)
{
    (void)queue;
    (void)key;
    return NF_OK;
}
