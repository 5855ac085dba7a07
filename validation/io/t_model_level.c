/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint against the model: every kind of misfit by its code, many of them in one answer, the same on all ranks.
 */
#include "tap.h"
#include "toy.h"

#include "nemafit/log.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tensor {
    const char *name, *dtype; /* NULL: as the model has it */
    int nd;
    int64_t dim[3];
};

struct misfit {
    const char *what;
    const char *without[2]; /* tensors left out */
    struct tensor with[2];  /* tensors put in, after those left out */
    nf_status status;
    const char *found[2];
    bool lenient;
};

#define UP(e) "backbone.layers.1.experts." #e ".up_proj.weight"
static const struct misfit misfits[] = {
    {"fits", {NULL}, {{0}}, NF_OK, {NULL}, false},
    {"01 missing",
     {"backbone.layers.0.norm.weight"},
     {{0}},
     NF_EDATA,
     {"MD-01 tensor 'backbone.layers.0.norm.weight' is missing", "1 fault"},
     false},
    {"02 unexpected",
     {NULL},
     {{"backbone.foo", "F32", 1, {3}}},
     NF_EDATA,
     {"MD-02 tensor 'backbone.foo' (model.safetensors): the model has none of this name"},
     false},
    {"02 unexpected, lenient", {NULL}, {{"backbone.foo", "F32", 1, {3}}}, NF_OK, {NULL}, true},
    {"03 shape",
     {"backbone.layers.0.norm.weight"},
     {{"backbone.layers.0.norm.weight", "F32", 1, {24}}},
     NF_EDATA,
     {"MD-03 tensor 'backbone.layers.0.norm.weight' (model.safetensors): shape [24], expected [25]"},
     false},
    {"03 extra dimensions of 1 are no misfit",
     {"backbone.layers.0.conv1d.weight"},
     {{"backbone.layers.0.conv1d.weight", "F32", 2, {10, 4}}},
     NF_OK,
     {NULL},
     false},
    {"04 transposed",
     {UP(3)},
     {{UP(3), "F32", 2, {5, 6}}},
     NF_EDATA,
     {"MD-04 tensor '" UP(3) "' (model.safetensors): it is transposed, shape [5, 6], expected [6, 5]"},
     false},
    {"05 dtype",
     {"backbone.layers.0.norm.weight"},
     {{"backbone.layers.0.norm.weight", "I8", 1, {25}}},
     NF_EDATA,
     {"MD-05 tensor 'backbone.layers.0.norm.weight' (model.safetensors): dtype I8, expected F32, BF16 or F16"},
     false},
    {"06 FP8", {UP(3)}, {{UP(3), "F8_E4M3", 2, {6, 5}}}, NF_EMODEL, {"MD-06 tensor '" UP(3) "'", "not supported"}, false},
    {"07 a gap in the experts",
     {UP(7), UP(8)},
     {{0}},
     NF_EDATA,
     {"MD-07 tensor '" UP(7) "' is missing: of experts 0 to 11, number 7", "2 faults"},
     false},
    {"08 an expert too many",
     {NULL},
     {{UP(12), "F32", 2, {6, 5}}},
     NF_EDATA,
     {"MD-08 tensor '" UP(12) "' (model.safetensors): the model has experts 0 to 11"},
     false},
    {"09 fused and one by one",
     {NULL},
     {{"backbone.layers.1.experts.up_proj", "F32", 3, {12, 6, 5}}},
     NF_EDATA,
     {"MD-09 tensors", "stand for the same parameter"},
     false},
    {"09 under two names",
     {NULL},
     {{"model.layers.0.norm.weight", "F32", 1, {25}}},
     NF_EDATA,
     {"MD-09", "'model.layers.0.norm.weight'"},
     false},
    {"11 rows of the router",
     {"backbone.layers.1.gate.e_score_correction_bias"},
     {{"backbone.layers.1.gate.e_score_correction_bias", "F32", 1, {13}}},
     NF_EDATA,
     {"MD-03 tensor 'backbone.layers.1.gate.e_score_correction_bias' (model.safetensors): shape [13], expected [12]"},
     false},
    {"12 rows of the embedding",
     {"backbone.embeddings.weight"},
     {{"backbone.embeddings.weight", "F32", 2, {4, 100}}},
     NF_EDATA,
     {"MD-03 tensor 'backbone.embeddings.weight' (model.safetensors): shape [4, 100], expected [3, 100]"},
     false},
    {"14 a layer too many",
     {NULL},
     {{"backbone.layers.3.norm.weight", "F32", 1, {25}}},
     NF_EDATA,
     {"MD-14 tensor 'backbone.layers.3.norm.weight' (model.safetensors): the model has layers 0 to 2"},
     false},
    {"30 empty",
     {"backbone.layers.0.norm.weight"},
     {{"backbone.layers.0.norm.weight", "F32", 1, {0}}},
     NF_EDATA,
     {"ST-030 tensor 'backbone.layers.0.norm.weight'"},
     false},
    {"several at once",
     {UP(7), "backbone.one"},
     {{"backbone.foo", "F32", 1, {3}}, {"backbone.bar", "F32", 1, {3}}},
     NF_EDATA,
     {"4 faults", "MD-01 tensor 'backbone.one'"},
     false},
};

