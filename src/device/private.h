/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: a device, its ring of events, a queue.
 *
 * Events are numbered from 0 on; number n lies in slot n % NF_RING with generation n / NF_RING + 1. So {0,0} is never one of
 * them, and everything pending lies between `oldest` and `next`.
 */
#ifndef NEMAFIT_DEVICE_PRIVATE_H
#define NEMAFIT_DEVICE_PRIVATE_H

#include "nemafit/device.h"

enum { NF_RING = 1024 };

struct nf_slot {
    const struct nf_pending_ops *ops;
    void *obj;
    bool pending;
    bool running; /* its test() is on the call stack */
    bool untold;  /* it failed and nobody has been told */
    nf_status status;
};

struct nf_device {
    enum nf_device_kind kind;
    bool dry;
    int threads;
    char name[128];
    const void *ops;
    void (*progress)(void *ctx);
    void *progress_ctx;
    int64_t host_waits;
    bool polling; /* a progress is on the call stack */
    bool waiting; /* a wait is on the call stack: waits inside it are part of its time */
    double wait_seconds;
    uint64_t next, oldest;
    struct nf_slot ring[NF_RING];
};

struct nf_queue {
    nf_device *device;
    nf_arena *work;
    int priority;
    char name[32];
    struct nf_work_count count;
};

/* Polls until the event is over. Does not count. */
nf_status nf_event_settle(nf_device *device, nf_event event);
/* The hook and every pending event once. */
void nf_device_poll(nf_device *device);

#endif
