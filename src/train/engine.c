/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c: assembling what runs a model on this rank, and running one micro-batch and one update. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static nf_status take(struct engine *e, const char *what, size_t bytes, void *out_pointer)
{
    return nf_arena_get(e->arena[ARENA_RUN], NF_LOW, bytes, what, (void **)out_pointer);
}

static nf_status take_tables(struct engine *e)
{
    const nf_model *m = e->arg.model;
    size_t tokens = (size_t)(e->arg.local_batch * e->arg.seq_len);
    size_t load = (size_t)(m->moe_layers * m->experts) * sizeof(int32_t);

    NF_TRY(take(e, "batch", tokens * sizeof(int32_t), &e->batch.ids));
    NF_TRY(take(e, "batch", tokens * sizeof(int32_t), &e->batch.target));
    NF_TRY(take(e, "batch", tokens * sizeof(int32_t), &e->batch.segment));
    NF_TRY(take(e, "batch", tokens * sizeof(int32_t), &e->batch.position));
    NF_TRY(take(e, "batch", (size_t)e->arg.local_batch * sizeof(int64_t), &e->batch.global_row));
    NF_TRY(take(e, "step variables", sizeof *e->vars, &e->vars));
    NF_TRY(take(e, "step variables", sizeof *e->decision, &e->decision));
    NF_TRY(take(e, "step variables", 4 * sizeof *e->sums, &e->sums));
    NF_TRY(take(e, "step variables", sizeof *e->eval_sum, &e->eval_sum));
    NF_TRY(take(e, "logits of one token", (size_t)m->vocab * sizeof(float), &e->logits));
    NF_TRY(take(e, "expert load", load, &e->load));
    NF_TRY(nf_fill_zero(e->q, e->decision, sizeof *e->decision));
    return nf_fill_zero(e->q, e->load, load);
}

nf_status nf_engine_assemble(struct engine *e)
{
    const nf_model *m = e->arg.model;
    struct nf_residency_arg res;

    NF_TRY(nf_queue_new(e->device, "compute", 0, e->arena[ARENA_WORK], &e->q));
    NF_TRY(nf_queue_new(e->device, "exchange", 1, e->arena[ARENA_WORK_EXCHANGE], &e->xq));
    NF_TRY(nf_queue_new(e->device, "reduction", 0, e->arena[ARENA_WORK_REDUCE], &e->gq));
    /* with one rank there is nobody to stand still for */
    NF_TRY(nf_stopwatch_new(e->q, e->arg.params->log.profile, nf_mesh_ranks(e->mesh) > 1 || e->arg.params->log.profile,
                            &e->stopwatch));
    NF_TRY(nf_mesh_reserve(e->mesh, e->arena[ARENA_RUN]));
    NF_TRY(nf_exchange_new(e->mesh, &e->exchange));
    nf_model_reserve(m, e->exchange, e->arg.local_batch * e->arg.seq_len, nf_op_row_pad(e->q));
    NF_TRY(nf_exchange_commit(e->exchange, e->arena[ARENA_RUN]));
    res = (struct nf_residency_arg){.model = e->arg.model,
                                    .mesh = e->mesh,
                                    .state = e->arena[ARENA_STATE],
                                    .step = e->arena[ARENA_STEP],
                                    .queue = e->q,
                                    .reduce = e->gq,
                                    .shard = (enum nf_shard)e->arg.params->parallel.shard,
                                    .micro_batches = e->arg.micro_batches,
                                    .optimizer = e->arg.optimizer,
                                    .scheme = (enum nf_state_scheme)e->arg.params->optim.state,
                                    .grad_dtype = e->arg.params->optim.grad_dtype};
    NF_TRY(nf_residency_new(&res, &e->res));
    NF_TRY(nf_tape_new(m, &e->tape));
    e->optim = calloc((size_t)m->params, sizeof *e->optim);
    if (!e->optim)
        return nf_fail(NF_ENOMEM, "no memory for the table of updates");
    NF_TRY(take_tables(e));
    e->run = (nf_run){.q = e->q,
                      .xq = e->xq,
                      .step = e->arena[ARENA_STEP],
                      .mesh = e->mesh,
                      .exchange = e->exchange,
                      .vars = e->vars,
                      .global_row = e->batch.global_row,
                      .recompute = (enum nf_recompute)e->arg.params->model.recompute};
    return NF_OK;
}

