/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h: the table in shared memory. Each rank writes its own beat, all threads of the node read all. Every field is an
 * atomic of its own; no two must be seen together.
 */
#ifndef NEMAFIT_MESH_WATCH_H
#define NEMAFIT_MESH_WATCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "nemafit/str.h"
#include "nemafit/watch.h"

struct nf_beat {
    _Alignas(128) uint64_t moves; /* __atomic: counted by the main thread, by ops and by writers behind the run */
    _Atomic(int64_t) alive;       /* ns: its watching thread ran */
    _Atomic(int64_t) moved;       /* ns: moves was seen to have grown */
    _Atomic(int64_t) since;       /* ns: in this section */
    _Atomic(int64_t) step;
    _Atomic(uint64_t) collective; /* number of the last one begun */
    _Atomic(uint64_t) waiting;    /* of its GPU: nf_wait_pack(), 0: it waits for nobody */
    _Atomic(int32_t) call, axis;  /* which it was */
    _Atomic(int32_t) section, rank, pid;
};

struct nf_watch_table {
    _Atomic(int64_t) others; /* ns: another node moved */
    _Atomic(int32_t) teller; /* world rank + 1 of who tells the end; 0: nobody */
    struct nf_beat beat[];   /* [ranks of the node] */
};

struct nf_watch {
    nf_mesh *mesh;
    struct nf_watch_table *table;
    size_t bytes;
    struct nf_beat *mine;
    int ep; /* ranks that split the experts, neighbours in world */
    int node_rank, node_ranks, world_rank, world_ranks;
    int nodes, *leader; /* world rank of each node's first */
    int leader_of_mine;
    double timeout;
    char host[64];
    char *dir;
    pthread_t thread;
    pthread_mutex_t files;
    _Atomic(bool) stop, gone; /* the thread shall end; the files are gone */
    /* the thread's own */
    int64_t begin; /* nothing before this counts: the process itself did not run */
    uint64_t seen_moves;
    int64_t next_file, next_note;
    uint64_t *seen; /* [nodes] */
    uint64_t job;   /* grows whenever something moved anywhere: node 0 writes it */
};

void *nf_watch_thread(void *watch);
int64_t nf_watch_now(void); /* ns, the same clock for all ranks of a node */
/* The files (watch_node.c): write this node's, read the others'; sets table->others. */
void nf_watch_exchange(struct nf_watch *w);
void nf_watch_remove_file(const struct nf_watch *w);
/* The diagnosis (watch_tell.c), without memory from the heap: lines for nf_die. */
void nf_watch_describe(const struct nf_watch *w, int64_t idle, char *text, size_t size);
/* Is the thread of this rank asleep since longer than the time-out? */
/* Of a long section it is 20 times the time-out. */
enum { NF_WATCH_PATIENCE = 20 };
bool nf_watch_is_still(const struct nf_watch *w, const struct nf_beat *b);

#endif
