/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --export and --verify on a snapshot of a model nobody trained: on any number of ranks, whatever wrote it, the checkpoint that
 * comes out is the one that went in, byte for byte.
 */
#include "nemafit/io/safetensors.h"
#include "nemafit/io/snapshot.h"
#include "nemafit/log.h"
#include "nemafit/model.h"
#include "nemafit/train.h"
#include "snaprig.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int world_ranks, world_rank;
static char source[400], dir[256];

static bool good(nf_status s)
{
    if (s != NF_OK && world_rank == 0)
        printf("# %s\n", nf_diagnosis());
    nf_diagnosis_clear();
    return s == NF_OK;
}

/* The model of the quickstart, its weights on the ranks of a mesh. */
struct held {
    nf_json *config;
    nf_model *model;
    nf_named *named;
};

static nf_status load(struct held *h, const nf_mesh *mesh, nf_queue *queue, nf_dtype dtype)
{
    const nf_strings none = {0};
    const struct nf_model_choice choice = {.dtype = dtype, .chunks = 1, .recv_factor = 1.0, .freeze = &none, .no_decay = &none};
    const nf_group *ep = nf_mesh_group(mesh, NF_EP);
    char path[500], *text = NULL;
    size_t n = 0;
    nf_st *st = NULL;
    snprintf(path, sizeof path, "%s/config.json", source);
    NF_TRY(nf_file_read(path, 1 << 20, &text, &n));
    nf_status s = nf_json_parse(path, text, n, NF_JSON_PYTHON, NF_EMODEL, &h->config);
    free(text);
    NF_TRY(s);
    NF_TRY(nf_model_new(h->config, &choice, &h->model));
    h->named = calloc((size_t)h->model->params, sizeof *h->named);
    NF_CHECK(h->named);
    for (int p = 0; p < h->model->params; p++) {
        const nf_param_desc *d = &h->model->desc[p];
        nf_piece x = {.param = p, .count = 1};
        for (int i = 0; i < d->nd; i++)
            x.count *= d->dim[i];
        if (d->spread == NF_EXPERT) {
            x.count /= nf_group_size(ep);
            x.first = x.count * nf_group_rank(ep);
        }
        h->named[p] = (nf_named){.desc = d, .piece = x, .data = calloc((size_t)x.count, nf_dtype_size(d->dtype))};
        NF_CHECK(h->named[p].data);
    }
    NF_TRY(nf_st_open(mesh, source, &st));
    s = nf_st_read(st, mesh, &h->model->map, h->model->desc, h->named, h->model->params, queue);
    nf_st_free(st);
    return s;
}

static void unload(struct held *h)
{
    for (int p = 0; h->named && p < h->model->params; p++)
        free(h->named[p].data);
    free(h->named);
    nf_model_free(h->model);
    nf_json_free(h->config);
}

/* A snapshot by all ranks. */
static nf_status take(int ep, nf_dtype dtype, int64_t step)
{
    MPI_Comm world = MPI_COMM_WORLD;
    struct held h = {0};
    nf_device *device;
    nf_mesh *mesh;
    nf_queue *queue;
    nf_lease *lease = NULL;
    nf_str input = {0};
    const struct nf_snapshot_meta meta = {.step = step, .best_step = -1, .jsonl_bytes = -1};
    NF_TRY(nf_device_host(1, &device));
    NF_TRY(nf_mesh_new(&world, ep, device, &mesh));
    NF_TRY(nf_queue_new(device, "test", 0, NULL, &queue));
    nf_str_addf(&input,
                "&model path = '%s', dtype = '%s' /\n&data format = 'mock', seq_len = 8 /\n&train steps = 1 /\n"
                "&parallel ep = %d /\n",
                source, nf_dtype_name(dtype), ep);
    nf_status s = nf_agree(mesh, load(&h, mesh, queue, dtype));
    const struct nf_snapshot_field field = {"weights", h.named, h.model ? h.model->params : 0, NULL, NF_WANT_ALL};
    const struct nf_snapshot_attachment attached = {"input.used.nml", input.text, input.len};
    if (s == NF_OK)
        s = nf_lease_take(mesh, dir, 5, &lease);
    const struct nf_snapshot_arg arg = {.mesh = mesh,
                                        .lease = lease,
                                        .meta = &meta,
                                        .field = &field,
                                        .fields = 1,
                                        .attachment = &attached,
                                        .attachments = 1,
                                        .queue = queue};
    if (s == NF_OK)
        s = nf_snapshot_take(&arg);
    nf_lease_drop(lease);
    unload(&h);
    nf_str_free(&input);
    nf_mesh_free(mesh);
    nf_queue_free(queue);
    nf_device_free(device);
    return s;
}

