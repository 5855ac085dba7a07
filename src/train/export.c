/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.c: `nemafit --verify SNAPSHOT` and `nemafit --export SNAPSHOT DIR`. On any number of ranks: an export reads each
 * element where it lies in the snapshot and passes it on in chunks, so no rank ever holds a whole tensor.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "nemafit/io/snapshot.h"
#include "nemafit/log.h"
#include "nemafit/train.h"

/* What both commands need; no model lies in memory. */
struct office {
    nf_device *device;
    nf_mesh *mesh;
    nf_queue *queue;
    nf_snapshot_reader *snapshot;
    nf_input *input;
    nf_json *config;
    nf_model *model;
    nf_st *source;
    nf_named *named; /* [params] whole, without data */
    struct places {
        int weight, remainder, master; /* tensors of the snapshot; -1: none */
    } * place;                         /* [params] */
};

static nf_status open_mesh(struct office *o, const void *mpi_comm)
{
    NF_TRY(nf_device_host(1, &o->device));
    NF_TRY(nf_mesh_new(mpi_comm, 1, o->device, &o->mesh));
    return nf_agree(o->mesh, nf_queue_new(o->device, "export", 0, NULL, &o->queue));
}

static void close_all(struct office *o)
{
    free(o->place);
    free(o->named);
    nf_st_free(o->source);
    nf_model_free(o->model);
    nf_json_free(o->config);
    nf_input_free(o->input);
    nf_snapshot_close(o->snapshot);
    nf_queue_free(o->queue);
    nf_mesh_free(o->mesh);
    nf_device_free(o->device);
}

nf_status nf_train_verify(const char *snapshot, const void *mpi_comm)
{
    struct office o = {0};
    nf_status s = open_mesh(&o, mpi_comm);

    if (!s)
        s = nf_snapshot_verify(o.mesh, snapshot);
    close_all(&o);
    return s;
}

/* The input of the run that wrote the snapshot, with what the command line changes. */
static nf_status read_input(struct office *o, char *const *overrides, int n)
{
    const void *text = NULL;
    size_t bytes = 0;
    nf_str name = {0};
    nf_status s;

    if (!nf_snapshot_attached(o->snapshot, "input.used.nml", &text, &bytes))
        return nf_fail(NF_EDATA, "%s: holds no input.used.nml: it is not known which model it is of",
                       nf_snapshot_path(o->snapshot));
    nf_str_addf(&name, "%s/input.used.nml", nf_snapshot_path(o->snapshot));
    s = name.failed ? nf_fail(NF_ENOMEM, "no memory for a path")
                    : nf_input_parse(name.text, text, bytes, overrides, n, &o->input);
    nf_str_free(&name);
    return s;
}

static nf_status open_model(struct office *o)
{
    struct nf_params *p = nf_input_params_mut(o->input);

    p->parallel.ep = 1; /* nothing runs here */
    if (p->model.dtype == NF_AUTO)
        p->model.dtype = NF_F32; /* list_weights() sees what it is */
    NF_TRY(nf_engine_read_config(o->mesh, p->model.path, &o->config));
    NF_TRY(nf_engine_make_model(p, o->config, &o->model));
    if (p->model.init != NF_INIT_CHECKPOINT)
        return NF_OK;
    NF_TRY(nf_st_open(o->mesh, p->model.path, &o->source));
    return nf_st_check(o->source, &o->model->map, o->model->desc, o->model->params, p->model.strict);
}

/* Every parameter as if it lay here whole, in the type that the snapshot keeps it in. */
static nf_status list_weights(struct office *o)
{
    const nf_model *m = o->model;

    o->named = calloc((size_t)m->params, sizeof *o->named);
    o->place = calloc((size_t)m->params, sizeof *o->place);
    if (!o->named || !o->place)
        return nf_fail(NF_ENOMEM, "no memory for the table of parameters");
    for (int p = 0; p < m->params; p++) {
        nf_param_desc *d = &m->desc[p];
        int64_t n = 1;
        for (int i = 0; i < d->nd; i++)
            n *= d->dim[i];
        o->named[p] = (nf_named){.desc = d, .piece = {.param = p, .count = n}};
        o->place[p] = (struct places){.weight = nf_snapshot_find(o->snapshot, "weights", d->name),
                                      .remainder = nf_snapshot_find(o->snapshot, "remainder", d->name),
                                      .master = nf_snapshot_find(o->snapshot, "master", d->name)};
        if (o->place[p].weight >= 0)
            d->dtype = nf_snapshot_tensor(o->snapshot, o->place[p].weight).dtype;
    }
    return NF_OK;
}

/* The fp32 values behind bf16 weights, which lie in out, to out. */
static nf_status join(struct office *o, int remainder, int64_t first, int64_t count, void *out)
{
    uint16_t *half = malloc((size_t)count * sizeof *half + 1);
    int16_t *low = malloc((size_t)count * sizeof *low + 1);
    nf_status s = half && low ? NF_OK : nf_fail(NF_ENOMEM, "no memory to export a snapshot");

    if (!s)
        s = nf_snapshot_get(o->snapshot, remainder, first, count, low);
    if (!s) {
        memcpy(half, out, (size_t)count * sizeof *half);
        for (int64_t i = 0; i < count; i++)
            ((float *)out)[i] = nf_join_f32(half[i], low[i]);
    }
    free(half);
    free(low);
    return s;
}

/* As the run itself exports: a wider type than bf16 is made of the fp32 value, where the snapshot knows it. */
static nf_status get(void *ctx, int i, int64_t first, int64_t count, nf_dtype to, void *out, nf_dtype *type)
{
    struct office *o = ctx;
    const struct places *p = &o->place[i];
    const nf_dtype dtype = o->model->desc[i].dtype;
    bool exact = dtype == NF_BF16 && to != NF_BF16 && (p->master >= 0 || p->remainder >= 0);

    *type = exact ? NF_F32 : dtype;
    NF_TRY(nf_snapshot_get(o->snapshot, exact && p->master >= 0 ? p->master : p->weight, first, count, out));
    return exact && p->master < 0 ? join(o, p->remainder, first, count, out) : NF_OK;
}

static nf_status export(struct office *o, const char *snapshot, const char *dir, char *const *overrides, int n)
{
    NF_TRY(nf_snapshot_open(o->mesh, snapshot, NULL, &o->snapshot));
    NF_TRY(read_input(o, overrides, n));
    NF_TRY(open_model(o));
    NF_TRY(nf_agree(o->mesh, list_weights(o)));
    const nf_model *m = o->model;
    const struct nf_snapshot_field weights = {"weights", o->named, m->params, NULL, NF_WANT_ALL};
    struct nf_st_write_arg arg = nf_export_arg(nf_input_params(o->input), dir);
    NF_TRY(nf_snapshot_load(o->snapshot, o->mesh, &weights, 1, o->queue)); /* without data: names, shapes and types alone */
    arg.get = get;
    arg.ctx = o;
    NF_TRY(nf_st_write(o->source, o->mesh, &m->map, m->desc, m->params, o->named, m->params, o->queue, &arg));
    nf_note("export    %s, step %lld, to %s", snapshot, (long long)nf_snapshot_meta(o->snapshot)->step, dir);
    return NF_OK;
}

nf_status nf_train_export(const char *snapshot, const char *dir, char *const *overrides, int n, const void *mpi_comm)
{
    struct office o = {0};
    nf_status s = open_mesh(&o, mpi_comm);

    if (!s)
        s = export(&o, snapshot, dir, overrides, n);
    close_all(&o);
    return s;
}
