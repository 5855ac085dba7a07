/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c: what the tests of the mesh share. A failure here is no test point: the program ends, and the harness says so.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static const size_t work_bytes = 1 << 20;

void need(nf_status status)
{
    if (status == NF_OK)
        return;
    printf("Bail out! %s: %s\n", nf_status_name(status), nf_diagnosis());
    fflush(stdout);
    exit(1);
}

struct world world_open_on(nf_device *device, size_t bytes)
{
    struct world w = {.device = device};
    for (int i = 0; i < 2 && bytes > 0; i++)
        need(nf_device_alloc(w.device, bytes, "test", &w.block[i]));
    need(nf_arena_new("work", NULL, work_bytes, &w.work));
    need(nf_arena_new("run", w.block[0], bytes, &w.run));
    need(nf_arena_new("step", w.block[1], bytes, &w.step));
    need(nf_queue_new(w.device, "test", 0, w.work, &w.queue));
    return w;
}

struct world world_open(size_t bytes)
{
    nf_device *device;
    need(bytes == 0 ? nf_device_dry(NF_HOST, &device) : nf_device_host(1, &device));
    return world_open_on(device, bytes);
}

bool world_on_gpu(const struct world *w)
{
    return nf_device_kind(w->device) == NF_CUDA;
}

void *world_memory(struct world *w, size_t bytes)
{
    void *p = NULL;
    if (world_on_gpu(w))
        need(nf_device_alloc(w->device, bytes + 1, "test", &p));
    else
        need((p = calloc(1, bytes + 1)) ? NF_OK : NF_ENOMEM);
    return p;
}

void world_release(struct world *w, void *memory)
{
    if (world_on_gpu(w))
        nf_device_release(w->device, memory, 0);
    else
        free(memory);
}

static void copy(struct world *w, void *to, const void *from, size_t bytes)
{
    if (bytes == 0)
        return;
    need(nf_copy(w->queue, to, from, bytes));
    need(nf_queue_drain(w->queue));
    w->waits++;
}

void world_put(struct world *w, void *device, const void *host, size_t bytes)
{
    copy(w, device, host, bytes);
}

void world_get(struct world *w, void *host, const void *device, size_t bytes)
{
    copy(w, host, device, bytes);
}

void world_close(struct world *w)
{
    nf_queue_free(w->queue);
    nf_arena_free(w->work);
    nf_arena_free(w->run);
    nf_arena_free(w->step);
    nf_device_free(w->device); /* the blocks go with the program */
}

uint64_t world_bits(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t x = a * 0x9e3779b97f4a7c15u + b * 0xc2b2ae3d27d4eb4fu + c * 0x165667b19e3779f9u + 0x27d4eb2f165667c5u;
    for (int i = 0; i < 3; i++) {
        x ^= x >> 29;
        x *= 0xbf58476d1ce4e5b9u;
        x ^= x >> 32;
    }
    return x;
}

double world_number(uint64_t a, uint64_t b, uint64_t c)
{
    return (double)(int64_t)world_bits(a, b, c) * 0x1p-63;
}
