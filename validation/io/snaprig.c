/* SPDX-License-Identifier: Apache-2.0 */
/* snaprig.c: see snaprig.h. What fails here is no test point: the program ends. */
#include "snaprig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEED(ok)                                                                                                               \
    do {                                                                                                                       \
        if (!(ok)) {                                                                                                           \
            printf("Bail out! %s:%d: %s: %s\n", __FILE__, __LINE__, #ok, nf_diagnosis());                                      \
            fflush(stdout);                                                                                                    \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                                                      \
        }                                                                                                                      \
    } while (0)

static const nf_param_desc descs[SNAP_PARAMS] = {
    {.name = "model.embed.weight", .dtype = NF_BF16, .nd = 2, .dim = {1501, 701}},
    {.name = "model.layers.0.norm.weight", .dtype = NF_BF16, .nd = 1, .dim = {96}},
    {.name = "model.layers.0.mixer.A_log", .dtype = NF_F32, .nd = 1, .dim = {7}},
    {.name = "model.layers.0.mixer.conv1d.weight", .dtype = NF_BF16, .nd = 3, .dim = {5, 7, 11}},
    {.name = "model.layers.1.mixer.experts.up_proj", .dtype = NF_BF16, .nd = 3, .dim = {12, 24, 16}, .spread = NF_EXPERT},
    {.name = "model.layers.1.mixer.experts.down_proj", .dtype = NF_F32, .nd = 3, .dim = {12, 13, 9}, .spread = NF_EXPERT},
    {.name = "model.layers.1.mixer.gate.bias", .dtype = NF_F32, .nd = 1, .dim = {12}, .frozen = true, .buffer = true},
    {.name = "model.layers.1.mixer.frozen.weight", .dtype = NF_BF16, .nd = 2, .dim = {3, 130}, .frozen = true},
    {.name = "lm_head.weight", .dtype = NF_F32, .nd = 2, .dim = {1, 1}},
};
static const struct {
    const char *name;
    enum nf_snapshot_want want;
} fields[SNAP_FIELDS] = {{"weights", NF_WANT_ALL}, {"remainder", NF_WANT_HELD}, {"m", NF_WANT_TRAINED}, {"v", NF_WANT_TRAINED}};

static int64_t elements(const nf_param_desc *d)
{
    int64_t n = 1;
    for (int i = 0; i < d->nd; i++)
        n *= d->dim[i];
    return n;
}

/* bf16 weights have a remainder; moments are bf16 where the weight is, fp32 elsewhere: every type of element is met. */
static bool has(int f, const nf_param_desc *d)
{
    return f == 0 || (!d->frozen && (f > 1 || d->dtype == NF_BF16));
}

static nf_dtype type(int f, const nf_param_desc *d)
{
    return f == 1 ? NF_I16 : f == 3 ? NF_F32 : d->dtype;
}

/* Where this rank's piece lies. Ragged: experts' shares are cut over edp, dense ones over world, unevenly; some are empty. */
static nf_piece piece(const struct snaprig *s, int p, bool ragged)
{
    const nf_param_desc *d = &s->desc[p];
    const nf_group *ep = nf_mesh_group(s->mesh, NF_EP), *edp = nf_mesh_group(s->mesh, NF_EDP);
    nf_piece x = {.param = p, .count = elements(d)};
    if (d->spread == NF_EXPERT) {
        x.count /= nf_group_size(ep);
        x.first = x.count * nf_group_rank(ep);
    }
    if (!ragged)
        return x;
    const nf_group *over = d->spread == NF_EXPERT ? edp : nf_mesh_group(s->mesh, NF_WORLD);
    const int64_t n = nf_group_size(over), r = nf_group_rank(over), from = x.count * r * r / (n * n);
    x.first += from;
    x.count = x.count * (r + 1) * (r + 1) / (n * n) - from;
    return x;
}

static struct snaprig open_rows(int ranks, int ep, bool ragged, int64_t rows)
{
    struct snaprig s = {.ranks = ranks, .ep = ep};
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < ranks ? 0 : MPI_UNDEFINED, rank, &s.comm);
    if (s.comm == MPI_COMM_NULL)
        return s;
    memcpy(s.desc, descs, sizeof descs);
    s.desc[0].dim[0] = rows;
    NEED(nf_device_host(1, &s.device) == NF_OK);
    NEED(nf_mesh_new(&s.comm, ep, s.device, &s.mesh) == NF_OK);
    NEED(nf_queue_new(s.device, "test", 0, NULL, &s.queue) == NF_OK);
    for (int f = 0; f < SNAP_FIELDS; f++) {
        for (int p = 0; p < SNAP_PARAMS; p++) {
            nf_named *n = &s.named[f][p];
            s.dtype[f][p] = type(f, &descs[p]);
            *n = (nf_named){.piece = piece(&s, p, ragged)};
            if (has(f, &descs[p]))
                NEED(n->data = calloc((size_t)n->piece.count + 1, nf_dtype_size(s.dtype[f][p])));
        }
    }
    return s;
}

struct snaprig snaprig_open(int ranks, int ep, bool ragged)
{
    return open_rows(ranks, ep, ragged, descs[0].dim[0]);
}

struct snaprig snaprig_open_small(int ranks)
{
    return open_rows(ranks, 1, false, 31);
}

/* The tables point into the rig, which is returned by value: they are set where it lies. */
static void point(struct snaprig *s)
{
    for (int f = 0; f < SNAP_FIELDS; f++) {
        for (int p = 0; p < SNAP_PARAMS; p++)
            s->named[f][p].desc = &s->desc[p];
        s->field[f] = (struct nf_snapshot_field){fields[f].name, s->named[f], SNAP_PARAMS, s->dtype[f], fields[f].want};
    }
}

