/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog fires: on one rank, in a child of the test. What is silent ends with status 76 and says in which section and
 * step; what moves does not, nor what was itself stopped for a while.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mesh/private.h"
#include "nemafit/log.h"
#include "nemafit/watch.h"
#include "tap.h"
#include "world.h"

static const double timeout = 0.5;

enum behaviour { SILENT, COLLECTIVES, WAITING, MOVES, OPS };

/* For three time-outs; 0 if nobody ended it. */
static void live(enum behaviour how, const char *dir)
{
    struct world w = world_open(1 << 16);
    nf_mesh *mesh;
    nf_watch *watch;
    char bytes[2] = {0};
    /* as a kernel leaves it in pinned memory: the 17th collective lacks rank 0's rows */
    struct nf_window_told told = {.waiting = nf_wait_pack(NF_WAY_OUT, NF_WAIT_ARRIVED, 0, 17)};
    double begin;

    need(nf_mesh_new(NULL, 1, w.device, &mesh));
    if (how == WAITING)
        mesh->told = &told;
    need(nf_watch_start(mesh, dir, timeout, &watch));
    (void)nf_watch_section(mesh, NF_SECTION_STEP, 12);
    for (int i = 0; how == COLLECTIVES && i < 5; i++)
        need(nf_barrier(nf_mesh_group(mesh, NF_WORLD)));
    begin = nf_seconds();
    while (nf_seconds() - begin < 3 * timeout) {
        usleep(20 * 1000);
        if (how == MOVES)
            nf_watch_moved(mesh);
        if (how == OPS)
            need(nf_copy(w.queue, &bytes[0], &bytes[1], 1));
    }
    nf_watch_stop(watch);
    mesh->told = NULL;
    nf_mesh_free(mesh);
    world_close(&w);
}

/* The child's status; what it said is in text. stopped: it is stopped for twice the time-out. */
static int child(enum behaviour how, bool stopped, const char *dir, char *text, size_t size)
{
    int ends[2], status = -1;
    size_t n = 0;
    ssize_t got;

    if (pipe(ends))
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        live(how, dir);
        _exit(0);
    }
    close(ends[1]);
    if (stopped) {
        usleep(300 * 1000);
        kill(pid, SIGSTOP);
        usleep((useconds_t)(2e6 * timeout) + 1200 * 1000);
        kill(pid, SIGCONT);
    }
    while (n + 1 < size && (got = read(ends[0], text + n, size - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(ends[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
    const char *builddir = getenv("builddir");
    char dir[2048], text[4096];

    tap_open();
    snprintf(dir, sizeof dir, "%s/validation/tmp/hang.%d", builddir ? builddir : ".", (int)getpid());
    tap_ok(child(SILENT, false, dir, text, sizeof text) == 76, "silent: status 76");
    if (!tap_ok(strstr(text, "section step, step 12") && strstr(text, "nothing has moved"), "... and it says where"))
        tap_note("%s", text);
    child(COLLECTIVES, false, dir, text, sizeof text);
    if (!tap_ok(strstr(text, "last collective 6 (barrier over world)") != NULL, /* the first was the watch's own */
                "the last collective has number and name"))
        tap_note("%s", text);
    child(WAITING, false, dir, text, sizeof text);
    if (!tap_ok(strstr(text, "its GPU waits for rank 0 (rows of exchange out, collective 17)") != NULL,
                "for whom and for what a GPU waits"))
        tap_note("%s", text);
    tap_ok(child(MOVES, false, dir, text, sizeof text) == 0, "what moves goes on");
    tap_ok(child(OPS, false, dir, text, sizeof text) == 0, "work on a queue is a move");
    tap_ok(child(MOVES, true, dir, text, sizeof text) == 0, "a process that was stopped itself goes on");
    snprintf(text, sizeof text, "%s/watch-00000", dir);
    unlink(text); /* of the children that were ended */
    rmdir(dir);
    return tap_done();
}
