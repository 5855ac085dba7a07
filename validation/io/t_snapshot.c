/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot written on any number of ranks comes back on any other, every bit of every element in its place, and with it what
 * the run knew. And nothing is lost on the way: what no rank holds is found.
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

static bool good(nf_status s)
{
    if (s != NF_OK && world_rank == 0)
        printf("# %s\n", nf_diagnosis());
    return s == NF_OK;
}

/* Read the snapshot at path on another mesh. */
static bool comes_back(const char *path, int step, int ranks, int ep, bool ragged)
{
    struct snaprig s = snaprig_open(ranks, ep, ragged);
    nf_snapshot_reader *r = NULL;
    bool right = true;
    if (s.mesh) {
        snaprig_clear(&s);
        right = good(nf_snapshot_open(s.mesh, path, NULL, &r)) &&
                good(nf_snapshot_load(r, s.mesh, s.field, SNAP_FIELDS, s.queue)) && snaprig_wrong(&s, step) == 0;
        nf_snapshot_close(r);
    }
    snaprig_close(&s);
    return right;
}

static void pairs(const char *dir)
{
    char path[300];
    int step = 0;
    for (int a = 1; a <= world_ranks; a++)
        for (int ep = 1; ep <= a; ep++) {
            if (a % ep)
                continue;
            struct snaprig s = snaprig_open(a, ep, ep % 2 == 0);
            nf_lease *lease = NULL;
            bool right = true;
            step++;
            if (s.mesh)
                right = good(nf_lease_take(s.mesh, dir, 5, &lease)) && good(snaprig_take(&s, lease, step, ep == a && a > 1));
            nf_lease_drop(lease);
            snaprig_close(&s);
            tap_ok(right, "written on %d ranks, ep %d", a, ep);
            snprintf(path, sizeof path, "%s/step-%08d", dir, step);
            for (int b = 1; b <= world_ranks; b++)
                for (int to = 1; to <= b; to++)
                    if (b % to == 0)
                        tap_ok(comes_back(path, step, b, to, (b + to) % 2 == 0), "... read on %d ranks, ep %d", b, to);
        }
}

static bool same_meta(const struct nf_snapshot_meta *a, const struct nf_snapshot_meta *b)
{
    return a->step == b->step && a->row == b->row && a->updates == b->updates && a->skipped == b->skipped &&
           a->best_step == b->best_step && memcmp(&a->best_loss, &b->best_loss, 8) == 0 &&
           memcmp(&a->last_loss, &b->last_loss, 8) == 0 && a->train_seed == b->train_seed && a->data_seed == b->data_seed &&
           a->csv_bytes == b->csv_bytes && a->jsonl_bytes == b->jsonl_bytes && memcmp(&a->seconds, &b->seconds, 8) == 0 &&
           a->finished == b->finished && strcmp(a->model, b->model) == 0 && strcmp(a->data, b->data) == 0;
}

/* What the run knew: meta and attachments; the newest is found; single tensors. */
static void knows(const char *dir, struct snaprig *s, int64_t step)
{
    nf_snapshot_reader *r = NULL;
    const void *bytes = NULL;
    size_t n = 0;
    const struct nf_snapshot_meta wanted = snaprig_meta(step);
    tap_ok(good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)) && r, "the newest opens");
    const struct nf_snapshot_meta *m = nf_snapshot_meta(r);
    tap_ok(same_meta(m, &wanted) && m->ranks == world_ranks && m->ep == 1 && m->generation > 0 &&
               m->format == NF_SNAPSHOT_FORMAT && strncmp(m->program, "nemafit ", 8) == 0,
           "the meta data come back, bit for bit");
    tap_ok(nf_snapshot_attached(r, "algorithms", &bytes, &n) && n == 3 && memcmp(bytes, "\0\1\2", 4) == 0 &&
               nf_snapshot_attached(r, "input.used.nml", &bytes, &n) && n == 19 && strcmp(bytes, "&train steps = 3 /\n") == 0 &&
               !nf_snapshot_attached(r, "snapshot.h5", &bytes, &n) && !nf_snapshot_attached(r, "rank-00000.h5", &bytes, &n),
           "so do attachments");
    const int t = nf_snapshot_find(r, "weights", "model.layers.1.mixer.experts.down_proj");
    struct nf_snapshot_tensor x = nf_snapshot_tensor(r, t);
    float some[20] = {0};
    tap_ok(t >= 0 && x.nd == 3 && x.dim[0] == 12 && x.dim[2] == 9 && x.dtype == NF_F32 &&
               nf_snapshot_find(r, "m", "model.layers.1.mixer.gate.bias") < 0 && nf_snapshot_find(r, "weights", "x") < 0 &&
               good(nf_snapshot_get(r, t, 12 * 13 * 9 - 20, 20, some)),
           "a tensor is found by name");
    struct snaprig one = snaprig_open(world_ranks, 1, false);
    snaprig_fill(&one, (int)step);
    tap_ok(memcmp(some, (float *)one.named[0][5].data + 12 * 13 * 9 - 20, sizeof some) == 0, "and a part of it is read");
    snaprig_close(&one);
    nf_snapshot_close(r);
}