static bool named(const char *const list[2], const char *name)
{
    return (list[0] && strcmp(list[0], name) == 0) || (list[1] && strcmp(list[1], name) == 0);
}

static bool write_misfit(const struct toy *toy, const struct misfit *c, const char *path)
{
    struct make m = {0};
    char *zeros = calloc(1, 65536);
    for (int r = 0; r < (int)toy->map.rows && zeros; r++) {
        int64_t first, count;
        toy_span(toy, r, &first, &count);
        if (!named(c->without, toy->row[r].name))
            make_tensor(&m, toy->row[r].name, "F32", toy->row[r].nd, toy->row[r].dim, zeros, (size_t)count * 4);
    }
    for (int k = 0; k < 2 && zeros && c->with[k].name; k++) {
        const struct tensor *t = &c->with[k];
        size_t size = t->dtype[0] == 'I' || t->dtype[1] == '8' ? 1 : 4;
        for (int d = 0; d < t->nd; d++)
            size *= (size_t)t->dim[d];
        make_tensor(&m, t->name, t->dtype, t->nd, t->dim, zeros, size);
    }
    free(zeros);
    return make_write(&m, path);
}

/* More faults than are told. */
static void many(const struct toy *toy, const nf_mesh *mesh, const char *dir, const char *path)
{
    struct make m = {0};
    nf_st *st = NULL;
    const int64_t one = 1;
    bool written = true;
    if (nf_mesh_rank(mesh) == 0) {
        make_tensor(&m, "x", "F32", 1, &one, "\0\0\0\0", 4);
        written = make_write(&m, path);
    }
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    written &= nf_st_open(mesh, dir, &st) == NF_OK;
    const nf_status status = written ? nf_st_check(st, &toy->map, toy->desc, TOY_PARAMS, true) : NF_EBUG;
    int lines = 0;
    for (const char *p = nf_diagnosis(); *p; p++)
        lines += *p == '\n';
    /* all rows but the optional one are missing, and x is unexpected */
    tap_ok(lines == 21 && make_diagnosed(status, NF_EDATA, "54 faults"), "54 faults: 20 are told");
    nf_diagnosis_clear();
    nf_st_free(st);
}

int main(void)
{
    char dir[256] = "", path[300];
    int rank;
    nf_device *device = NULL;
    nf_mesh *mesh = NULL;
    struct toy toy;
    MPI_Comm world = MPI_COMM_WORLD;
    tap_open_mpi();
    MPI_Comm_rank(world, &rank);
    bool ready = rank != 0 || make_folder(dir, "t_model_level");
    MPI_Bcast(dir, sizeof dir, MPI_BYTE, 0, world);
    ready &= nf_device_host(1, &device) == NF_OK && nf_mesh_new(&world, 1, device, &mesh) == NF_OK;
    ready &= toy_make(&toy, 1, NF_F32, NF_F32, NF_F32, 3);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    nf_log_open(rank, 1, NF_LOG_QUIET, stderr);
    ready = tap_ok(ready, "a mesh and a folder");
    for (size_t i = 0; ready && i < sizeof misfits / sizeof *misfits; i++) {
        const struct misfit *c = &misfits[i];
        nf_st *st = NULL;
        bool right = rank != 0 || write_misfit(&toy, c, path);
        nf_barrier(nf_mesh_group(mesh, NF_WORLD));
        right &= nf_st_open(mesh, dir, &st) == NF_OK;
        const nf_status status = right ? nf_st_check(st, &toy.map, toy.desc, TOY_PARAMS, !c->lenient) : NF_EBUG;
        for (int k = 0; k < 2 && c->found[k]; k++)
            right &= strstr(nf_diagnosis(), c->found[k]) != NULL;
        tap_ok(right && status == c->status, "%s", c->what);
        if (!right || status != c->status)
            tap_note("%s: %s", nf_status_name(status), nf_diagnosis());
        nf_diagnosis_clear();
        nf_st_free(st);
    }
    if (ready)
        many(&toy, mesh, dir, path);
    toy_free(&toy);
    nf_mesh_free(mesh);
    nf_device_free(device);
    if (rank == 0)
        make_remove(dir);
    return tap_done();
}
