/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finished snapshots are changed in every way that a disk, a copy or a person may change them, and opened: each is refused
 * before anything of it is used, with the file named, and once it is put right again it is accepted. NF_TRIALS and NF_SEED
 * choose how many changes and which.
 */
#include "io/snaprig.h"
#include "tap.h"
#include "trial.h"

#include "nemafit/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int world_ranks, world_rank;
enum { FILES = 16 };

/* A snapshot's files as they were written; rank 0 only. */
struct whole {
    char *dir;
    int files;
    struct {
        char *name;
        char *bytes;
        size_t n;
    } file[FILES];
};

static void give_up(const char *what)
{
    printf("Bail out! %s\n", what);
    fflush(stdout);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void path_of(const struct whole *w, int f, char out[400])
{
    snprintf(out, 400, "%s/%s", w->dir, w->file[f].name);
}

static void put(const struct whole *w, int f, const char *bytes, size_t n)
{
    char path[400];
    path_of(w, f, path);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, n, out) != n || fclose(out) != 0)
        give_up(path);
}

static void remember(struct whole *w, const char *dir)
{
    char path[400];
    struct stat st;
    w->dir = strdup(dir);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        if (w->files == FILES)
            give_up("more files in a snapshot than expected");
        const int f = w->files++;
        w->file[f].name = strdup(e->d_name);
        path_of(w, f, path);
        FILE *in = fopen(path, "rb");
        if (!in || !w->file[f].name || fstat(fileno(in), &st) != 0 || !(w->file[f].bytes = malloc((size_t)st.st_size + 1)))
            give_up(path);
        w->file[f].n = fread(w->file[f].bytes, 1, (size_t)st.st_size, in);
        fclose(in);
    }
    if (d)
        closedir(d);
    if (!w->dir || w->files < 5)
        give_up("a snapshot of too few files");
}

static int find(const struct whole *w, const char *name)
{
    for (int f = 0; f < w->files; f++)
        if (strcmp(w->file[f].name, name) == 0)
            return f;
    return -1;
}

/* Change one file of w; false: that would be no change. `others`: of another step, of another run. */
static bool change(const struct whole *w, const struct whole others[2], uint64_t *state, int *f, char what[128])
{
    const int kind = (int)trial_draw(state, 9);
    *f = (int)trial_draw(state, (unsigned)w->files);
    const size_t n = w->file[*f].n, at = trial_draw(state, (unsigned)n);
    const char *bytes = w->file[*f].bytes;
    char path[400], *copy = malloc(n + 8192);
    bool changed = true;
    if (!copy)
        give_up("no memory");
    memcpy(copy, bytes, n);
    path_of(w, *f, path);
    switch (kind) {
    case 0:
    case 1:
        copy[at] ^= (char)(1 << trial_draw(state, 8));
        snprintf(what, 128, "a bit of byte %zu", at);
        put(w, *f, copy, n);
        break;
    case 2: {
        const size_t page = at / 4096 * 4096, some = n - page < 4096 ? n - page : 4096;
        memset(copy + page, 0, some);
        changed = memcmp(copy, bytes, n) != 0;
        snprintf(what, 128, "a page of zeros at byte %zu", page);
        put(w, *f, copy, n);
        break;
    }
    case 3:
        snprintf(what, 128, "cut off at byte %zu", at);
        put(w, *f, bytes, at);
        break;
    case 4: {
        const size_t more = 1 + trial_draw(state, 8192);
        memset(copy + n, trial_draw(state, 2) ? 0 : 0x5a, more < 8192 ? more : 8192);
        snprintf(what, 128, "%zu bytes more", more);
        put(w, *f, copy, n + (more < 8192 ? more : 8192));
        break;
    }
    case 5:
        snprintf(what, 128, "missing");
        unlink(path);
        break;
    case 6:
        snprintf(what, 128, "of no bytes");
        put(w, *f, "", 0);
        break;
    case 7: {
        const int g = (int)trial_draw(state, (unsigned)w->files); /* the two exchanged */
        changed = g != *f && (n != w->file[g].n || memcmp(bytes, w->file[g].bytes, n) != 0);
        snprintf(what, 128, "exchanged with %s", w->file[g].name);
        if (changed) {
            put(w, *f, w->file[g].bytes, w->file[g].n);
            put(w, g, bytes, n);
        }
        break;
    }
    default: {
        const int o = (int)trial_draw(state, 2), g = find(&others[o], w->file[*f].name);
        changed = g >= 0 && (n != others[o].file[g].n || memcmp(bytes, others[o].file[g].bytes, n) != 0);
        snprintf(what, 128, "of another %s", o ? "run" : "step");
        if (changed)
            put(w, *f, others[o].file[g].bytes, others[o].file[g].n);
    }
    }
    free(copy);
    return changed;
}