void nf_engine_dismantle(struct engine *e)
{
    free(e->optim);
    nf_tape_free(e->tape);
    nf_residency_free(e->res);
    nf_exchange_free(e->exchange);
    nf_stopwatch_free(e->stopwatch);
    nf_queue_free(e->gq);
    nf_queue_free(e->xq);
    nf_queue_free(e->q);
    e->optim = NULL;
    e->tape = NULL;
    e->res = NULL;
    e->exchange = NULL;
    e->stopwatch = NULL;
    e->q = e->xq = e->gq = NULL;
}

nf_batch nf_engine_batch(struct engine *e, int64_t rows, int64_t len)
{
    return (nf_batch){.rows = rows,
                      .len = len,
                      .ids = e->batch.ids,
                      .target = e->batch.target,
                      .segment = e->arg.segments ? e->batch.segment : NULL,
                      .position = e->arg.segments ? e->batch.position : NULL,
                      .global_row = e->batch.global_row};
}

void nf_engine_shape(struct engine *e, const nf_batch *batch, int64_t tokens_max, bool train)
{
    e->run.seq = (nf_seq){batch->rows, batch->len, batch->segment, batch->position};
    e->run.tokens = batch->rows * batch->len;
    e->run.tokens_max = tokens_max;
    e->run.train = train;
    e->run.replay = false;
    e->run.load = train ? e->load : NULL;
}

nf_status nf_engine_micro(struct engine *e, const nf_batch *batch, int micro)
{
    nf_model *m = e->arg.model;
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    nf_tensor hidden;

    nf_residency_begin_micro(e->res, micro);
    NF_TRY(nf_stopwatch_phase(e->stopwatch, PHASE_FORWARD, NF_PART_REST));
    NF_TRY(nf_model_forward(m, e->res, &e->run, batch, e->tape, &hidden));
    NF_TRY(nf_model_loss(m, e->res, &e->run, batch, e->tape, &e->vars->loss_scale, &e->sums[1]));
    NF_TRY(nf_stopwatch_phase(e->stopwatch, PHASE_BACKWARD, NF_PART_REST));
    NF_TRY(nf_model_backward(m, e->res, &e->run, batch, e->tape));
    nf_arena_reset(e->arena[ARENA_STEP], NF_LOW, mark);
    if (e->arg.micro_batches > 1) /* else the high end holds the gradients until the update */
        nf_arena_reset(e->arena[ARENA_STEP], NF_HIGH, mark);
    return nf_stopwatch_phase(e->stopwatch, PHASE_REST, NF_PART_REST);
}

nf_status nf_engine_sum_load(struct engine *e)
{
    const nf_model *m = e->arg.model;
    nf_event summed;

    NF_TRY(nf_all_reduce(e->q, nf_mesh_group(e->mesh, NF_WORLD), e->load, m->moe_layers * m->experts, NF_I32, &summed));
    return nf_queue_wait(e->q, summed);
}

/* The correction biases of all routers, from the step's load. */
static nf_status balance(struct engine *e, float rate)
{
    const nf_model *m = e->arg.model;

    for (int i = 0; i < m->blocks; i++) {
        const struct nf_moe_conf *c = m->block[i].conf;
        const struct nf_moe_w *w = m->block[i].w;
        if (m->block[i].kind == NF_MIXER_MOE && nf_has(&w->correction))
            NF_TRY(nf_router_bias(e->q, &w->correction.w, e->load + (int64_t)c->index * c->experts, rate, e->decision));
    }
    return NF_OK;
}

nf_status nf_engine_update(struct engine *e)
{
    const struct nf_params *p = e->arg.params;
    const struct nf_adamw_arg arg = {.beta1 = p->optim.beta1,
                                     .beta2 = p->optim.beta2,
                                     .eps = p->optim.eps,
                                     .weight_decay = p->optim.weight_decay,
                                     .scheme = (enum nf_state_scheme)p->optim.state,
                                     .seed = (uint64_t)p->train.seed};
    bool first_copy = nf_group_rank(nf_mesh_group(e->mesh, NF_EDP)) == 0;
    struct nf_flat *flat;
    int n;

    NF_TRY(nf_residency_end_backward(e->res));
    n = nf_residency_flats(e->res, &flat);
    for (int i = 0; i < n; i++) /* dense sums are shared out over the ranks; an expert's is taken where its first copy lies */
        e->optim[i] = (struct nf_optim_run){
            &flat[i].run, flat[i].spread == NF_EXPERT ? first_copy : i % nf_mesh_ranks(e->mesh) == nf_mesh_rank(e->mesh)};
    NF_TRY(nf_optim_step(e->q, e->mesh, e->optim, n, &arg, p->train.clip, e->vars, e->sums, e->decision));
    return p->train.router_bias_rate > 0 ? balance(e, (float)p->train.router_bias_rate) : NF_OK;
}
