/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.c: taking snapshots while a run goes on, and what is done when one cannot be written. A failure is never silent and
 * never touches an older snapshot; what follows it is the user's choice (snapshot.on_error).
 */
#include "keep.h"
#include "exports.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nemafit/log.h"
#include "nemafit/signals.h"

/* Numbers that only rank 0 knows, made everybody's. */
static nf_status meta_of(struct keeper *k, struct nf_snapshot_meta *meta)
{
    const struct session *s = k->s;
    const struct run_state *st = k->state;
    struct {
        int64_t csv_bytes;
        double seconds;
    } rank0 = {nf_steplog_csv_bytes(k->log), st->seconds + nf_seconds()};

    NF_TRY(nf_bcast(nf_mesh_group(s->mesh, NF_WORLD), 0, &rank0, sizeof rank0));
    *meta = (struct nf_snapshot_meta){.step = st->step,
                                      .row = st->step * s->global_batch,
                                      .updates = st->updates,
                                      .skipped = st->skipped,
                                      .best_step = st->best_step,
                                      .best_loss = st->best_loss,
                                      .last_loss = st->last_loss,
                                      .train_seed = (uint64_t)s->p->train.seed,
                                      .data_seed = (uint64_t)s->p->data.seed,
                                      .csv_bytes = rank0.csv_bytes,
                                      .jsonl_bytes = -1,
                                      .seconds = rank0.seconds,
                                      .finished = st->step >= s->steps && !st->evaluation_due};
    memcpy(meta->model, k->model, sizeof meta->model);
    memcpy(meta->data, k->data, sizeof meta->data);
    return NF_OK;
}

void nf_keeper_moved(void *mesh, int64_t bytes)
{
    (void)bytes;
    nf_watch_moved(mesh);
}

static nf_status begin_now(struct keeper *k, bool async)
{
    const char *due = k->state->evaluation_due ? "evaluation_due = 1\n" : "evaluation_due = 0\n";
    struct nf_snapshot_attachment attached[3] = {{.name = "input.used.nml"}, {"state.txt", due, strlen(due)}};
    struct nf_snapshot_meta meta;
    struct state_fields fields;
    nf_str input = {0};
    nf_status status;

    NF_TRY(nf_state_finite(k->e));
    NF_TRY(meta_of(k, &meta));
    nf_state_fields(k->e, &fields);
    nf_input_echo(k->s->input, &input);
    status = input.failed ? nf_fail(NF_ENOMEM, "no memory for the resolved input") : nf_choices_refresh(k->e, &k->choices);
    status = nf_agree(k->s->mesh, status);
    attached[0].bytes = input.text;
    attached[0].n = input.len;
    attached[2] = (struct nf_snapshot_attachment){TUNING_FILE, k->choices.bytes, k->choices.n};
    if (!status) {
        struct nf_snapshot_arg arg = {.mesh = k->s->mesh,
                                      .lease = k->lease,
                                      .meta = &meta,
                                      .field = fields.field,
                                      .fields = fields.n,
                                      .attachment = attached,
                                      .attachments = k->choices.n ? 3 : 2,
                                      .queue = k->e->q,
                                      .async = async,
                                      .staging = k->staging,
                                      .watch = &k->watch};
        status = nf_snapshot_begin(&arg, &k->behind);
    }
    nf_str_free(&input);
    NF_TRY(status);
    k->behind_step = k->state->step;
    k->behind_best = k->state->best_step;
    k->stepper->state_copied = nf_snapshot_copied(k->behind);
    return NF_OK;
}

static nf_status begin(struct keeper *k, bool async)
{
    const double start = nf_seconds();
    const nf_status status = begin_now(k, async);

    k->stood = nf_seconds() - start;
    return status;
}

/* What may go better later: space, quota, a server that is away. */
static bool may_pass(nf_status s)
{
    return s == NF_EIO || s == NF_EPERM || s == NF_ENOMEM;
}

/* Commit what is under way, if it is ready; then remove what is too old. */
static nf_status finish(struct keeper *k, bool block)
{
    const struct nf_params *p = k->s->p;
    struct nf_snapshot_cost cost;
    bool committed = false;
    const double start = nf_seconds();
    double took;
    char text[32];
    nf_status status = nf_snapshot_poll(k->behind, block, &committed);

    k->stood += nf_seconds() - start;
    if (!status && !committed)
        return NF_OK;
    cost = nf_snapshot_cost(k->behind);
    nf_snapshot_free(k->behind);
    k->behind = NULL;
    NF_TRY(status);
    k->newest = k->behind_step;
    k->retry_step = -1;
    k->retry_gap = 1;
    took = p->snapshot.async ? cost.seconds_write + cost.seconds_verify : cost.seconds; /* behind the steps it is slower */
    k->stop->snapshot = k->stop->measured ? fmax(k->stop->snapshot, took) : took;
    k->stop->measured = true;
    nf_note("snapshot  %s/step-%08" PRId64 "  %s in %.2f s, for %.3f s of which the run stood still", p->snapshot.dir,
            k->newest, nf_str_bytes(text, (double)cost.bytes), cost.seconds, k->stood);
    status = nf_snapshot_prune(k->s->mesh, k->lease, p->snapshot.keep, p->snapshot.keep_best ? k->behind_best : -1);
    if (!status ||
        !may_pass(status)) /* the new one stands: that an old one lies there too ends no run, whatever on_error says */
        return status;
    nf_warn("older snapshots cannot be removed: %s", nf_diagnosis());
    nf_diagnosis_clear();
    return NF_OK;
}

