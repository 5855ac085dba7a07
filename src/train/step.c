/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c: one optimizer step. The number of scored targets of the whole step is known before its first forward, so every loss
 * is divided once and gradients are only summed. The host reads the decision of a step while the next one runs.
 */
#include <math.h>
#include <stdlib.h>

#include "nemafit/log.h"
#include "step.h"

void nf_stepper_new(struct engine *e, struct batches *b, int64_t steps, struct stepper *s)
{
    const struct nf_params *p = e->arg.params;

    *s = (struct stepper){.e = e,
                          .batches = b,
                          .schedule = {.kind = (enum nf_schedule)p->optim.schedule,
                                       .lr = p->optim.lr,
                                       .min_lr = p->optim.min_lr,
                                       .warmup = p->optim.warmup,
                                       .steps = steps,
                                       .decay_share = p->optim.decay_share}};
}

/* Tokens an expert got in this step, over all ranks: max over mean of the worst layer, and experts without any. */
static nf_status read_load(struct stepper *s, struct step_result *r)
{
    struct engine *e = s->e;
    const nf_model *m = e->arg.model;
    int n = m->moe_layers * m->experts;

    if (!s->want_load || !n)
        return NF_OK;
    NF_TRY(nf_copy(e->q, e->load_host, e->load, (size_t)n * sizeof *e->load));
    NF_TRY(nf_queue_drain(e->q));
    for (int l = 0; l < m->moe_layers; l++) {
        int64_t sum = 0, most = 0;
        for (int i = 0; i < m->experts; i++) {
            int64_t c = e->load_host[l * m->experts + i];
            sum += c;
            most = c > most ? c : most;
            r->load_dead += c == 0;
        }
        if (sum)
            r->load_worst = fmax(r->load_worst, (double)most * m->experts / (double)sum);
    }
    return NF_OK;
}

static nf_status micro_batches(struct stepper *s, int64_t step, struct nf_step_vars *vars)
{
    struct engine *e = s->e;
    nf_batch batch = nf_engine_batch(e, s->batches->local, s->batches->len);

    nf_engine_shape(e, &batch, batch.rows * batch.len, true);
    for (int a = 0; a < s->batches->micro; a++) {
        vars->micro = a;
        NF_TRY(nf_engine_vars(e, vars));
        NF_TRY(nf_batches_send(s->batches, e, step, a));
        NF_TRY(nf_engine_micro(e, &batch, a));
    }
    return NF_OK;
}

nf_status nf_stepper_run(struct stepper *s, int64_t step, bool more, bool *stop)
{
    struct engine *e = s->e;
    const nf_model *m = e->arg.model;
    struct step_result *r = &s->pending[step & 1];
    double wait = nf_mesh_traffic(e->mesh).wait_seconds;
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    struct nf_step_vars vars = {.step = step};
    int64_t scored;
    bool wanted;

    NF_TRY(nf_stopwatch_start(e->stopwatch, step & 1, PHASE_REST, NF_PART_REST));
    NF_TRY(nf_batches_count(s->batches, e->device, step, &scored, &wanted));
    if (stop && (*stop = wanted))
        return nf_stopwatch_stop(e->stopwatch);
    *r = (struct step_result){.step = step, .scored = scored, .lr = nf_schedule_lr(&s->schedule, step)};
    r->tokens = s->batches->global * s->batches->len;
    vars.lr = (float)r->lr;
    vars.loss_scale = scored ? (float)(1.0 / (double)scored) : 0;
    e->run.overflow_slices = 0;
    nf_residency_begin_step(e->res);
    NF_TRY(nf_fill_zero(e->q, e->sums, 4 * sizeof *e->sums));
    NF_TRY(nf_fill_zero(e->q, e->load, (size_t)(m->moe_layers * m->experts) * sizeof *e->load));
    NF_TRY(micro_batches(s, step, &vars));
    NF_TRY(nf_stopwatch_phase(e->stopwatch, PHASE_UPDATE, NF_PART_REST));
    if (s->want_load || e->arg.params->train.router_bias_rate > 0)
        NF_TRY(nf_engine_sum_load(e));
    NF_TRY(nf_queue_wait(e->q, s->state_copied));
    NF_TRY(nf_engine_update(e));
    nf_arena_reset(e->arena[ARENA_STEP], NF_HIGH, mark);
    NF_TRY(nf_copy(e->q, &e->result[step & 1], e->decision, sizeof *e->decision));
    NF_TRY(nf_stopwatch_phase(e->stopwatch, PHASE_REST, NF_PART_REST));
    r->overflow_slices = e->run.overflow_slices;
    NF_TRY(read_load(s, r));
    if (more)
        NF_TRY(nf_batches_fetch(s->batches, step + 1));
    r->ms_wait = 1e3 * (nf_mesh_traffic(e->mesh).wait_seconds - wait);
    NF_TRY(nf_stopwatch_stop(e->stopwatch));
    return nf_queue_record(e->q, &s->result_ready[step & 1]); /* with it the times of the step are over too */
}

/* Milliseconds of a phase, all its parts together. */
static double phase_ms(const double laps[NF_LAP_PARTS])
{
    double sum = 0;

    for (int i = 0; i < NF_LAP_PARTS; i++)
        sum += 1e3 * laps[i];
    return sum;
}

static nf_status read_times(struct stepper *s, int64_t step, struct step_result *out)
{
    double laps[NF_LAP_PHASES][NF_LAP_PARTS], all = 0, still = 0;

    NF_TRY(nf_stopwatch_read(s->e->stopwatch, step & 1, laps));
    for (int i = 0; i < PHASES; i++) {
        all += phase_ms(laps[i]);
        still += 1e3 * laps[i][NF_PART_STILL];
    }
    out->seconds = 1e-3 * all;
    out->ms_forward = phase_ms(laps[PHASE_FORWARD]);
    out->ms_backward = phase_ms(laps[PHASE_BACKWARD]);
    out->ms_update = phase_ms(laps[PHASE_UPDATE]);
    if (nf_device_kind(s->e->device) != NF_HOST) /* the host's own waiting says nothing of a device that is still at work */
        out->ms_wait = still;
    nf_profile_add(&s->profile, laps);
    return NF_OK;
}

nf_status nf_stepper_result(struct stepper *s, int64_t step, struct step_result *out)
{
    const struct nf_decision *d = &s->e->result[step & 1];

    NF_TRY(nf_event_host_wait(s->e->device, s->result_ready[step & 1]));
    *out = s->pending[step & 1];
    out->loss = d->loss;
    out->grad_norm = sqrt(d->norm_sq);
    out->skipped = d->skip != 0;
    out->updates = d->t;
    return read_times(s, step, out);
}
