/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damaged snapshots: each kind is found before anything is used, told with file and place, and the one before is taken instead.
 * And which snapshots stay when older ones are removed.
 */
#include "snaprig.h"
#include "tap.h"

#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int world_ranks, world_rank;
static char run[256], newest[300];

static bool good(nf_status s)
{
    if (s != NF_OK && world_rank == 0)
        printf("# %s\n", nf_diagnosis());
    return s == NF_OK;
}

static void barrier(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
}

static void shell(const char *fmt, const char *a, const char *b)
{
    char line[1400];
    snprintf(line, sizeof line, fmt, a, b);
    if (world_rank == 0 && system(line) != 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
    barrier();
}

/* The newest is damaged in some way: it is refused with these words, verify finds it, and the run falls back to the one before.
 * Then it is put right again. */
static void found(struct snaprig *s, const char *what, const char *words, nf_status status)
{
    nf_snapshot_reader *r = NULL;
    char text[800] = "";
    barrier();
    const nf_status open = nf_snapshot_open(s->mesh, newest, NULL, &r);
    const bool told = open == status && strstr(nf_diagnosis(), words);
    snprintf(text, sizeof text, "%s", nf_diagnosis());
    nf_snapshot_close(r);
    nf_diagnosis_clear();
    const bool verified = nf_snapshot_verify(s->mesh, newest) == status;
    nf_diagnosis_clear();
    r = NULL;
    bool back = good(nf_snapshot_open_latest(s->mesh, run, NULL, &r)) && r && nf_snapshot_meta(r)->step == 1;
    if (back) {
        snaprig_clear(s);
        back = good(nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue)) && snaprig_wrong(s, 1) == 0;
    }
    nf_snapshot_close(r);
    if (!tap_ok(told && verified && back, "%s", what))
        tap_note("told %d, verified %d, fell back %d: %s", told, verified, back, text);
    shell("rm -rf '%s'%s", newest, "");
    shell("cp -r '%s.safe' '%s'", newest, newest);
}

/* A bit of a small tensor among others in one MiB: this one is named. */
static void place_of(struct snaprig *s, const char *name)
{
    char path[400], line[2048], file[32] = "", words[200];
    long at = 0;
    int tensor = -1, i = 0, t, f;
    snprintf(path, sizeof path, "%s/MANIFEST", newest);
    FILE *m = fopen(path, "r");
    while (m && fgets(line, sizeof line, m)) {
        if (strncmp(line, "tensor weights ", 15) == 0 && strstr(line, name))
            tensor = i;
        i += strncmp(line, "tensor ", 7) == 0;
        if (sscanf(line, "piece %d %d %*d %*d %ld", &t, &f, &at) == 3 && t == tensor)
            break;
    }
    if (m)
        fclose(m);
    barrier();
    snprintf(file, sizeof file, "rank-%05d.h5", f);
    if (world_rank == 0)
        snaprig_flip(newest, file, at + 5, 1);
    snprintf(words, sizeof words, "weights of '%s'", name);
    found(s, "the tensor is named", words, NF_EDATA);
}

static void each_damage(struct snaprig *s)
{
    static const struct {
        const char *file;
        long at;
    } flips[] = {{"rank-00000.h5", 0},      {"rank-00000.h5", 9}, {"rank-00000.h5", 2000}, {"rank-00000.h5", -1},
                 {"rank-00000.h5", 300000}, {"snapshot.h5", 100}, {"checksums", 0},        {"input.used.nml", 3},
                 {"algorithms", 1},         {"MANIFEST", 20},     {"MANIFEST", -1}};
    char what[200], words[200];
    for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
        if (world_rank == 0)
            snaprig_flip(newest, flips[i].file, flips[i].at, 0x10);
        snprintf(what, sizeof what, "one bit of %s, byte %ld", flips[i].file, flips[i].at);
        snprintf(words, sizeof words, "%s: ", flips[i].file);
        found(s, what, words, NF_EDATA);
    }
    if (world_rank == 0)
        snaprig_flip(newest, "rank-00000.h5", 300000, 1);
    found(s, "the tensor and the MiB are named", "rank-00000.h5: is damaged: MiB 0 of", NF_EDATA);
    place_of(s, "model.layers.1.mixer.gate.bias");
    shell("dd if=/dev/zero of='%s/rank-00000.h5' bs=4096 seek=60 count=1 conv=notrunc status=none%s", newest, "");
    found(s, "a page of zeros", "rank-00000.h5: is damaged: MiB 0 of", NF_EDATA);
    shell("truncate -s 100000 '%s/rank-00000.h5'%s", newest, "");
    found(s, "a file cut off", "has 100000 bytes, ", NF_EDATA);
    shell("truncate -s +1 '%s/rank-00000.h5'%s", newest, "");
    found(s, "a byte too many", "rank-00000.h5: has ", NF_EDATA);
    shell(": >'%s/rank-00000.h5'%s", newest, "");
    found(s, "a file of no bytes", "rank-00000.h5: has 0 bytes, ", NF_EDATA);
    shell("rm '%s/rank-00000.h5'%s", newest, "");
    found(s, "a missing file", "rank-00000.h5: is missing", NF_EDATA);
    shell("rm '%s/checksums'%s", newest, "");
    found(s, "missing checksums", "checksums: is missing", NF_EDATA);
    shell("rm '%s/MANIFEST'%s", newest, "");
    found(s, "a missing MANIFEST", "it has no MANIFEST", NF_EMISSING);
    shell(": >'%s/MANIFEST'%s", newest, "");
    found(s, "a MANIFEST of no bytes", "MANIFEST: is not the MANIFEST of a snapshot: it has 0 bytes", NF_EDATA);
    shell("cp '%s/../step-00000001/rank-00000.h5' '%s'", newest, newest);
    found(s, "a file of another step", "rank-00000.h5: is ", NF_EDATA);
    shell("cp '%s/../step-00000001/MANIFEST' '%s'", newest, newest);
    found(s, "the MANIFEST of another step", "is the MANIFEST of step 1: the directory has another name", NF_EDATA);
    shell("rm '%s/rank-00000.h5' && ln -s /etc/passwd '%s/rank-00000.h5'", newest, newest);
    found(s, "a link in the place of a file", "rank-00000.h5: ", NF_EDATA);
    if (world_ranks == 1)
        return;
    shell("cd '%s' && mv rank-00000.h5 x && mv rank-00001.h5 rank-00000.h5 && mv x rank-00001.h5%s", newest, "");
    found(s, "files of two ranks exchanged", "holds what rank-0000", NF_EDATA);
}

