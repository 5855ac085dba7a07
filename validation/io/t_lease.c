/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run at a time in a directory: who holds it is told, what outlives its lease cannot commit, what an earlier run left
 * unfinished goes. And a write that fails leaves the snapshots before it as they were.
 */
#define _GNU_SOURCE
#include "snaprig.h"
#include "tap.h"

#include "nemafit/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int world_ranks, world_rank;
static char dir[256];

static bool good(nf_status s)
{
    if (s != NF_OK && world_rank == 0)
        printf("# %s\n", nf_diagnosis());
    return s == NF_OK;
}

static void shell(const char *fmt)
{
    char line[1400];
    snprintf(line, sizeof line, fmt, dir, dir, dir);
    if (world_rank == 0 && system(line) != 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Barrier(MPI_COMM_WORLD);
}

static bool there(const char *name)
{
    char path[600];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    const bool is = lstat(path, &st) == 0;
    MPI_Barrier(MPI_COMM_WORLD);
    return is;
}

static bool latest_is(struct snaprig *s, int64_t step)
{
    nf_snapshot_reader *r = NULL;
    bool is = good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)) && r && nf_snapshot_meta(r)->step == step;
    if (is) {
        snaprig_clear(s);
        is = good(nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue)) && snaprig_wrong(s, (int)step) == 0;
    }
    nf_snapshot_close(r);
    return is;
}

static void holding(struct snaprig *s)
{
    nf_lease *first = NULL, *second = NULL;
    char words[64];
    nf_snapshot_reader *r = NULL;
    tap_ok(good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)) && !r, "a directory that is not there has no snapshot");
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &first)) && nf_lease_generation(first) == 1 && there("run.lock"),
           "the first lease makes the directory");
    tap_ok(good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)) && !r, "an empty one has none either");
    const double begin = nf_seconds();
    const nf_status held = nf_lease_take(s->mesh, dir, 0.5, &second);
    snprintf(words, sizeof words, "held by process %ld on ", world_rank == 0 ? (long)getpid() : 0);
    tap_ok(held == NF_EEXISTS && (world_rank > 0 || strstr(nf_diagnosis(), words)) && strstr(nf_diagnosis(), "Hint: wait"),
           "the second is told who holds it");
    tap_ok(nf_seconds() - begin >= 0.4, "after it has waited");
    nf_diagnosis_clear();
    tap_ok(good(snaprig_take(s, first, 10, false)), "a snapshot of the first");
    nf_lease_drop(first);
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &second)) && nf_lease_generation(second) == 2,
           "then it is had, one generation on");
    nf_lease_drop(second);
}

/* A run that lives on without its lease, as after a kill of rank 0, or a process that was stopped and woken. */
static void outliving(struct snaprig *s)
{
    nf_lease *old = NULL, *now = NULL;
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &old)), "the lease of a run");
    shell("rm '%s/run.lock'");
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &now)) && nf_lease_generation(now) == nf_lease_generation(old) + 1,
           "another takes the directory");
    tap_ok(world_rank > 0 || nf_lease_check(old) == NF_EEXISTS, "the first knows when it looks");
    nf_diagnosis_clear();
    tap_ok(snaprig_take(s, old, 20, false) == NF_EEXISTS && strstr(nf_diagnosis(), "a later run has taken this directory") &&
               !there("step-00000020"),
           "and cannot commit");
    nf_diagnosis_clear();
    tap_ok(good(snaprig_take(s, now, 21, true)) && latest_is(s, 21), "the second can");
    nf_lease_drop(old);
    nf_lease_drop(now);
}

/* Begun under the lease, committed after it was lost. */
static void overtaken(struct snaprig *s)
{
    nf_lease *old = NULL, *now = NULL;
    nf_snapshot *snapshot = NULL;
    bool committed = false;
    const struct nf_snapshot_meta meta = snaprig_meta(30);
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &old)), "the lease of a run");
    const struct nf_snapshot_arg arg = {.mesh = s->mesh,
                                        .lease = old,
                                        .meta = &meta,
                                        .field = s->field,
                                        .fields = SNAP_FIELDS,
                                        .queue = s->queue,
                                        .async = true};
    tap_ok(good(nf_snapshot_begin(&arg, &snapshot)), "a snapshot is begun");
    shell("rm '%s/run.lock'");
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &now)), "another takes the directory");
    nf_status status = NF_OK;
    while (status == NF_OK && !committed)
        status = nf_snapshot_poll(snapshot, true, &committed);
    tap_ok(!committed && (status == NF_EEXISTS || status == NF_EMISSING || status == NF_EIO) && !there("step-00000030"),
           "what was begun before is not committed");
    nf_diagnosis_clear();
    nf_snapshot_free(snapshot);
    tap_ok(latest_is(s, 21), "and the last one is whole");
    nf_lease_drop(old);
    nf_lease_drop(now);
}

