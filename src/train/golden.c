/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden.c: `nemafit --golden DIR`: load DIR's checkpoint in fp32, repeat its forward, gradients and steps, and hold every
 * figure to its bound (in bf16, if asked for: tell every figure). Rows are dealt in blocks; a rank without rows runs T = 0 and
 * joins every collective.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "golden.h"
#include "loop.h"
#include "nemafit/log.h"
#include "nemafit/train.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Constant rate and the AdamW of the reference, decay on everything; what the user gave stays. */
static void set_params(nf_input *input, const struct golden *g, struct nf_params *p)
{
    struct {
        const char *group, *key;
        double *to, value;
    } reals[] = {{"optim", "lr", &p->optim.lr, g->lr},
                 {"optim", "beta1", &p->optim.beta1, g->beta1},
                 {"optim", "beta2", &p->optim.beta2, g->beta2},
                 {"optim", "eps", &p->optim.eps, g->eps},
                 {"optim", "weight_decay", &p->optim.weight_decay, g->weight_decay},
                 {"train", "clip", &p->train.clip, g->clip}};

    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!nf_input_given(input, reals[i].group, reals[i].key))
            *reals[i].to = reals[i].value;
    if (!nf_input_given(input, "optim", "schedule"))
        p->optim.schedule = NF_CONSTANT;
}

static nf_status fill_batch(struct golden *g, struct row_buffers *rows, int64_t *scored)
{
    const struct nf_rows_out out = {
        .ids = rows->ids, .target = rows->target, .segment = rows->segment, .position = rows->position};
    int64_t at = g->first * g->len;

    for (int64_t i = 0; i < g->mine * g->len; i++) {
        rows->ids[i] = g->ids[at + i];
        rows->segment[i] = g->segment ? g->segment[at + i] : 1;
    }
    for (int64_t i = 0; i < g->mine; i++)
        rows->global_row[i] = g->first + i;
    nf_rows_form(g->mine, g->len, g->labels + at, &out, scored);
    return nf_row_buffers_send(rows, g->e, 0, g->mine, g->len);
}

static nf_status forward_only(struct golden *g, const nf_batch *batch)
{
    struct engine *e = g->e;
    const nf_group *world = nf_mesh_group(e->mesh, NF_WORLD);
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    double worst = 0, sums[2];
    char name[32] = "";
    nf_tensor hidden;

    nf_engine_shape(e, batch, e->arg.local_batch * g->len, false);
    e->run.observe = nf_golden_hidden;
    e->run.observe_ctx = g;
    NF_TRY(nf_model_forward(e->arg.model, e->res, &e->run, batch, e->tape, &hidden));
    e->run.observe = NULL;
    NF_TRY(nf_golden_logits(g, &hidden));
    nf_arena_reset(e->arena[ARENA_STEP], NF_LOW, mark);
    NF_TRY(nf_reduce_f64(world, g->hidden_diff, g->hidden, NF_SUM));
    NF_TRY(nf_reduce_f64(world, g->hidden_ref, g->hidden, NF_SUM));
    for (int i = 0; i < g->hidden; i++) {
        double error = sqrt(g->hidden_diff[i]) / fmax(sqrt(g->hidden_ref[i]), 1e-300);
        if (!(error <= worst)) {
            worst = error;
            snprintf(name, sizeof name, "hidden.%d", i);
        }
    }
    if (g->hidden)
        nf_golden_figure(g, "hidden states", worst, GOLDEN_FORWARD, name);
    sums[0] = g->logits_diff;
    sums[1] = g->logits_ref;
    NF_TRY(nf_reduce_f64(world, sums, 2, NF_SUM));
    nf_golden_figure(g, "logits", sqrt(sums[0]) / fmax(sqrt(sums[1]), 1e-300), GOLDEN_FORWARD, "");
    return NF_OK;
}

static nf_status one_step(struct golden *g, const nf_batch *batch, int step, int64_t scored)
{
    struct engine *e = g->e;
    const struct nf_step_vars vars = {
        .step = step, .lr = (float)e->arg.params->optim.lr, .loss_scale = scored ? (float)(1.0 / (double)scored) : 0};
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    char name[32];

    NF_TRY(nf_engine_vars(e, &vars));
    NF_TRY(nf_fill_zero(e->q, e->sums, 4 * sizeof *e->sums));
    nf_residency_begin_step(e->res);
    nf_engine_shape(e, batch, e->arg.local_batch * g->len, true);
    NF_TRY(nf_engine_micro(e, batch, 0));
    if (step == 0) {
        NF_TRY(nf_residency_end_backward(e->res));
        NF_TRY(nf_golden_tensors(g, g->grads, NF_GRADIENTS, GOLDEN_GRADIENT, "gradients"));
    }
    NF_TRY(nf_engine_update(e));
    NF_TRY(nf_copy(e->q, &e->result[0], e->decision, sizeof *e->decision));
    NF_TRY(nf_queue_drain(e->q));
    nf_arena_reset(e->arena[ARENA_STEP], NF_HIGH, mark);
    snprintf(name, sizeof name, "loss of step %d", step + 1);
    nf_golden_figure(g, name, fabs(e->result[0].loss - g->loss[step]) / fabs(g->loss[step]), GOLDEN_FORWARD, "");
    snprintf(name, sizeof name, "gradient norm %d", step + 1);
    nf_golden_figure(g, name, fabs(sqrt(e->result[0].norm_sq) - g->norm[step]) / fabs(g->norm[step]), GOLDEN_GRADIENT, "");
    return NF_OK;
}

