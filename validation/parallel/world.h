/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h: a device, a queue and arenas for a test of the mesh, and numbers that depend on their place alone.
 */
#ifndef NEMAFIT_VALIDATION_PARALLEL_WORLD_H
#define NEMAFIT_VALIDATION_PARALLEL_WORLD_H

#include <stdint.h>

#include "nemafit/mesh.h"

struct world {
    nf_device *device;
    nf_queue *queue;
    nf_arena *work, *run, *step;
    void *block[2];
    int64_t waits; /* of the host, by the functions below */
};

/* Ends the program if it cannot be had. bytes: of the run and of the step arena; 0: they count, and the device is dry. */
struct world world_open(size_t bytes);
/* The same on a device, which is the world's from then on. */
struct world world_open_on(nf_device *device, size_t bytes);
void world_close(struct world *w);

/* Memory of the device, and copies between it and the host's, which are over when they return. */
void *world_memory(struct world *w, size_t bytes);
void world_release(struct world *w, void *memory);
void world_put(struct world *w, void *device, const void *host, size_t bytes);
void world_get(struct world *w, void *host, const void *device, size_t bytes);
bool world_on_gpu(const struct world *w);

/* 64 well mixed bits of (a, b, c). */
uint64_t world_bits(uint64_t a, uint64_t b, uint64_t c);
/* A number in (-1, 1) with all its bits in use. */
double world_number(uint64_t a, uint64_t b, uint64_t c);

/* Ends the program with the diagnosis unless all is well: for what is not itself the point. */
void need(nf_status status);

#endif
