/* SPDX-License-Identifier: Apache-2.0 */
/* watch_start.c: the table in shared memory, and the thread's beginning and end. See watch.h in include/nemafit. */
#define _GNU_SOURCE
#include "watch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "beat.h"
#include "nemafit/log.h"

/* Memory that the ranks of the node share. Its name is gone again when all have it. NULL on any rank: on all. */
static nf_status share(const nf_group *node, size_t bytes, void **table)
{
    static const char form[] = "/nemafit-%ld-%lld";
    char name[64];
    int fd = -1;

    *table = MAP_FAILED;
    if (node->rank == 0) {
        snprintf(name, sizeof name, form, (long)getpid(), (long long)nf_watch_now());
        fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0 && posix_fallocate(fd, 0, (off_t)bytes) != 0) { /* no room: a later touch would be SIGBUS */
            close(fd);
            shm_unlink(name);
            fd = -1;
        }
    }
    NF_TRY(nf_bcast(node, 0, name, sizeof name));
    NF_TRY(nf_barrier(node));
    if (node->rank != 0)
        fd = shm_open(name, O_RDWR, 0);
    if (fd >= 0) {
        *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    NF_TRY(nf_barrier(node));
    if (node->rank == 0)
        shm_unlink(name);
    return NF_OK;
}

static nf_status take_table(struct nf_watch *w, const nf_group *node, bool *shared)
{
    const nf_group *world = &w->mesh->group[NF_WORLD];
    void *table;
    int64_t failed;

    w->bytes = sizeof *w->table + (size_t)node->size * sizeof *w->table->beat;
    if (nf_group_alone(node))
        table = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else
        NF_TRY(share(node, w->bytes, &table));
    failed = table == MAP_FAILED;
    NF_TRY(nf_reduce_i64(world, &failed, 1, NF_MAX));
    *shared = !failed;
    if (!failed)
        w->table = table;
    else if (table != MAP_FAILED)
        munmap(table, w->bytes);
    return NF_OK;
}

/* First ranks of all nodes, in order. */
static nf_status find_nodes(struct nf_watch *w, const nf_group *node)
{
    const nf_group *world = &w->mesh->group[NF_WORLD];
    int leader = world->rank, *all = calloc((size_t)world->size, sizeof *all);
    nf_status status = all ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the watchdog");

    w->leader = calloc((size_t)world->size, sizeof *w->leader);
    w->seen = calloc((size_t)world->size, sizeof *w->seen);
    if (!status && (!w->leader || !w->seen))
        status = nf_fail(NF_ENOMEM, "no memory for the watchdog");
    status = nf_agree(w->mesh, status);
    if (!status)
        status = nf_bcast(node, 0, &leader, sizeof leader);
    w->leader_of_mine = leader;
    if (!status)
        status = nf_gather_bytes(world, &leader, sizeof leader, all);
    for (int r = 0; r < world->size && !status; r++)
        if (r == 0 ? all[0] == 0 : all[r] == r)
            w->leader[w->nodes++] = r;
    free(all);
    return status;
}

static void begin_beat(struct nf_watch *w)
{
    int64_t now = nf_watch_now();

    w->mine = &w->table->beat[w->node_rank];
    w->begin = now;
    atomic_store(&w->mine->rank, w->world_rank);
    atomic_store(&w->mine->pid, (int32_t)getpid());
    atomic_store(&w->mine->section, NF_SECTION_SETUP);
    atomic_store(&w->mine->since, now);
    atomic_store(&w->mine->moved, now);
    atomic_store(&w->mine->alive, now);
    w->mesh->beat = w->mine;
    nf_device_set_ticks(w->mesh->device, &w->mine->moves);
}

static void let_go(struct nf_watch *w)
{
    if (w->mesh->beat) {
        nf_device_set_ticks(w->mesh->device, NULL);
        w->mesh->beat = NULL;
    }
    if (w->table)
        munmap(w->table, w->bytes);
    free(w->leader);
    free(w->seen);
    free(w->dir);
    free(w);
}

static nf_status start_thread(struct nf_watch *w)
{
    sigset_t all, before;
    int err;

    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&w->thread, NULL, nf_watch_thread, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err ? nf_fail(NF_ENOMEM, "no thread for the watchdog: %s", strerror(err)) : NF_OK;
}

static nf_status set_up(struct nf_watch *w, const nf_group *node, bool *shared)
{
    NF_TRY(nf_agree(w->mesh, w->dir ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the watchdog")));
    NF_TRY(nf_agree(w->mesh, w->node_rank == 0 ? nf_dir_make(w->dir) : NF_OK));
    NF_TRY(find_nodes(w, node));
    NF_TRY(take_table(w, node, shared));
    if (!*shared) {
        nf_warn("no shared memory for the watchdog: a run that hangs will not be ended");
        return NF_OK;
    }
    begin_beat(w);
    NF_TRY(nf_barrier(&w->mesh->group[NF_WORLD])); /* every beat has begun */
    if (w->node_rank == 0)
        nf_watch_exchange(w);
    return start_thread(w);
}

nf_status nf_watch_start(nf_mesh *mesh, const char *dir, double timeout, nf_watch **watch)
{
    const nf_group *world = &mesh->group[NF_WORLD], *node = &mesh->group[NF_NODE];
    struct nf_watch *w;
    bool shared = false;
    nf_status status;

    *watch = NULL;
    if (timeout <= 0)
        return NF_OK;
    w = calloc(1, sizeof *w);
    status = nf_agree(mesh, w ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the watchdog"));
    if (!status) {
        *w = (struct nf_watch){.mesh = mesh,
                               .timeout = timeout,
                               .dir = strdup(dir),
                               .ep = mesh->group[NF_EP].size,
                               .node_rank = node->rank,
                               .node_ranks = node->size,
                               .world_rank = world->rank,
                               .world_ranks = world->size};
        gethostname(w->host, sizeof w->host - 1);
        pthread_mutex_init(&w->files, NULL);
        status = nf_agree(mesh, set_up(w, node, &shared));
    }
    if (!status && shared) {
        mesh->patience = timeout;
        *watch = w;
        return NF_OK;
    }
    if (w)
        let_go(w);
    return status;
}

void nf_watch_leave(nf_watch *w)
{
    if (!w)
        return;
    (void)nf_watch_section(w->mesh, NF_SECTION_FINISH, atomic_load(&w->mine->step));
    pthread_mutex_lock(&w->files);
    atomic_store(&w->gone, true);
    if (w->node_rank == 0)
        nf_watch_remove_file(w);
    pthread_mutex_unlock(&w->files);
    nf_device_set_ticks(w->mesh->device, NULL); /* the device may be gone before the process is */
    w->mesh->beat = NULL;
}

void nf_watch_stop(nf_watch *w)
{
    if (!w)
        return;
    (void)nf_barrier(&w->mesh->group[NF_WORLD]);
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
    if (w->node_rank == 0)
        nf_watch_remove_file(w);
    let_go(w);
}
