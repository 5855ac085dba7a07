/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c: where a rank stands, the thread that looks, the verdict. See watch.h in include/nemafit. */
#define _GNU_SOURCE
#include "watch.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "beat.h"
#include "nemafit/log.h"

static const int64_t second = 1000000000;

int64_t nf_watch_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * second + t.tv_nsec;
}

const char *nf_section_name(enum nf_section section)
{
    static const char *const name[NF_SECTIONS] = {"setup", "load", "step", "snapshot", "evaluate", "export", "finish"};
    return (int)section >= 0 && section < NF_SECTIONS ? name[section] : "?";
}

enum nf_section nf_watch_section(const nf_mesh *mesh, enum nf_section section, int64_t step)
{
    struct nf_beat *b = mesh->group[NF_WORLD].mesh->beat;

    if (!b)
        return section;
    atomic_store(&b->step, step);
    if (atomic_load(&b->section) != (int)section)
        atomic_store(&b->since, nf_watch_now());
    nf_watch_moved(mesh);
    return (enum nf_section)atomic_exchange(&b->section, (int)section);
}

void nf_watch_moved(const nf_mesh *mesh)
{
    struct nf_beat *b = mesh->group[NF_WORLD].mesh->beat;

    if (b)
        __atomic_fetch_add(&b->moves, 1, __ATOMIC_RELAXED);
}

void nf_beat_call(const nf_group *group, enum nf_call call)
{
    struct nf_beat *b = group->mesh->beat;

    if (!b)
        return;
    atomic_store_explicit(&b->call, (int)call, memory_order_relaxed);
    atomic_store_explicit(&b->axis, (int)group->axis, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->collective, 1, memory_order_relaxed);
    __atomic_fetch_add(&b->moves, 1, __ATOMIC_RELAXED);
}

uint64_t nf_beat_number(const nf_mesh *mesh)
{
    return mesh->beat ? atomic_load_explicit(&mesh->beat->collective, memory_order_relaxed) : 0;
}

double nf_beat_patience(const nf_mesh *mesh)
{
    const double unwatched = 3600, slack = 60;
    return mesh->patience > 0 ? NF_WATCH_PATIENCE * mesh->patience + slack : unwatched;
}

/* ---- the verdict -----------------------------------------------------------------------------------------------------------
 */

static int64_t timeout_ns(const struct nf_watch *w)
{
    return (int64_t)(w->timeout * (double)second);
}

bool nf_watch_is_still(const struct nf_watch *w, const struct nf_beat *b)
{
    int64_t alive = atomic_load(&b->alive);
    return nf_watch_now() - (alive > w->begin ? alive : w->begin) > timeout_ns(w);
}

static bool is_long(int section)
{
    return section == NF_SECTION_SETUP || section == NF_SECTION_LOAD || section == NF_SECTION_SNAPSHOT ||
           section == NF_SECTION_EXPORT;
}

/* Nanoseconds for which nothing has moved, if that is too long; else 0. */
static int64_t too_long(const struct nf_watch *w, int64_t now)
{
    const int64_t settle = 2 * second; /* where rank 0 is not, others are waited for: it speaks first */
    const int64_t ending = 5 * second; /* MPI_Finalize moves nothing that is seen */
    int64_t last = w->begin, limit = timeout_ns(w), others = atomic_load(&w->table->others);
    bool all_run = true, some_long = false;

    for (int i = 0; i < w->node_ranks; i++) {
        const struct nf_beat *b = &w->table->beat[i];
        int64_t moved = atomic_load(&b->moved);
        last = moved > last ? moved : last;
        all_run = all_run && !nf_watch_is_still(w, b);
        some_long = some_long || is_long(atomic_load(&b->section));
    }
    last = others > last ? others : last;
    if (all_run && some_long)
        limit *= NF_WATCH_PATIENCE;
    if (atomic_load(&w->mine->section) == NF_SECTION_FINISH)
        limit += ending;
    if (w->leader_of_mine != 0)
        limit += settle;
    return now - last > limit ? now - last : 0;
}

/* A rank that is stopped stays behind where nobody starts it again: it is ended by a child that outlives this process. */
static void end_the_still(const struct nf_watch *w)
{
    bool any = false;

    for (int i = 0; i < w->node_ranks; i++)
        any = any || nf_watch_is_still(w, &w->table->beat[i]);
    if (!any || fork() != 0)
        return;
    nanosleep(&(struct timespec){1, 0}, NULL); /* the status of the run is that of who ends first */
    for (int i = 0; i < w->node_ranks; i++)
        if (nf_watch_is_still(w, &w->table->beat[i]))
            kill((pid_t)atomic_load(&w->table->beat[i].pid), SIGKILL);
    nf_leave(NF_EHANG);
}

static void end(const struct nf_watch *w, int64_t idle)
{
    int nobody = 0;
    char text[2048];

    nf_die_hook(NULL); /* MPI may be what hangs */
    if (!atomic_compare_exchange_strong(&w->table->teller, &nobody, w->world_rank + 1))
        nf_leave(NF_EHANG);
    nf_watch_describe(w, idle, text, sizeof text);
    end_the_still(w);
    nf_die(NF_EHANG, "%s", text);
}

/* Every 30 s in a long section a sign of life. */
static void say(struct nf_watch *w, int64_t now)
{
    const int64_t every = 30 * second;
    int section = atomic_load(&w->mine->section);
    int64_t since = atomic_load(&w->mine->since);

    if (w->world_rank != 0 || !is_long(section) || now - since < every || now < w->next_note)
        return;
    w->next_note = now + every;
    nf_note("%s goes on since %lld s", nf_section_name((enum nf_section)section), (long long)((now - since) / second));
}

static void look(struct nf_watch *w, int64_t now)
{
    uint64_t moves = __atomic_load_n(&w->mine->moves, __ATOMIC_RELAXED);
    int64_t idle;

    if (moves != w->seen_moves)
        atomic_store(&w->mine->moved, now);
    w->seen_moves = moves;
    pthread_mutex_lock(&w->files); /* files and mesh are there as long as they are not gone */
    if (!atomic_load(&w->gone)) {
        const struct nf_window_told *told = __atomic_load_n(&w->mesh->told, __ATOMIC_ACQUIRE); /* another thread takes it */
        atomic_store(&w->mine->waiting, told ? __atomic_load_n(&told->waiting, __ATOMIC_RELAXED) : 0);
        if (w->node_rank == 0 && now >= w->next_file)
            nf_watch_exchange(w);
    }
    pthread_mutex_unlock(&w->files);
    if (atomic_load(&w->table->teller))
        nf_leave(NF_EHANG);
    idle = too_long(w, now);
    if (idle)
        end(w, idle);
    say(w, now);
}

void *nf_watch_thread(void *arg)
{
    struct nf_watch *w = arg;
    int64_t pause = timeout_ns(w) / 20, before = nf_watch_now();

    pause = pause > second / 4 ? second / 4 : pause < second / 100 ? second / 100 : pause;
    while (!atomic_load(&w->stop)) {
        nanosleep(&(struct timespec){0, (long)pause}, NULL);
        int64_t now = nf_watch_now();
        if (now - before > 4 * pause + second) /* this process was stopped itself: what it missed is no sign of anything */
            w->begin = now;
        before = now;
        atomic_store(&w->mine->alive, now);
        look(w, now);
    }
    return NULL;
}