static void refusals(const char *dir, struct snaprig *s)
{
    nf_snapshot_reader *r = NULL;
    nf_lease *lease = NULL;
    tap_ok(good(nf_snapshot_open_latest(s->mesh, dir, NULL, &r)), "opened for another model");
    s->desc[4].dim[1] = 25;
    tap_ok(nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue) == NF_EDATA &&
               strstr(nf_diagnosis(),
                      "weights of 'model.layers.1.mixer.experts.up_proj' are bf16 [12, 24, 16], the model of this "
                      "run has bf16 [12, 25, 16]"),
           "another shape is refused by name");
    nf_diagnosis_clear();
    s->desc[4].dim[1] = 24;
    s->dtype[2][5] = NF_BF16;
    tap_ok(nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue) == NF_EDATA &&
               strstr(nf_diagnosis(), "m of 'model.layers.1.mixer.experts.down_proj' are fp32 [12, 13, 9]"),
           "another type is refused by name");
    nf_diagnosis_clear();
    s->dtype[2][5] = NF_F32;
    s->desc[8].name = "output.weight";
    tap_ok(nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue) == NF_EDATA &&
               strstr(nf_diagnosis(), "has no weights of 'output.weight', which the model of this run has"),
           "a missing tensor is refused by name");
    nf_diagnosis_clear();
    s->desc[8].name = "lm_head.weight";
    s->field[0].n--;
    tap_ok(nf_snapshot_load(r, s->mesh, s->field, SNAP_FIELDS, s->queue) == NF_EDATA &&
               strstr(nf_diagnosis(), "has weights of 'lm_head.weight', which the model of this run has not"),
           "a tensor too many is refused by name");
    nf_diagnosis_clear();
    s->field[0].n++;
    nf_snapshot_close(r);
    tap_ok(good(nf_lease_take(s->mesh, dir, 5, &lease)), "a lease");
    void *kept = s->named[2][4].data;
    s->named[2][4].data = NULL;
    tap_ok(snaprig_take(s, lease, 90, false) == NF_EBUG &&
               strstr(nf_diagnosis(), "m of 'model.layers.1.mixer.experts.up_proj': elements [0, 4608) are on no rank"),
           "moments that no rank holds are found");
    nf_diagnosis_clear();
    s->named[2][4].data = kept;
    const int64_t count = s->named[0][4].piece.count;
    s->named[0][4].piece.count = 4608 - 16;
    tap_ok(snaprig_take(s, lease, 91, false) == NF_EBUG && strstr(nf_diagnosis(), "elements [4592, 4608) are on no rank"),
           "a lost expert's end is found");
    nf_diagnosis_clear();
    s->named[0][4].piece.count = count;
    struct stat st;
    char path[300];
    snprintf(path, sizeof path, "%s/step-00000090", dir);
    tap_ok(stat(path, &st) != 0, "and no snapshot comes of it");
    nf_lease_drop(lease);
}

/* Is the estimate right, and did all ranks write alike much? */
static void sizes(const char *dir, struct snaprig *s, int64_t step)
{
    struct nf_snapshot_cost cost = {0};
    const struct nf_snapshot_meta meta = snaprig_meta(step);
    const struct nf_snapshot_arg arg = {
        .mesh = s->mesh, .meta = &meta, .field = s->field, .fields = SNAP_FIELDS, .queue = s->queue};
    char path[400];
    struct stat st;
    double real = 0, least = 1e30, most = 0;
    tap_ok(good(nf_snapshot_size(&arg, &cost)), "what it will take is known before");
    for (int r = 0; r < world_ranks; r++) {
        snprintf(path, sizeof path, "%s/step-%08d/rank-%05d.h5", dir, (int)step, r);
        const double n = stat(path, &st) == 0 ? (double)st.st_size : 0;
        real += n;
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    static const char *const others[] = {"MANIFEST", "snapshot.h5", "checksums"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/step-%08d/%s", dir, (int)step, others[i]);
        real += stat(path, &st) == 0 ? (double)st.st_size : 0;
    }
    tap_ok((double)cost.bytes > 0.99 * real && (double)cost.bytes < 1.01 * real, "within 1 %% (%.0f, %.0f)", (double)cost.bytes,
           real);
    tap_ok(most < 1.2 * least, "every rank writes its share (%.0f to %.0f bytes)", least, most);
}

int main(void)
{
    char dir[256];
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &world_ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    nf_log_open(world_rank, world_ranks, NF_LOG_QUIET, stdout);
    snaprig_dir("snapshot", dir);
    pairs(dir);
    struct snaprig s = snaprig_open(world_ranks, 1, false);
    nf_lease *lease = NULL;
    tap_ok(good(nf_lease_take(s.mesh, dir, 5, &lease)) && good(snaprig_take(&s, lease, 50, false)), "another one");
    nf_lease_drop(lease);
    knows(dir, &s, 50);
    sizes(dir, &s, 50);
    refusals(dir, &s);
    snaprig_close(&s);
    snaprig_remove(dir);
    return tap_done();
}
