/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_node.c: one file a node in the run directory. It shows people where each rank stands, and tells other nodes that
 * something moves: node 0 reads all, the others read node 0's, whose number `job` grows whenever anything moved on any node. A
 * file system that shows changes late (NFS: up to a minute) needs a time-out that is longer than that.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "beat.h"
#include "watch.h"

enum { HEAD_MAX = 256 };

static char *file_name(const struct nf_watch *w, int leader, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "watch-%05d%s", leader, suffix);
    return nf_path_join(w->dir, name);
}

static uint64_t moves_of(const struct nf_watch *w)
{
    uint64_t sum = 0;
    for (int i = 0; i < w->node_ranks; i++)
        sum += __atomic_load_n(&w->table->beat[i].moves, __ATOMIC_RELAXED);
    return sum;
}

static void add_rank(const struct nf_watch *w, int i, int64_t now, nf_str *text)
{
    const struct nf_beat *b = &w->table->beat[i];
    nf_str_addf(text, "rank %d pid %d section %s step %lld collective %llu %s over %s moves %llu idle %.1f\n",
                atomic_load(&b->rank), atomic_load(&b->pid), nf_section_name((enum nf_section)atomic_load(&b->section)),
                (long long)atomic_load(&b->step), (unsigned long long)atomic_load(&b->collective),
                nf_call_name((enum nf_call)atomic_load(&b->call)), nf_axis_name((enum nf_axis)atomic_load(&b->axis)),
                (unsigned long long)__atomic_load_n(&b->moves, __ATOMIC_RELAXED),
                (double)(now - atomic_load(&b->moved)) * 1e-9);
}

/* Seen by others whole or not at all. Nothing here may end the run: who cannot write is missed by others, and said to be. */
static void write_file(const struct nf_watch *w, int64_t now)
{
    char *path = file_name(w, w->leader_of_mine, ""), *temporary = file_name(w, w->leader_of_mine, ".tmp");
    nf_str text = {0};
    int fd;

    nf_str_addf(&text, "moves %llu job %llu host %s\n", (unsigned long long)moves_of(w), (unsigned long long)w->job, w->host);
    for (int i = 0; i < w->node_ranks; i++)
        add_rank(w, i, now, &text);
    fd = path && temporary && !text.failed ? open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640) : -1;
    if (fd >= 0) {
        bool whole = write(fd, text.text, text.len) == (ssize_t)text.len;
        close(fd);
        if (!whole || rename(temporary, path) != 0)
            unlink(temporary);
    }
    nf_str_free(&text);
    free(temporary);
    free(path);
}

/* The two numbers of a node's file; false: it cannot be read. */
static bool read_file(const struct nf_watch *w, int leader, unsigned long long *moves, unsigned long long *job)
{
    char *path = file_name(w, leader, ""), head[HEAD_MAX];
    int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, head, sizeof head - 1) : -1;

    if (fd >= 0)
        close(fd);
    free(path);
    if (n <= 0)
        return false;
    head[n] = '\0';
    return sscanf(head, "moves %llu job %llu", moves, job) == 2;
}

void nf_watch_exchange(struct nf_watch *w)
{
    const int64_t now = nf_watch_now(), second = 1000000000;
    int64_t pause = (int64_t)(w->timeout * 0.1 * 1e9);
    uint64_t before = w->seen[0];
    bool moved = false;

    w->next_file = now + (pause > 10 * second ? 10 * second : pause > second ? pause : second / 2);
    for (int i = 0; i < w->nodes && w->nodes > 1; i++) {
        unsigned long long moves, job;
        bool is_first = w->leader_of_mine == 0;
        if (w->leader[i] == w->leader_of_mine || (!is_first && i > 0) || !read_file(w, w->leader[i], &moves, &job))
            continue;
        uint64_t number = is_first ? moves : job;
        moved = moved || number != w->seen[i];
        w->seen[i] = number;
    }
    if (moved)
        atomic_store(&w->table->others, now);
    if (w->leader_of_mine == 0) {
        w->seen[0] = moves_of(w);
        w->job += moved || w->seen[0] != before;
    }
    write_file(w, now);
}

void nf_watch_remove_file(const struct nf_watch *w)
{
    char *path = file_name(w, w->leader_of_mine, "");
    if (path)
        unlink(path);
    free(path);
}