/* Ten seconds, or until a signal came to any rank. */
static nf_status wait_a_while(struct keeper *k, bool *stop)
{
    *stop = false;
    for (int i = 0; i < 50 && !*stop; i++) {
        int64_t came = nf_signals_caught() != 0;
        NF_TRY(nf_reduce_i64(nf_mesh_group(k->s->mesh, NF_WORLD), &came, 1, NF_MAX));
        *stop = came != 0;
        nf_watch_moved(k->s->mesh);
        if (!*stop)
            usleep(200 * 1000);
    }
    return NF_OK;
}

/* on_error = 'pause': the run stands still until the snapshot of this step is written. */
static nf_status stand_still(struct keeper *k, nf_status status)
{
    for (int tries = 0;; tries++) {
        bool stop;
        char *why = strdup(nf_diagnosis());
        if (tries % 3 == 0) /* every 30 s */
            nf_warn("the run waits, since the snapshot of step %" PRId64 " cannot be written: %s", k->state->step,
                    why ? why : "");
        NF_TRY(wait_a_while(k, &stop));
        if (stop) {
            nf_diagnosis_set(status, why ? why : "no snapshot was written");
            free(why);
            return status;
        }
        free(why);
        nf_diagnosis_clear();
        status = begin(k, false);
        if (!status)
            status = finish(k, true);
        if (!status) {
            nf_note("the run goes on");
            return NF_OK;
        }
        if (!may_pass(status))
            return status;
    }
}

/* The snapshot of `step` could not be written, or could. */
static nf_status answer(struct keeper *k, nf_status status, int64_t step, bool last)
{
    const int64_t most_gap = 1024;
    int how = k->s->p->snapshot.on_error;

    if (!status || !may_pass(status) || how == NF_ON_ERROR_STOP)
        return status;
    if (how == NF_ON_ERROR_PAUSE)
        return stand_still(k, status);
    if (last)
        return status;
    k->retry_step = k->state->step + k->retry_gap;
    nf_warn("no snapshot of step %" PRId64 ", the next try is behind step %" PRId64 ": %s", step, k->retry_step,
            nf_diagnosis());
    nf_diagnosis_clear();
    k->retry_gap = k->retry_gap < most_gap ? 2 * k->retry_gap : most_gap;
    return NF_OK;
}

/* What was written behind the steps failed: its state is gone. Another is due: at once, or as 'retry' has it. */
static nf_status answer_behind(struct keeper *k, nf_status status)
{
    if (!status || !may_pass(status) || k->s->p->snapshot.on_error == NF_ON_ERROR_STOP)
        return status;
    if (k->s->p->snapshot.on_error == NF_ON_ERROR_RETRY)
        return answer(k, status, k->behind_step, false);
    nf_warn("no snapshot of step %" PRId64 ", another is taken at once: %s", k->behind_step, nf_diagnosis());
    nf_diagnosis_clear();
    k->retry_step = k->behind_step;
    return NF_OK;
}

nf_status nf_keeper_lost(const struct keeper *k, nf_status status)
{
    const nf_lease *lease[] = {k->log_lease, k->lease};
    char *why = strdup(nf_diagnosis());
    nf_status lost = NF_OK;

    nf_diagnosis_clear();
    for (int i = 0; i < 2 && !lost && nf_mesh_rank(k->s->mesh) == 0; i++)
        lost = lease[i] ? nf_lease_check(lease[i]) : NF_OK;
    lost = nf_agree(k->s->mesh, lost);
    if (lost == NF_EEXISTS) {
        free(why);
        return lost;
    }
    nf_diagnosis_clear();
    nf_diagnosis_set(status, why ? why : "");
    free(why);
    return status;
}

bool nf_keeper_retries(const struct keeper *k, int64_t step)
{
    return k->retry_step >= 0 && step >= k->retry_step;
}

nf_status nf_keeper_take(struct keeper *k, bool last)
{
    nf_status status = NF_OK;

    (void)nf_watch_section(k->s->mesh, NF_SECTION_SNAPSHOT, k->state->step);
    if (k->behind)
        NF_TRY(answer_behind(k, finish(k, true)));
    if (k->newest == k->state->step && !k->state->evaluation_due)
        return NF_OK;
    status = begin(k, k->s->p->snapshot.async && !last);
    if (!status && (last || !k->s->p->snapshot.async)) /* else at a later step boundary */
        status = finish(k, true);
    return answer(k, status, k->state->step, last);
}

nf_status nf_keeper_poll(struct keeper *k, bool block)
{
    return k->behind ? answer_behind(k, finish(k, block)) : NF_OK;
}

nf_status nf_keeper_exported(struct keeper *k, int64_t step, const char *path)
{
    if (!k->lease)
        return NF_OK;
    return nf_agree(k->s->mesh, nf_mesh_rank(k->s->mesh) == 0 ? nf_exports_add(k->s->p->snapshot.dir, step, path) : NF_OK);
}

nf_status nf_keeper_export_missing(const struct keeper *k, int64_t step, const char *path, bool *missing)
{
    bool has = false;
    nf_status status = NF_OK;

    if (k->lease && nf_mesh_rank(k->s->mesh) == 0)
        status = nf_exports_has(k->s->p->snapshot.dir, step, path, &has);
    NF_TRY(nf_agree(k->s->mesh, status));
    NF_TRY(nf_bcast(nf_mesh_group(k->s->mesh, NF_WORLD), 0, &has, sizeof has));
    *missing = !has;
    return NF_OK;
}
