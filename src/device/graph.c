/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.c: pieces of a step that are captured once and replayed: one launch instead of hundreds. A table by key; on the host
 * and on dry devices nothing is captured.
 */
#include "private.h"

nf_status nf_graph_begin(nf_queue *queue, uint64_t key, bool *replayed)
{
    nf_device *d = queue->device;

    *replayed = false;
    if (!queue->native)
        return NF_OK;
    for (int i = 0; i < d->graphs; i++)
        if (d->graph[i].key == key) {
            *replayed = true;
            return d->gpu->launch(d->graph[i].native, queue->native);
        }
    if (d->graphs == NF_GRAPHS)
        return nf_fail(NF_EBUG, "more than %d graphs on one device", NF_GRAPHS);
    return d->gpu->capture_begin(queue->native);
}

nf_status nf_graph_end(nf_queue *queue, uint64_t key)
{
    nf_device *d = queue->device;
    void *native;

    if (!queue->native)
        return NF_OK;
    NF_TRY(d->gpu->capture_end(queue->native, &native));
    d->graph[d->graphs++] = (struct nf_graph){key, native};
    return d->gpu->launch(native, queue->native);
}
