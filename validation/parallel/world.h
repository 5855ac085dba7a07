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
};

/* Ends the program if it cannot be had. bytes: of the run and of the step arena; 0: they count, and the device is dry. */
struct world world_open(size_t bytes);
void world_close(struct world *w);

/* 64 well mixed bits of (a, b, c). */
uint64_t world_bits(uint64_t a, uint64_t b, uint64_t c);
/* A number in (-1, 1) with all its bits in use. */
double world_number(uint64_t a, uint64_t b, uint64_t c);

/* Ends the program with the diagnosis unless all is well: for what is not itself the point. */
void need(nf_status status);

#endif
