/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_tell.c: who is to blame. First of all a rank that does not run; else the ranks whose last collective is the lowest: the
 * others wait for them there. Where all have begun the same one, a message is lost or a device hangs, and nobody is named.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "beat.h"
#include "watch.h"

static const int names_most = 8;

static const char *const calls[] = {[NF_CALL_NONE] = "none",
                                    [NF_CALL_BCAST] = "bcast",
                                    [NF_CALL_BARRIER] = "barrier",
                                    [NF_CALL_REDUCE] = "reduce",
                                    [NF_CALL_GATHER] = "gather",
                                    [NF_CALL_ALL_REDUCE] = "all_reduce",
                                    [NF_CALL_REDUCE_SCATTER] = "reduce_scatter",
                                    [NF_CALL_ALL_GATHER] = "all_gather",
                                    [NF_CALL_COUNTS] = "exchange of counts",
                                    [NF_CALL_OUT] = "exchange out",
                                    [NF_CALL_BACK] = "exchange back"};

const char *nf_call_name(enum nf_call call)
{
    return (size_t)call < sizeof calls / sizeof *calls ? calls[call] : "?";
}

const char *nf_axis_name(enum nf_axis axis)
{
    static const char *const name[NF_AXES] = {[NF_WORLD] = "world", [NF_EP] = "ep", [NF_EDP] = "edp", [NF_NODE] = "node"};
    return (size_t)axis < NF_AXES ? name[axis] : "?";
}

struct out {
    char *text;
    size_t size, n;
};

static void add(struct out *o, const char *fmt, ...) NF_PRINTF(2, 3);
static void add(struct out *o, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = o->n < o->size ? vsnprintf(o->text + o->n, o->size - o->n, fmt, args) : 0;
    va_end(args);
    o->n += n > 0 ? (size_t)n : 0;
}

/* A kernel that waits for a peer has said for whom. */
static void add_waiting(struct out *o, const struct nf_watch *w, const struct nf_beat *b)
{
    static const char *const what[] = {
        [NF_WAIT_NONE] = "", [NF_WAIT_COUNTS] = "counts", [NF_WAIT_READY] = "room in its window", [NF_WAIT_ARRIVED] = "rows"};
    const uint64_t word = atomic_load(&b->waiting);
    const enum nf_window_wait why = nf_wait_why(word);

    if (!word || (size_t)why >= sizeof what / sizeof *what)
        return;
    add(o, "; its GPU waits for rank %d (%s of %s, collective %llu)",
        atomic_load(&b->rank) / w->ep * w->ep + nf_wait_peer(word), what[why],
        nf_call_name(nf_wait_way(word) == NF_WAY_OUT ? NF_CALL_OUT : NF_CALL_BACK), (unsigned long long)nf_wait_number(word));
}

static void add_place(struct out *o, const struct nf_watch *w, const struct nf_beat *b)
{
    add(o, "section %s, step %lld, last collective %llu", nf_section_name((enum nf_section)atomic_load(&b->section)),
        (long long)atomic_load(&b->step), (unsigned long long)atomic_load(&b->collective));
    if (atomic_load(&b->collective))
        add(o, " (%s over %s)", nf_call_name((enum nf_call)atomic_load(&b->call)),
            nf_axis_name((enum nf_axis)atomic_load(&b->axis)));
    add_waiting(o, w, b);
}

void nf_watch_describe(const struct nf_watch *w, int64_t idle, char *text, size_t size)
{
    struct out o = {text, size, 0};
    uint64_t least = UINT64_MAX, most = 0;
    int still = 0, named = 0;

    for (int i = 0; i < w->node_ranks; i++) {
        uint64_t c = atomic_load(&w->table->beat[i].collective);
        least = c < least ? c : least;
        most = c > most ? c : most;
        still += nf_watch_is_still(w, &w->table->beat[i]);
    }
    text[0] = '\0';
    add(&o, "nothing has moved for %.0f s: the run is ended", (double)idle * 1e-9);
    for (int i = 0; i < w->node_ranks && named < names_most; i++) {
        const struct nf_beat *b = &w->table->beat[i];
        bool blamed = still ? nf_watch_is_still(w, b) : least < most && atomic_load(&b->collective) == least;
        if (!blamed)
            continue;
        named++;
        add(&o, "\n  rank %d (pid %d on %s) %s: ", atomic_load(&b->rank), atomic_load(&b->pid), w->host,
            still ? "does not run" : "is behind the others");
        add_place(&o, w, b);
    }
    if (named < w->node_ranks || !named) {
        add(&o, "\n  rank %d%s: ", w->world_rank, named ? " waits" : ", like all of its node");
        add_place(&o, w, w->mine);
    }
    if (w->nodes > 1 && !named)
        add(&o, "\n  Hint: look at the files watch-* in %s, which show the ranks of the other nodes", w->dir);
    else
        add(&o, "\n  Hint: if this was no hang, raise train.hang_timeout; the same command goes on from the last snapshot");
}
