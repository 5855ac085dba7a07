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

struct world world_open(size_t bytes)
{
    struct world w = {0};
    if (bytes == 0)
        need(nf_device_dry(NF_HOST, &w.device));
    else
        need(nf_device_host(1, &w.device));
    for (int i = 0; i < 2 && bytes > 0; i++)
        need(nf_device_alloc(w.device, bytes, "test", &w.block[i]));
    need(nf_arena_new("work", NULL, work_bytes, &w.work));
    need(nf_arena_new("run", w.block[0], bytes, &w.run));
    need(nf_arena_new("step", w.block[1], bytes, &w.step));
    need(nf_queue_new(w.device, "test", 0, w.work, &w.queue));
    return w;
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
