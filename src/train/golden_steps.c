/* SPDX-License-Identifier: Apache-2.0 */
/* golden_steps.c: the reference's forward, gradients and steps once more, each figure as it comes. */
#include <math.h>
#include <stdio.h>

#include "golden.h"
#include "loop.h"

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

/* The routers' choices of one forward: kept in fp32, followed in bf16. */
static void use_choices(const struct golden *g, int forward)
{
    g->e->run.choices = g->choices ? g->choices + forward * g->choices_each : NULL;
    g->e->run.choices_given = g->pass != GOLDEN_FIRST;
}

static nf_status forward_only(struct golden *g, const nf_batch *batch, int64_t scored)
{
    struct engine *e = g->e;
    const nf_group *world = nf_mesh_group(e->mesh, NF_WORLD);
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    double worst = -1, bound = 1, sums[3], error;
    char name[32] = "";
    nf_tensor hidden;

    nf_engine_shape(e, batch, e->arg.local_batch * g->len, false);
    use_choices(g, 0);
    e->run.observe = nf_golden_hidden;
    e->run.observe_ctx = g;
    NF_TRY(nf_model_forward(e->arg.model, e->res, &e->run, batch, e->tape, &hidden));
    e->run.observe = NULL;
    NF_TRY(nf_golden_logits(g, &hidden));
    nf_arena_reset(e->arena[ARENA_STEP], NF_LOW, mark);
    NF_TRY(nf_reduce_f64(world, g->hidden_diff, g->hidden, NF_SUM));
    NF_TRY(nf_reduce_f64(world, g->hidden_ref, g->hidden, NF_SUM));
    for (int i = 0; i < g->hidden; i++) {
        error = sqrt(g->hidden_diff[i]) / fmax(sqrt(g->hidden_ref[i]), 1e-300);
        double own = nf_golden_bound(g, GOLDEN_HIDDEN_STATE, i, error, GOLDEN_FORWARD);
        if (!(error * bound <= worst * own)) {
            worst = error;
            bound = own;
            snprintf(name, sizeof name, "hidden.%d", i);
        }
    }
    if (g->hidden)
        nf_golden_figure(g, "hidden states", worst, bound, name);
    sums[0] = g->logits_diff;
    sums[1] = g->logits_ref;
    sums[2] = (double)(g->mine * g->len);
    NF_TRY(nf_reduce_f64(world, sums, 3, NF_SUM));
    if (g->pass == GOLDEN_FIRST)
        NF_TRY(nf_half_expect(g, e->arg.model, sums[1] / (sums[2] * (double)e->arg.model->vocab), scored));
    error = sqrt(sums[0]) / fmax(sqrt(sums[1]), 1e-300);
    nf_golden_figure(g, "logits", error, nf_golden_bound(g, GOLDEN_LOGITS, 0, error, GOLDEN_FORWARD), "");
    return NF_OK;
}

static nf_status one_step(struct golden *g, const nf_batch *batch, int step, int64_t scored)
{
    struct engine *e = g->e;
    const struct nf_step_vars vars = {
        .step = step, .lr = (float)e->arg.params->optim.lr, .loss_scale = scored ? (float)(1.0 / (double)scored) : 0};
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    char name[32];
    double error, ref;

    NF_TRY(nf_engine_vars(e, &vars));
    NF_TRY(nf_fill_zero(e->q, e->sums, 4 * sizeof *e->sums));
    nf_residency_begin_step(e->res);
    nf_engine_shape(e, batch, e->arg.local_batch * g->len, true);
    use_choices(g, 1 + step);
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
    ref = nf_half_found(g, &g->expected.loss_found[step], e->result[0].loss, g->loss[step]);
    error = fabs(e->result[0].loss - ref) / fabs(ref);
    nf_golden_figure(g, name, error, nf_golden_bound(g, GOLDEN_LOSS, step, error, GOLDEN_FORWARD), "");
    snprintf(name, sizeof name, "gradient norm %d", step + 1);
    ref = nf_half_found(g, &g->expected.norm_found[step], sqrt(e->result[0].norm_sq), g->norm[step]);
    error = fabs(sqrt(e->result[0].norm_sq) - ref) / fabs(ref);
    nf_golden_figure(g, name, error, nf_golden_bound(g, GOLDEN_NORM, step, error, GOLDEN_GRADIENT), "");
    return NF_OK;
}

nf_status nf_golden_repeat(struct golden *g, struct row_buffers *rows)
{
    struct engine *e = g->e;
    nf_batch batch = nf_engine_batch(e, g->mine, g->len);
    int64_t scored;

    NF_TRY(fill_batch(g, rows, &scored));
    NF_TRY(nf_reduce_i64(nf_mesh_group(e->mesh, NF_WORLD), &scored, 1, NF_SUM));
    NF_TRY(forward_only(g, &batch, scored));
    for (int i = 0; i < g->steps; i++)
        NF_TRY(one_step(g, &batch, i, scored));
    if (g->after)
        NF_TRY(nf_golden_tensors(g, g->after, NF_WEIGHTS, GOLDEN_WEIGHTS, "weights after the steps"));
    return NF_OK;
}