static bool same_file(const char *name, const char *out)
{
    char line[1400];
    snprintf(line, sizeof line, "cmp '%s/%s' '%s/%s' >&2", source, name, out, name);
    const bool same = world_rank > 0 || system(line) == 0;
    MPI_Barrier(MPI_COMM_WORLD);
    return same;
}

/* Out of a snapshot, on the first `ranks` ranks. */
static bool comes_out(int step, int ranks)
{
    char snapshot[400], out[400];
    MPI_Comm comm;
    bool done = true;
    snprintf(snapshot, sizeof snapshot, "%s/step-%08d", dir, step);
    snprintf(out, sizeof out, "%s/out-%d-%d", dir, step, ranks);
    MPI_Comm_split(MPI_COMM_WORLD, world_rank < ranks ? 0 : MPI_UNDEFINED, world_rank, &comm);
    if (comm != MPI_COMM_NULL) {
        done = good(nf_train_export(snapshot, out, NULL, 0, &comm));
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return done & same_file("model.safetensors", out) & same_file("config.json", out);
}

static void refusals(int step)
{
    MPI_Comm world = MPI_COMM_WORLD;
    char snapshot[400], out[400], other[500], *words[] = {other, NULL};
    struct stat st;
    snprintf(snapshot, sizeof snapshot, "%s/step-%08d", dir, step);
    snprintf(out, sizeof out, "%s/none", dir);
    snprintf(other, sizeof other, "model.path=%s/validation/golden/nemotron_h", getenv("srcdir"));
    nf_status s = nf_train_export(snapshot, out, words, 1, &world);
    if (!tap_ok(s == NF_EDATA && strstr(nf_diagnosis(), "the model of this run has"), "another model is refused by name"))
        tap_note("%s", nf_diagnosis());
    nf_diagnosis_clear();
    tap_ok(nf_train_verify(snapshot, &world) == NF_OK, "the snapshot is whole");
    s = nf_train_verify(dir, &world);
    tap_ok(s == NF_EMISSING && strstr(nf_diagnosis(), "Hint: its newest snapshot is ") && strstr(nf_diagnosis(), "/step-"),
           "the run's directory is no snapshot; its newest is named");
    nf_diagnosis_clear();
    if (world_rank == 0)
        snaprig_flip(snapshot, "rank-00000.h5", 5000, 4);
    MPI_Barrier(MPI_COMM_WORLD);
    tap_ok(nf_train_verify(snapshot, &world) == NF_EDATA && strstr(nf_diagnosis(), "1 of "), "a damaged one is not whole");
    nf_diagnosis_clear();
    tap_ok(nf_train_export(snapshot, out, NULL, 0, &world) == NF_EDATA && strstr(nf_diagnosis(), "rank-00000.h5: is damaged") &&
               stat(out, &st) != 0,
           "and nothing is exported of it");
    nf_diagnosis_clear();
}

int main(void)
{
    int step = 0;
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &world_ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    nf_log_open(world_rank, world_ranks, NF_LOG_QUIET, stdout);
    snprintf(source, sizeof source, "%s/inputs/byte-hybrid", getenv("srcdir"));
    snaprig_dir("snapshot-export", dir);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const int ep = world_ranks % 2 == 0 && bf16 ? 2 : 1;
        tap_ok(good(take(ep, bf16 ? NF_BF16 : NF_F32, ++step)), "a snapshot in %s, ep %d", bf16 ? "bf16" : "fp32", ep);
        for (int ranks = 1; ranks <= world_ranks; ranks++)
            tap_ok(comes_out(step, ranks), "exported on %d ranks: the checkpoint byte for byte", ranks);
    }
    refusals(step);
    snaprig_remove(dir);
    return tap_done();
}