static void leftovers(struct snaprig *s)
{
    nf_lease *lease = NULL;
    shell("cd '%s' && mkdir step-00000050.g1.tmp && cp -r step-00000021/. step-00000050.g1.tmp && cp -r step-00000010 "
          "step-00000010.old.tmp && : >run.generation.12-0-0.tmp && mkdir step-00000060.g2.tmp");
    tap_ok(latest_is(s, 21), "what is unfinished is no snapshot");
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &lease)) && !there("step-00000050.g1.tmp") && !there("step-00000010.old.tmp") &&
               !there("run.generation.12-0-0.tmp") && !there("step-00000060.g2.tmp") && there("step-00000010") &&
               there("step-00000021"),
           "the next lease removes it, and nothing else");
    nf_lease_drop(lease);
    shell("cd '%s' && mv step-00000021 step-00000021.old.tmp && mv step-00000010 step-00000010.old.tmp && "
          "rm step-00000010.old.tmp/checksums");
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &lease)) && latest_is(s, 21) && !there("step-00000010.old.tmp") &&
               !there("step-00000010"),
           "one that was put aside whole, by a run that was killed then, has its name back");
    nf_lease_drop(lease);
    shell("echo generation 3x >'%s/run.generation'");
    tap_ok(nf_lease_take(s->mesh, dir, 1, &lease) == NF_EDATA && strstr(nf_diagnosis(), "run.generation: is damaged"),
           "a file that is not ours is not counted up");
    nf_diagnosis_clear();
    shell("rm '%s/run.generation' '%s/run.lock' && ln -s /dev/null '%s/run.lock'");
    tap_ok(nf_lease_take(s->mesh, dir, 1, &lease) != NF_OK && strstr(nf_diagnosis(), "run.lock: cannot lock"),
           "a link in the place of the lock is not followed");
    nf_diagnosis_clear();
    shell("rm '%s/run.lock'");
}

/* The file of every rank meets a limit on its size; a full disk gives the same path. */
static void full(struct snaprig *s)
{
    nf_lease *lease = NULL;
    struct rlimit whole, small;
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &lease)), "a lease again");
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &whole);
    small = whole;
    small.rlim_cur = 1 << 20;
    for (int async = 0; async < 2; async++) {
        setrlimit(RLIMIT_FSIZE, &small);
        const nf_status status = snaprig_take(s, lease, 70, async);
        setrlimit(RLIMIT_FSIZE, &whole);
        tap_ok(status == NF_EIO && strstr(nf_diagnosis(), "rank-0000") && strstr(nf_diagnosis(), "bytes) are needed, ") &&
                   strstr(nf_diagnosis(), "bytes) are free"),
               "no room (async %d): the file, the bytes needed and free are told", async);
        tap_note("%s", nf_diagnosis());
        nf_diagnosis_clear();
        tap_ok(!there("step-00000070") && !there("step-00000070.g1.tmp") && latest_is(s, 21), "nothing of it stays");
    }
    tap_ok(good(snaprig_take(s, lease, 70, false)) && latest_is(s, 70), "with room again, the same snapshot is taken");
    nf_lease_drop(lease);
}

int main(void)
{
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &world_ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    nf_log_open(world_rank, world_ranks, NF_LOG_QUIET, stdout);
    snaprig_dir("lease", dir);
    snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/run");
    struct snaprig s = snaprig_open(world_ranks, 1, false);
    snaprig_fill(&s, 30);
    holding(&s);
    outliving(&s);
    snaprig_fill(&s, 30);
    overtaken(&s);
    leftovers(&s);
    full(&s);
    snaprig_close(&s);
    snaprig_remove(dir);
    return tap_done();
}
