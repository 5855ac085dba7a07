/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot is taken, and one of the system's calls of it fails or lies, on one rank, once or from there on: a call, an error
 * and a rank drawn anew for each trial. What is said to be committed is whole and is what was in memory; what is not leaves the
 * snapshot before it as it was, and a message that names path and reason; once the fault is over the next snapshot is taken.
 * NF_TRIALS=all means each call in turn, with each fault, on rank 0 and on the last.
 */
#include "io/snaprig.h"
#include "shim.h"
#include "tap.h"
#include "trial.h"

#include "nemafit/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int world_ranks, world_rank;
static char run[256];
static const int hows[] = {ENOSPC, EDQUOT, EIO, EROFS, EACCES, EINTR, FAULT_SHORT, FAULT_TORN, FAULT_FLIP};
enum { HOWS = sizeof hows / sizeof *hows };

struct trial {
    int rank, how;
    int64_t at;
    bool always, async;
};

/* What one attempt came to; the same on all ranks. */
struct outcome {
    nf_status status;
    char text[800];
    int64_t counted, done; /* calls of the rank with the fault */
};

static void attempt(struct snaprig *s, const nf_lease *lease, int64_t step, const struct trial *t, struct outcome *out)
{
    const struct fault fault = {"write", t->rank == world_rank ? t->at : 0, t->how, t->always};
    fault_arm(run, &fault);
    out->status = snaprig_take(s, lease, step, t->async);
    if (out->status == NF_OK)
        out->status = nf_snapshot_prune(s->mesh, lease, 1, -1);
    int64_t seen[2] = {fault_counted(), fault_done()};
    fault_arm(NULL, NULL);
    snprintf(out->text, sizeof out->text, "%s", out->status == NF_OK ? "" : nf_diagnosis());
    nf_diagnosis_clear();
    MPI_Bcast(seen, 2, MPI_INT64_T, t->rank, MPI_COMM_WORLD);
    out->counted = seen[0];
    out->done = seen[1];
}

/* The newest snapshot of the run, by its contents; -1: there is none, or it is not what was in memory at its step. */
static int64_t newest(struct snaprig *s)
{
    nf_snapshot_reader *r = NULL;
    int64_t step = -1;
    if (nf_snapshot_open_latest(s->mesh, run, NULL, &r) == NF_OK && r) {
        snaprig_clear(s);
        step = nf_snapshot_meta(r)->step;
        int64_t wrong =
            nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue) == NF_OK ? snaprig_wrong(s, (int)step) : 1;
        MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
        step = wrong == 0 ? step : -1;
    }
    nf_snapshot_close(r);
    nf_diagnosis_clear();
    return step;
}

/* A message that a person can act on: where, and what. */
static bool tells(const struct outcome *o, int how)
{
    if (!strstr(o->text, run))
        return false;
    return how > 0 ? strstr(o->text, strerror(how)) != NULL : strstr(o->text, "reads back") || strstr(o->text, "ends before");
}

static bool told_by_status(nf_status status)
{
    return status == NF_EIO || status == NF_EPERM;
}

static void describe(const struct trial *t, char out[200])
{
    snprintf(out, 200, "%s snapshot, rank %d, call %lld%s: %s", t->async ? "asynchronous" : "synchronous", t->rank,
             (long long)t->at, t->always ? " and all that follow" : "", fault_name(t->how));
}

/* One trial. false: the call is not reached. *step: of the newest snapshot, before and after. */
static bool try_it(struct snaprig *s, const nf_lease *lease, const struct trial *t, int64_t *step, long *bad)
{
    struct outcome o, next;
    const struct trial none = {.async = t->async};
    char what[200];
    attempt(s, lease, *step + 1, t, &o);
    const int64_t found = newest(s);
    attempt(s, lease, *step + 2, &none, &next);
    const bool kept = o.status == NF_OK ? found == *step + 1 : found == *step || found == *step + 1;
    const bool told = o.status == NF_OK || (told_by_status(o.status) && tells(&o, t->how));
    const bool on = next.status == NF_OK && newest(s) == *step + 2;
    describe(t, what);
    if (world_rank == 0)
        trial_tell("A4 %d ranks, %s: status %d, %s%s%s", world_ranks, what, (int)o.status, kept ? "kept" : "LOST",
                   told ? "" : ", NOT TOLD", on ? "" : ", NEXT FAILED");
    if (!kept || !told || !on) {
        *bad += 1;
        tap_note("%s: status %d, newest %lld of %lld, told %d, next %d: %s | %s", what, (int)o.status, (long long)found,
                 (long long)*step, told, (int)next.status, o.text, next.text);
    }
    *step = on ? *step + 2 : *step;
    return o.done > 0;
}

int main(void)
{
    nf_lease *lease = NULL;
    struct outcome o;
    long bad = 0, done = 0, committed_calls[2] = {0};
    int64_t step = 1;
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &world_ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    nf_log_open(world_rank, world_ranks, NF_LOG_QUIET, stdout);
    snaprig_dir("write-errors", run);
    struct snaprig s = snaprig_open_small(world_ranks);
    tap_ok(nf_lease_take(s.mesh, run, 5, &lease) == NF_OK && snaprig_take(&s, lease, 1, false) == NF_OK, "a snapshot");
    for (int last = 0; last < 2; last++) {
        attempt(&s, lease, ++step, &(struct trial){.rank = last ? world_ranks - 1 : 0}, &o);
        committed_calls[last] = o.counted;
    }
    tap_ok(o.status == NF_OK && newest(&s) == step && committed_calls[1] >= 5,
           "undisturbed: %ld calls on rank 0, %ld on the last", committed_calls[0], committed_calls[1]);
    const char *asked = getenv("NF_TRIALS");
    if (asked && strcmp(asked, "all") == 0) {
        for (int last = 0; last < (world_ranks > 1 ? 2 : 1); last++)
            for (int64_t at = 1; at <= committed_calls[last]; at++)
                for (int h = 0; h < 2 * HOWS; h++)
                    if (hows[h / 2] != EINTR || h % 2 == 0)
                        done += try_it(&s, lease,
                                       &(struct trial){.rank = last ? world_ranks - 1 : 0,
                                                       .how = hows[h / 2],
                                                       .at = at,
                                                       .always = h % 2,
                                                       .async = (at + h) % 2},
                                       &step, &bad);
    } else {
        const long trials = trial_count(30);
        uint64_t state = trial_start((uint64_t)world_ranks);
        for (long i = 0; i < 20 * trials && done < trials; i++) {
            const int last = world_ranks > 1 && trial_draw(&state, 2);
            struct trial t = {.rank = last ? world_ranks - 1 : 0, .how = hows[trial_draw(&state, HOWS)]};
            t.at = 1 + trial_draw(&state, (unsigned)committed_calls[last]);
            t.always = t.how != EINTR && trial_draw(&state, 2);
            t.async = trial_draw(&state, 2);
            done += try_it(&s, lease, &t, &step, &bad);
        }
        tap_ok(done == trials, "%ld faults happened, of %ld", done, trials);
    }
    tap_ok(bad == 0, "%ld faults: none lost a snapshot, none was hidden, the next was taken (%ld bad)", done, bad);
    nf_lease_drop(lease);
    snaprig_close(&s);
    return tap_done();
}
