/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog leaves alone what is slow: a rank that moves, and a rank that is silent in a section that may take long, while
 * all others wait for it longer than the time-out. The same where each rank is a node of its own, so that news travel by files.
 * Had it fired, the program would have ended with status 76. (validation/parallel/t_hang.c and validation/cases/watch.sh: it
 * does fire.)
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mesh/private.h"
#include "nemafit/log.h"
#include "nemafit/str.h"
#include "nemafit/watch.h"
#include "tap.h"
#include "world.h"

static const double timeout = 1.0, slow = 2.6;

/* The last rank takes its time, moving or silent; the others wait for it. */
static void be_slow(const nf_mesh *mesh, bool moving)
{
    double begin = nf_seconds();

    while (nf_mesh_rank(mesh) == nf_mesh_ranks(mesh) - 1 && nf_seconds() - begin < slow) {
        usleep(50 * 1000);
        if (moving)
            nf_watch_moved(mesh);
    }
    need(nf_barrier(nf_mesh_group(mesh, NF_WORLD)));
}

static bool file_shows(const char *dir, const char *text)
{
    char path[4096], *bytes = NULL;
    size_t n;

    snprintf(path, sizeof path, "%s/watch-00000", dir);
    bool shows = access(path, F_OK) == 0 && nf_file_read(path, 1 << 20, &bytes, &n) == NF_OK && strstr(bytes, text);
    free(bytes);
    return shows;
}

static void all_kinds_of_slow(nf_mesh *mesh, const char *dir, const char *what)
{
    nf_watch *watch;
    char path[4096];

    need(nf_watch_start(mesh, dir, timeout, &watch));
    tap_ok(watch != NULL, "%s: watched", what);
    tap_ok(nf_watch_section(mesh, NF_SECTION_STEP, 7) == NF_SECTION_SETUP, "%s: a watch begins in setup", what);
    be_slow(mesh, true);
    tap_ok(true, "%s: a rank that moves is waited for", what);
    tap_ok(nf_watch_section(mesh, NF_SECTION_LOAD, 8) == NF_SECTION_STEP, "%s: sections follow each other", what);
    be_slow(mesh, false);
    tap_ok(true, "%s: a silent rank is waited for while it loads", what);
    (void)nf_watch_section(mesh, NF_SECTION_STEP, 9);
    need(nf_barrier(nf_mesh_group(mesh, NF_WORLD)));
    usleep(700 * 1000); /* the file is written twice a second */
    bool shown = nf_mesh_rank(mesh) != 0 || file_shows(dir, "rank 0 pid");
    shown =
        shown && (nf_mesh_rank(mesh) != 0 || (file_shows(dir, "section step step 9") && file_shows(dir, "barrier over world")));
    tap_ok(shown, "%s: its file shows where the ranks stand", what);
    nf_watch_stop(watch);
    need(nf_barrier(nf_mesh_group(mesh, NF_WORLD)));
    snprintf(path, sizeof path, "%s/watch-%05d", dir, nf_mesh_rank(mesh));
    tap_ok(access(path, F_OK) != 0, "%s: no file is left", what);
    tap_ok(nf_watch_section(mesh, NF_SECTION_STEP, 1) == NF_SECTION_STEP, "%s: sections without a watch are nobody's", what);
}

/* As if every rank had a host of its own. */
static void scatter(nf_mesh *mesh)
{
    nf_group *node = &mesh->group[NF_NODE];

    MPI_Comm_free(&node->comm);
    MPI_Comm_dup(MPI_COMM_SELF, &node->comm);
    node->rank = 0;
    node->size = 1;
}

int main(void)
{
    const char *builddir = getenv("builddir");
    MPI_Comm world = MPI_COMM_WORLD;
    char dir[2048];
    int rank, pid = (int)getpid();

    tap_open_mpi();
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Bcast(&pid, 1, MPI_INT, 0, MPI_COMM_WORLD);
    snprintf(dir, sizeof dir, "%s/validation/tmp/watch.%d", builddir ? builddir : ".", pid);
    struct world w = world_open(1 << 16);
    nf_mesh *mesh;
    need(nf_mesh_new(&world, 1, w.device, &mesh));
    nf_watch *none;
    need(nf_watch_start(mesh, dir, 0, &none));
    tap_ok(none == NULL && access(dir, F_OK) != 0, "no time-out: no watch, no directory");
    all_kinds_of_slow(mesh, dir, "one node");
    scatter(mesh);
    all_kinds_of_slow(mesh, dir, "a node a rank");
    if (rank == 0)
        rmdir(dir);
    nf_mesh_free(mesh);
    world_close(&w);
    return tap_done();
}