static void restore(const struct whole *w)
{
    for (int f = 0; f < w->files; f++)
        put(w, f, w->file[f].bytes, w->file[f].n);
}

static bool accepted(const struct snaprig *s, const char *dir, nf_status *status, char text[800])
{
    nf_snapshot_reader *r = NULL;
    MPI_Barrier(MPI_COMM_WORLD);
    *status = nf_snapshot_open(s->mesh, dir, NULL, &r);
    snprintf(text, 800, "%s", *status == NF_OK ? "" : nf_diagnosis());
    nf_diagnosis_clear();
    nf_snapshot_close(r);
    MPI_Barrier(MPI_COMM_WORLD);
    return *status == NF_OK;
}

/* What a mutation of file f is answered with: a status that says damaged, and the name of the snapshot's file. */
static bool refused(const struct whole *w, int f, nf_status status, const char *text)
{
    if (status == NF_OK || !strstr(text, w->dir))
        return false;
    return status == NF_EDATA || (status == NF_EMISSING && strcmp(w->file[f].name, "MANIFEST") == 0);
}

static void two_runs(struct snaprig *s, struct whole out[3])
{
    char dir[2][256], path[300];
    nf_lease *lease = NULL;
    bool good = true;
    for (int i = 0; i < 2; i++) {
        snaprig_dir(i ? "mutations-other" : "mutations", dir[i]);
        good = good && nf_lease_take(s->mesh, dir[i], 5, &lease) == NF_OK;
        for (int step = 2 - i; good && step >= 1; step--) /* the other run: step 1 only, with the contents of step 1 */
            good = snaprig_take(s, lease, step + i, false) == NF_OK;
        nf_lease_drop(lease);
        lease = NULL;
    }
    tap_ok(good, "snapshots of two runs");
    for (int i = 0; good && world_rank == 0 && i < 3; i++) {
        snprintf(path, sizeof path, "%s/step-%08d", dir[i == 2], i == 1 ? 1 : 2);
        remember(&out[i], path);
    }
}

int main(void)
{
    struct whole w[3] = {0};
    long bad = 0, done = 0, false_alarm = 0;
    char text[800], what[128] = "", dir[300] = "";
    nf_status status;
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &world_ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    nf_log_open(world_rank, world_ranks, NF_LOG_QUIET, stdout);
    struct snaprig s = snaprig_open_small(world_ranks);
    two_runs(&s, w);
    if (world_rank == 0 && w[0].dir)
        snprintf(dir, sizeof dir, "%s", w[0].dir);
    MPI_Bcast(dir, sizeof dir, MPI_CHAR, 0, MPI_COMM_WORLD);
    const long trials = trial_count(130); /* on each number of ranks */
    uint64_t state = trial_start(1000 + (uint64_t)world_ranks);
    while (done < trials) {
        int f = 0, changed = 1;
        if (world_rank == 0)
            changed = change(&w[0], &w[1], &state, &f, what);
        MPI_Bcast(&changed, 1, MPI_INT, 0, MPI_COMM_WORLD);
        if (!changed)
            continue;
        done++;
        (void)accepted(&s, dir, &status, text);
        if (world_rank == 0) {
            const bool right = refused(&w[0], f, status, text);
            bad += !right;
            trial_tell("A6 %d ranks, %s %s: status %d%s", world_ranks, w[0].file[f].name, what, (int)status,
                       right ? "" : " WRONG");
            if (!right)
                tap_note("%s %s: status %d, %s", w[0].file[f].name, what, (int)status, text);
            restore(&w[0]);
        }
        if (done % 16 == 0)
            false_alarm += !accepted(&s, dir, &status, text);
    }
    false_alarm += !accepted(&s, dir, &status, text);
    tap_ok(bad == 0, "%ld changes, all found and told (%ld not)", done, bad);
    tap_ok(false_alarm == 0, "put right again it is accepted");
    for (int i = 0; i < 3; i++) {
        for (int f = 0; f < w[i].files; f++) {
            free(w[i].file[f].name);
            free(w[i].file[f].bytes);
        }
        free(w[i].dir);
    }
    snaprig_close(&s);
    return tap_done();
}