static int count(const char *dir)
{
    struct nf_snapshot_list list = {0};
    const int n = nf_snapshot_list(dir, &list) == NF_OK ? list.count : -1;
    nf_snapshot_list_free(&list);
    barrier();
    return n;
}

static bool there(const char *dir, int step)
{
    char path[400];
    struct stat st;
    snprintf(path, sizeof path, "%s/step-%08d", dir, step);
    const bool is = stat(path, &st) == 0;
    barrier();
    return is;
}

static void pruning(struct snaprig *s)
{
    char dir[256], path[400];
    nf_lease *lease = NULL;
    snaprig_dir("snapshot-prune", dir);
    bool right = good(nf_lease_take(s->mesh, dir, 5, &lease));
    for (int step = 1; step <= 6; step++)
        right = right && good(snaprig_take(s, lease, step, false));
    tap_ok(right && count(dir) == 6, "six snapshots");
    snprintf(path, sizeof path, "%s/step-00000006", dir);
    if (world_rank == 0)
        snaprig_flip(path, "MANIFEST", 40, 1);
    barrier();
    tap_ok(good(nf_snapshot_prune(s->mesh, lease, 2, 1)) && there(dir, 6) && there(dir, 5) && there(dir, 4) && !there(dir, 3) &&
               !there(dir, 2) && there(dir, 1),
           "two whole ones and the pinned one stay; the damaged one does not count and stays for people");
    shell("rm '%s/step-00000005/rank-00000.h5' && : >'%s/step-00000004/checksums'", dir, dir);
    tap_ok(good(nf_snapshot_prune(s->mesh, lease, 1, -1)) && count(dir) == 4, "the last whole one is never removed");
    nf_snapshot_reader *r = NULL;
    tap_ok(good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)) && r && nf_snapshot_meta(r)->step == 1, "and it is found");
    nf_snapshot_close(r);
    shell("rm '%s/step-00000001/MANIFEST'%s", dir, "");
    r = NULL;
    tap_ok(nf_snapshot_open_latest(s->mesh, dir, NULL, &r) == NF_EDATA &&
               strstr(nf_diagnosis(), "none of its 4 snapshots is whole"),
           "with none left that is whole, the run does not begin anew by itself");
    nf_diagnosis_clear();
    tap_ok(good(snaprig_take(s, lease, 5, false)) && good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)) && r &&
               nf_snapshot_meta(r)->step == 5,
           "a snapshot takes the place of one of the same step");
    nf_snapshot_close(r);
    nf_lease_drop(lease);
    snaprig_remove(dir);
}

int main(void)
{
    nf_lease *lease = NULL;
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &world_ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    nf_log_open(world_rank, world_ranks, NF_LOG_QUIET, stdout);
    snaprig_dir("snapshot-damage", run);
    snprintf(newest, sizeof newest, "%s/step-00000002", run);
    struct snaprig s = snaprig_open(world_ranks, 1, false);
    tap_ok(good(nf_lease_take(s.mesh, run, 5, &lease)) && good(snaprig_take(&s, lease, 1, false)) &&
               good(snaprig_take(&s, lease, 2, true)),
           "two snapshots");
    nf_lease_drop(lease);
    shell("cp -r '%s' '%s.safe'", newest, newest);
    each_damage(&s);
    pruning(&s);
    snaprig_close(&s);
    snaprig_remove(run);
    return tap_done();
}
