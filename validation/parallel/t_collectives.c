/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_collectives.c: collectives on memory of the host; and what is the host's alone: a rank inside a host collective moves what
 * others wait for, and waiting is seen.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collective_cases.h"
#include "tap.h"

/* The last rank comes late: the others stood still for most of that, in a wait for an event and in a barrier alike. */
static void standing(struct world *w, const nf_mesh *mesh)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const bool late = nf_mesh_rank(mesh) == nf_mesh_ranks(mesh) - 1;
    double seconds[3];

    need(nf_barrier(world));
    for (int i = 0; i < 2; i++) {
        float x = 1;
        nf_event event;
        seconds[i] = nf_mesh_traffic(mesh).wait_seconds;
        if (late)
            usleep(300000);
        if (i == 0)
            need(nf_all_reduce(w->queue, world, &x, 1, NF_F32, &event));
        need(i == 0 ? nf_queue_wait(w->queue, event) : nf_barrier(world));
    }
    seconds[2] = nf_mesh_traffic(mesh).wait_seconds;
    bool right = late || (seconds[1] - seconds[0] > 0.05 && seconds[2] - seconds[1] > 0.05);
    tap_ok(right, "waiting for a late rank is seen as such");
}

/* Even ranks enter the barrier first, odd ones wait first: both must move the sum on. */
static void host_between(struct world *w, const nf_mesh *mesh)
{
    void *x = malloc((size_t)COLLECTIVE_LONG * 4), *wanted = malloc((size_t)COLLECTIVE_LONG * 4);
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const bool barrier_first = nf_mesh_rank(mesh) % 2 == 0;
    nf_event event;

    collective_serial(mesh, NF_WORLD, wanted, NULL, NF_F32, COLLECTIVE_LONG, 5);
    collective_fill(x, NF_F32, COLLECTIVE_LONG, nf_mesh_rank(mesh), 5);
    need(nf_all_reduce(w->queue, world, x, COLLECTIVE_LONG, NF_F32, &event));
    if (barrier_first)
        need(nf_barrier(world));
    need(nf_queue_wait(w->queue, event));
    if (!barrier_first)
        need(nf_barrier(world));
    tap_ok(memcmp(x, wanted, (size_t)COLLECTIVE_LONG * 4) == 0, "a rank in a barrier moves what others wait for");
    free(x);
    free(wanted);
}

int main(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    nf_mesh *mesh;

    tap_open_mpi();
    struct world w = world_open(1 << 20);
    collective_cases(&w, comm, 3 * COLLECTIVE_LONG);
    need(nf_mesh_new(&comm, 1, w.device, &mesh));
    standing(&w, mesh);
    host_between(&w, mesh);
    nf_mesh_free(mesh);
    world_close(&w);
    return tap_done();
}