static nf_status repeat(struct golden *g, struct row_buffers *rows)
{
    struct engine *e = g->e;
    nf_batch batch = nf_engine_batch(e, g->mine, g->len);
    int64_t scored;

    NF_TRY(fill_batch(g, rows, &scored));
    NF_TRY(nf_reduce_i64(nf_mesh_group(e->mesh, NF_WORLD), &scored, 1, NF_SUM));
    NF_TRY(forward_only(g, &batch));
    for (int i = 0; i < g->steps; i++)
        NF_TRY(one_step(g, &batch, i, scored));
    if (g->after)
        NF_TRY(nf_golden_tensors(g, g->after, NF_WEIGHTS, GOLDEN_WEIGHTS, "weights after the steps"));
    return NF_OK;
}

static nf_status prepare(struct session *s, struct golden *g, struct engine *e)
{
    struct engine_arg arg = {.params = s->p, .model = s->model, .seq_len = g->len, .micro_batches = 1, .optimizer = true};
    int ranks = nf_mesh_ranks(s->mesh);

    arg.local_batch = (g->rows + ranks - 1) / ranks;
    arg.segments = g->segment != NULL;
    g->first = least(nf_mesh_rank(s->mesh) * arg.local_batch, g->rows);
    g->mine = least(arg.local_batch, g->rows - g->first);
    g->e = e;
    NF_TRY(nf_agree(s->mesh, nf_engine_measure(&arg, s->mesh, nf_device_kind(s->device), s->bytes, NULL, NULL)));
    NF_TRY(nf_engine_new(&arg, s->mesh, s->device, s->bytes, e));
    return nf_engine_load(e, s->source);
}

/* As the reference does. */
static void decay_all(struct nf_params *p)
{
    for (int i = 0; i < p->optim.no_decay.count; i++)
        free(p->optim.no_decay.item[i]);
    free(p->optim.no_decay.item);
    p->optim.no_decay = (nf_strings){0};
}

static nf_status open_model(nf_input *input, const char *dir, const void *mpi_comm, int ranks, struct session *s,
                            struct golden *g)
{
    struct nf_params *p = nf_input_params_mut(input);

    *s = (struct session){.input = input, .p = p};
    free(p->model.path);
    p->model.path = nf_path_join(dir, ".");
    if (!nf_input_given(input, "optim", "no_decay"))
        decay_all(p);
    if (p->model.dtype == NF_AUTO)
        p->model.dtype = NF_F32;
    g->half = p->model.dtype == NF_BF16;
    if (!p->model.path)
        return nf_fail(NF_ENOMEM, "no memory for a path");
    if (ranks % p->parallel.ep)
        return nf_fail(NF_EUSAGE, "parallel.ep = %lld does not divide %d ranks", (long long)p->parallel.ep, ranks);
    NF_TRY(nf_engine_device(p, mpi_comm, &s->device));
    NF_TRY(nf_mesh_new(mpi_comm, (int)p->parallel.ep, s->device, &s->mesh));
    NF_TRY(nf_golden_open(s->mesh, dir, g));
    set_params(input, g, p);
    NF_TRY(nf_engine_read_config(s->mesh, dir, &s->config));
    NF_TRY(nf_engine_make_model(p, s->config, &s->model));
    NF_TRY(nf_golden_check(g, s->model));
    NF_TRY(nf_st_open(s->mesh, dir, &s->source));
    return nf_st_check(s->source, &s->model->map, s->model->desc, s->model->params, true);
}

nf_status nf_train_golden(const char *dir, nf_input *input, const void *mpi_comm, int ranks, int rank)
{
    struct golden g = {.dir = dir};
    struct row_buffers rows = {0};
    struct engine e = {0};
    struct session s;
    nf_status status = open_model(input, dir, mpi_comm, ranks, &s, &g);

    (void)rank;
    if (!status)
        status = prepare(&s, &g, &e);
    if (!status)
        status = nf_agree(s.mesh, nf_row_buffers_new(e.arg.local_batch, g.len, &rows));
    if (!status) {
        status = repeat(&g, &rows);
        if (status && ranks > 1) /* perhaps of this rank alone: others may wait for it in a collective */
            nf_die(status, "%s", nf_diagnosis());
    }
    if (!status) {
        nf_note("golden: %s", g.failed ? "FAIL" : g.half ? "finite; bounds are for model.dtype = 'fp32'" : "PASS");
        if (g.failed)
            status = nf_fail(NF_EDIVERGED, "%s: some figures are beyond their bounds", dir);
    }
    nf_row_buffers_free(&rows);
    nf_engine_free(&e);
    nf_golden_close(&g);
    nf_session_close(&s);
    return status;
}
