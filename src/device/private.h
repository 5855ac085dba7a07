/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: a device, its ring of events, a queue.
 *
 * Events are numbered from 0 on; number n lies in slot n % NF_RING with generation n / NF_RING + 1. So {0,0} is never one of
 * them, and everything pending lies between `oldest` and `next`.
 */
#ifndef NEMAFIT_DEVICE_PRIVATE_H
#define NEMAFIT_DEVICE_PRIVATE_H

#include "nemafit/gpu.h"

enum { NF_RING = 1024, NF_GRAPHS = 64 };

struct nf_slot {
    const struct nf_pending_ops *ops;
    void *obj;
    nf_device *device;
    void *native;  /* the GPU's event, made once for each slot; NULL: none yet */
    bool recorded; /* it is what is pending: queues of the device wait for it without the host */
    bool pending;
    bool running; /* its test() is on the call stack */
    bool untold;  /* it failed and nobody has been told */
    nf_status status;
};

/* A captured piece of a step. */
struct nf_graph {
    uint64_t key;
    void *native;
};

struct nf_device {
    enum nf_device_kind kind;
    bool dry;
    int threads;
    char name[128];
    const void *ops;
    nf_status (*progress)(void *ctx);
    void *progress_ctx;
    uint64_t *ticks;                 /* counts what was done, for a watchdog; NULL: nobody counts */
    const struct nf_gpu_device *gpu; /* CUDA: the plug-in's functions, and its own device; NULL elsewhere */
    struct nf_gpu tables;
    struct nf_gpu_info info;
    void *native;
    struct nf_graph graph[NF_GRAPHS];
    int graphs;
    int64_t host_waits;
    size_t taken; /* of a GPU's memory, in its pages */
    bool polling; /* a progress is on the call stack */
    bool waiting; /* a wait is on the call stack: waits inside it are part of its time */
    double wait_seconds;
    nf_stopwatch *stopwatch; /* NULL: nobody measures */
    uint64_t next, oldest;
    struct nf_slot ring[NF_RING];
};

/* The host has waited for a queue: counted, whoever did it. */
void nf_queue_waited(nf_queue *queue);

static inline void nf_device_tick(const nf_device *device)
{
    if (device->ticks)
        __atomic_fetch_add(device->ticks, 1, __ATOMIC_RELAXED);
}

struct nf_queue {
    nf_device *device;
    nf_arena *work;
    int priority;
    char name[32];
    nf_gpu_queue *native;
    struct nf_work_count count;
};

/* The compute queue stands still from here, and goes on with what it did before. Nothing where nobody measures that. */
nf_status nf_stand_still(nf_device *device);
nf_status nf_go_on(nf_device *device);
bool nf_stopwatch_is_of(const nf_stopwatch *stopwatch, const nf_queue *queue);
/* Polls until the event is over. Does not count. */
nf_status nf_event_settle(nf_device *device, nf_event event);
/* An event at the end of what the GPU's queue has been given. */
nf_status nf_event_recorded(nf_queue *queue, nf_event *event);
/* The GPU's event behind one that is not over and that a queue can wait for by itself, else NULL. */
void *nf_event_native(nf_device *device, nf_event event);
/* The hook and every pending event once. */
void nf_device_poll(nf_device *device);
/* A device without memory: what all kinds begin with. */
nf_status nf_device_new(enum nf_device_kind kind, bool dry, int threads, nf_device **device);
/* The plug-in's tables. Opened once a process, never closed: its libraries keep state of their own. */
nf_status nf_plugin_open(struct nf_gpu *gpu);

#endif