void snaprig_close(struct snaprig *s)
{
    if (!s->mesh)
        return;
    for (int f = 0; f < SNAP_FIELDS; f++)
        for (int p = 0; p < SNAP_PARAMS; p++)
            free(s->named[f][p].data);
    nf_mesh_free(s->mesh);
    nf_queue_free(s->queue);
    nf_device_free(s->device);
    MPI_Comm_free(&s->comm);
}

uint64_t snaprig_value(int version, int f, int p, int64_t i)
{
    uint64_t x = ((uint64_t)version << 56) ^ ((uint64_t)f << 48) ^ ((uint64_t)p << 40) ^ (uint64_t)i;
    for (int k = 0; k < 3; k++) {
        x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
        x ^= x >> 32;
    }
    return x;
}

/* Call for every element that lies here: set it, or count it if it is wrong. */
static int64_t walk(struct snaprig *s, int version, bool set)
{
    int64_t wrong = 0;
    if (!s->mesh)
        return 0;
    point(s);
    for (int f = 0; f < SNAP_FIELDS; f++)
        for (int p = 0; p < SNAP_PARAMS; p++) {
            const nf_named *n = &s->named[f][p];
            const size_t size = nf_dtype_size(s->dtype[f][p]);
            for (int64_t i = 0; n->data && i < n->piece.count; i++) {
                const uint64_t x = snaprig_value(version, f, p, n->piece.first + i);
                char *at = (char *)n->data + (size_t)i * size;
                if (set)
                    memcpy(at, &x, size);
                else
                    wrong += memcmp(at, &x, size) != 0;
            }
        }
    return wrong;
}

void snaprig_fill(struct snaprig *s, int version)
{
    (void)walk(s, version, true);
}

int64_t snaprig_wrong(const struct snaprig *s, int version)
{
    return walk((struct snaprig *)s, version, false);
}

void snaprig_clear(struct snaprig *s)
{
    if (!s->mesh)
        return;
    point(s);
    for (int f = 0; f < SNAP_FIELDS; f++)
        for (int p = 0; p < SNAP_PARAMS; p++)
            if (s->named[f][p].data)
                memset(s->named[f][p].data, 0, (size_t)s->named[f][p].piece.count * nf_dtype_size(s->dtype[f][p]));
}

struct nf_snapshot_meta snaprig_meta(int64_t step)
{
    struct nf_snapshot_meta m = {.step = step,
                                 .row = 32 * step,
                                 .updates = step - 1,
                                 .skipped = 1,
                                 .best_step = step / 2,
                                 .best_loss = 1.0 / (double)(step + 3),
                                 .train_seed = 0xfedcba9876543210u,
                                 .data_seed = 7,
                                 .csv_bytes = 1000 + step,
                                 .jsonl_bytes = -1,
                                 .seconds = 0.1 * (double)step};
    const uint64_t odd_nan = 0x7ff8dead00000001u;
    memcpy(&m.last_loss, &odd_nan, sizeof odd_nan);
    snprintf(m.model, sizeof m.model, "%s", "00112233445566778899aabbccddeeff");
    return m;
}

nf_status snaprig_take(struct snaprig *s, const nf_lease *lease, int64_t step, bool async)
{
    static const char text[] = "&train steps = 3 /\n";
    const struct nf_snapshot_attachment attached[] = {{"input.used.nml", text, sizeof text - 1}, {"algorithms", "\0\1\2", 3}};
    const struct nf_snapshot_meta meta = snaprig_meta(step);
    const struct nf_snapshot_arg arg = {.mesh = s->mesh,
                                        .lease = lease,
                                        .meta = &meta,
                                        .field = s->field,
                                        .fields = SNAP_FIELDS,
                                        .attachment = attached,
                                        .attachments = 2,
                                        .queue = s->queue,
                                        .async = async};
    nf_snapshot *snapshot = NULL;
    bool committed = false;
    snaprig_fill(s, (int)step);
    if (!async)
        return nf_snapshot_take(&arg);
    NF_TRY(nf_snapshot_begin(&arg, &snapshot));
    nf_status status = nf_queue_wait(s->queue, nf_snapshot_copied(snapshot));
    snaprig_fill(s, 99); /* the run goes on */
    while (status == NF_OK && !committed)
        status = nf_snapshot_poll(snapshot, false, &committed);
    nf_snapshot_free(snapshot);
    return status;
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void shell(const char *fmt, const char *a, const char *b)
{
    char line[1200];
    snprintf(line, sizeof line, fmt, a, b);
    NEED(system(line) == 0);
}

void snaprig_dir(const char *name, char out[256])
{
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const char *build = getenv("builddir");
    snprintf(out, 256, "%s/validation/tmp/%s-%d", build ? build : ".", name, ranks);
    if (rank == 0)
        shell("rm -rf '%s' && mkdir -p '%s'", out, out);
    MPI_Barrier(MPI_COMM_WORLD);
}

void snaprig_remove(const char *dir)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0 && !getenv("NF_KEEP"))
        shell("rm -rf '%s'%s", dir, "");
}

void snaprig_flip(const char *dir, const char *file, long at, unsigned char mask)
{
    char path[600];
    unsigned char c;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "r+b");
    NEED(f && fseek(f, at, at < 0 ? SEEK_END : SEEK_SET) == 0 && fread(&c, 1, 1, f) == 1);
    c ^= mask;
    NEED(fseek(f, -1, SEEK_CUR) == 0 && fwrite(&c, 1, 1, f) == 1 && fclose(f) == 0);
}
