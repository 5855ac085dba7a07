/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h: the watchdog: no run stands still in silence. Each rank has a thread that looks at a table in memory shared by the
 * ranks of its node, and at a file of the first node: whether anything moves anywhere. It calls no MPI. When nothing has moved
 * for the time-out, it names the rank that does not run, or lags, with its section and its last collective, and ends all ranks
 * with status 76.
 *
 * Slow is not dead: a rank that computes, reads or writes moves, and all who wait for it live as long as it does. Where a rank
 * runs but nothing of it can be seen to move (a server that does not answer), the sections setup, load, snapshot and export are
 * given 20 times the time-out; a rank that does not run at all (stopped, or its host is gone) ends the run after the time-out
 * in any section.
 */
#ifndef NEMAFIT_WATCH_H
#define NEMAFIT_WATCH_H

#include "nemafit/mesh.h"

enum nf_section {
    NF_SECTION_SETUP,
    NF_SECTION_LOAD,
    NF_SECTION_STEP,
    NF_SECTION_SNAPSHOT,
    NF_SECTION_EVALUATE,
    NF_SECTION_EXPORT,
    NF_SECTION_FINISH,
    NF_SECTIONS
};
const char *nf_section_name(enum nf_section section); /* "setup", "load", ... */

/*
 * nf_watch_start: begin to watch. dir: where each node keeps its file watch-00000 (the number is that of its first rank; it
 * shows where every rank of the node stands), made if it is not there. timeout in seconds; 0: nothing is watched, *watch is
 * NULL. Without shared memory the run goes on unwatched, with a warning. Collective  over world Memory      the mesh and its
 * device point into the table until nf_watch_stop() Errors      agreed: NF_EIO, NF_EPERM (the directory), NF_ENOMEM
 */
typedef struct nf_watch nf_watch;
nf_status nf_watch_start(nf_mesh *mesh, const char *dir, double timeout, nf_watch **watch);
/*
 * nf_watch_leave: the mesh and its files are about to go. The thread stays to the end of the process: MPI_Finalize can hang
 * too. nf_watch_stop: for tests: it ends. Both collective over world; NULL allowed.
 */
void nf_watch_leave(nf_watch *watch);
void nf_watch_stop(nf_watch *watch);

/* Where this rank stands now; returns the section it stood in. Without a watchdog nothing happens. */
enum nf_section nf_watch_section(const nf_mesh *mesh, enum nf_section section, int64_t step);
/* Something moved: bytes were read or written, a part of long work is done. From any thread. */
void nf_watch_moved(const nf_mesh *mesh);

#endif
