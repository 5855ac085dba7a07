/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c: all steps of a run, from where it stands to the last. A step's line is told while the next one runs. At a step
 * boundary, in this order: evaluation, snapshot, export; so a snapshot knows the loss of its step, and an export that an
 * interruption prevented is made up for when the run goes on from the snapshot.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keep.h"
#include "nemafit/log.h"

struct loop {
    struct session *s;
    struct engine *e;
    struct batches batches;
    struct stepper stepper;
    struct row_buffers rows; /* of evaluations and samples */
    struct steplog *log;
    struct keeper *keeper;
    struct stop *stop;
    struct run_state state;
    int64_t first; /* steps done before this start of the program */
    bool is_best;  /* the evaluation of this step was the best so far */
};

/* A failure of this rank alone inside a step: others may wait for it in a collective. */
static nf_status fatal(const struct loop *l, nf_status s)
{
    if (s && nf_mesh_ranks(l->s->mesh) > 1)
        nf_die(s, "%s", nf_diagnosis());
    return s;
}

static nf_status sample(struct loop *l)
{
    const struct nf_params *p = l->s->p;
    nf_str text = {0};
    nf_status s;

    if (!p->log.sample_prompt)
        return NF_OK;
    s = nf_sample(l->e, l->s->train, &l->rows, &text);
    if (s != NF_EUSAGE) /* which all ranks found */
        (void)fatal(l, s);
    if (!s)
        nf_steplog_sample(l->log, p->log.sample_prompt, text.text ? text.text : "");
    nf_str_free(&text);
    return s;
}

/* Evaluation and sample behind step `done`. state.evaluation_due: the run is to stop, and there is no loss yet. */
static nf_status look(struct loop *l, int64_t done)
{
    struct evaluation v = {0};
    double begin = nf_seconds();

    l->state.evaluation_due = l->is_best = false;
    (void)nf_watch_section(l->s->mesh, NF_SECTION_EVALUATE, done);
    if (l->s->valid) {
        NF_TRY(fatal(l, nf_evaluate(l->e, l->s->valid, &l->rows, l->s->p->train.eval_batches, l->stop, &v)));
        if (v.stopped) {
            l->state.evaluation_due = true;
            return NF_OK;
        }
        nf_steplog_evaluation(l->log, done, &v);
        l->stop->evaluation = fmax(l->stop->evaluation, nf_seconds() - begin);
        l->state.last_loss = v.loss;
    }
    if (l->s->valid && done > 0 && isfinite(v.loss) && (l->state.best_step < 0 || v.loss < l->state.best_loss)) {
        l->state.best_loss = v.loss;
        l->state.best_step = done;
        l->is_best = true;
    }
    return sample(l);
}

static nf_status tell(struct loop *l, int64_t step)
{
    struct step_result r;

    NF_TRY(fatal(l, nf_stepper_result(&l->stepper, step, &r)));
    nf_steplog_step(l->log, &r);
    l->state.step = step + 1;
    l->state.updates = r.updates;
    l->state.skipped = r.skipped ? l->state.skipped + 1 : 0;
    l->stop->step = fmax(r.seconds, 0.9 * l->stop->step);
    if (l->state.skipped >= l->s->p->train.max_skipped) /* the same number on every rank */
        return nf_fail(NF_ENONFINITE,
                       "the loss or its gradient was not finite in %" PRId64 " steps in a row; step %" PRId64
                       " was the last: loss %g, norm %g"
                       "\n  Hint: lower optim.lr, raise optim.warmup, or look at the data of these steps",
                       l->state.skipped, step + 1, r.loss, r.grad_norm);
    return NF_OK;
}

/* ---- exports ----------------------------------------------------------------------------------------------------------------
 */

static bool export_due(const struct loop *l, int64_t done)
{
    const struct nf_params *p = l->s->p;

    return p->export_.dir && (done == l->s->steps || (p->export_.every > 0 && done > 0 && done % p->export_.every == 0));
}

static nf_status export_path(const struct loop *l, int64_t done, char path[NF_PATH_MAX])
{
    const char *dir = l->s->p->export_.dir;
    int n = done == l->s->steps ? snprintf(path, NF_PATH_MAX, "%s", dir)
                                : snprintf(path, NF_PATH_MAX, "%s-step-%08" PRId64, dir, done);

    return n < 0 || n >= NF_PATH_MAX ? nf_fail(NF_EUSAGE, "export.dir: the path is too long") : NF_OK;
}

static nf_status export_step(struct loop *l, int64_t done)
{
    char path[NF_PATH_MAX];

    (void)nf_watch_section(l->s->mesh, NF_SECTION_EXPORT, done);
    NF_TRY(export_path(l, done, path));
    NF_TRY(nf_engine_export(l->e, l->s->source, path));
    nf_note("export    %s", path);
    return nf_keeper_exported(l->keeper, done, path);
}

/* ---- stopping and going on --------------------------------------------------------------------------------------------------
 */

/* The run ends in front of its next step, on request. */
static nf_status leave(struct loop *l)
{
    const struct nf_params *p = l->s->p;
    bool progress = l->state.step > l->first;
    nf_str what = {0};
    nf_status status;

    if (progress)
        NF_TRY(nf_keeper_take(l->keeper, true));
    NF_TRY(nf_keeper_poll(l->keeper, true));
    if (l->keeper->newest < 0)
        nf_str_add(&what, "stopped before the first step\n  Hint: the same command begins again");
    else
        nf_str_addf(&what,
                    "stopped behind step %" PRId64 " of %" PRId64 "; the snapshot is %s/step-%08" PRId64
                    "\n  Hint: the same command goes on from there",
                    l->state.step, l->s->steps, p->snapshot.dir, l->keeper->newest);
    status = nf_stop_status(l->stop, l->s->mesh, progress, what.text ? what.text : "stopped");
    nf_str_free(&what);
    return status;
}

static bool snapshot_due(const struct loop *l, int64_t done)
{
    const struct nf_params *p = l->s->p;

    if (!p->snapshot.dir)
        return false;
    return done == l->s->steps || (p->snapshot.every > 0 && done % p->snapshot.every == 0) ||
           (p->snapshot.keep_best && l->is_best) || nf_keeper_retries(l->keeper, done);
}

/* What an interruption left undone behind the step that the run goes on from. */
static nf_status make_up(struct loop *l)
{
    int64_t done = l->state.step;
    bool evaluates = l->state.evaluation_due, missing = false;
    char path[NF_PATH_MAX];

    if (evaluates)
        NF_TRY(look(l, done));
    if (evaluates && !l->state.evaluation_due && snapshot_due(l, done)) { /* the one gone on from knows nothing of it */
        l->keeper->newest = -1;
        NF_TRY(nf_keeper_take(l->keeper, done == l->s->steps));
    }
    if (l->state.evaluation_due || !export_due(l, done))
        return NF_OK;
    NF_TRY(export_path(l, done, path));
    NF_TRY(nf_keeper_export_missing(l->keeper, done, path, &missing));
    return missing ? export_step(l, done) : NF_OK;
}

/* Behind step `done`. told: how many lines of steps were told. */
static nf_status boundary(struct loop *l, int64_t done, int64_t *told, bool *stop)
{
    const struct nf_params *p = l->s->p;
    bool last = done == l->s->steps, eval = last || (p->train.eval_every > 0 && done % p->train.eval_every == 0);
    nf_status kept = NF_OK;
    bool still;

    l->is_best = false;
    NF_TRY(nf_keeper_poll(l->keeper, false)); /* a failure may make a snapshot due */
    still = eval || export_due(l, done) || snapshot_due(l, done);
    for (; *told < done - !still; ++*told) /* else the line of a step lags by one */
        NF_TRY(tell(l, *told));
    if (eval)
        NF_TRY(look(l, done));
    if (l->state.evaluation_due) {
        *stop = true;
        return NF_OK;
    }
    if (snapshot_due(l, done))
        kept = nf_keeper_take(l->keeper, last);
    if (kept && (!last || !export_due(l, done)))
        return kept;
    if (kept) /* agreed; what was trained is not lost for want of a snapshot, if an export can be made */
        nf_warn("no snapshot of step %" PRId64 ": %s", done, nf_diagnosis());
    if (export_due(l, done))
        NF_TRY(export_step(l, done));
    return kept;
}

static nf_status steps(struct loop *l)
{
    int64_t n = l->s->steps, told = l->first;
    bool stop = false;

    if (l->first > 0 || l->state.evaluation_due)
        NF_TRY(make_up(l));
    if (l->first >= n && l->first > 0)
        return l->state.evaluation_due ? leave(l) : NF_OK;
    if (!n) { /* load, evaluate, export */
        NF_TRY(look(l, 0));
        return l->state.evaluation_due ? leave(l) : l->s->p->export_.dir ? export_step(l, 0) : NF_OK;
    }
    if (l->state.evaluation_due)
        return leave(l);
    NF_TRY(fatal(l, nf_batches_fetch(&l->batches, l->first)));
    nf_tell_first_row(l->s->train, &l->batches.set[l->first & 1], l->batches.len);
    if (!l->first) {
        NF_TRY(look(l, 0));
        if (l->state.evaluation_due)
            return leave(l);
    }
    for (int64_t i = l->first; i < n && !stop; i++) {
        int64_t done = i + 1, every = l->s->p->log.every;
        l->stepper.want_load = every > 0 && (done % every == 0 || done == n);
        (void)nf_watch_section(l->s->mesh, NF_SECTION_STEP, i);
        NF_TRY(fatal(l, nf_stepper_run(&l->stepper, i, done < n, &stop)));
        if (stop)
            for (; told < i; told++)
                NF_TRY(tell(l, told));
        else
            NF_TRY(boundary(l, done, &told, &stop));
        if (done == l->first + 2 && !stop)
            NF_TRY(fatal(l, nf_gpu_memory_mark(&l->s->gpu, l->s->mesh, l->e->device, GPU_STEPS)));
    }
    NF_TRY(fatal(l, nf_gpu_memory_end(&l->s->gpu, l->s->mesh, l->e->device)));
    return stop ? leave(l) : NF_OK;
}

/* At the end of a run, and of one that is stopped with that status, which stays. */
static nf_status report_profile(struct loop *l, nf_status status)
{
    char *why = status ? strdup(nf_diagnosis()) : NULL;
    nf_status s = nf_profile_report(&l->stepper.profile, l->s->mesh, l->s->model, l->s->p->log.dir);

    if (status)
        nf_diagnosis_set(status, why ? why : "");
    free(why);
    return status ? status : s;
}

nf_status nf_train_loop(struct session *s, struct engine *e, struct keeper *k, const struct resume *r, struct stop *stop)
{
    struct loop l = {.s = s, .e = e, .keeper = k, .stop = stop, .state = r->state, .first = r->state.step};
    nf_status status, closed;

    status = nf_batches_new(s->train, s->mesh, s->p->train.local_batch, s->micro_batches, &l.batches);
    l.batches.stop = stop;
    if (!status)
        status = nf_row_buffers_new(s->p->train.local_batch, e->arg.seq_len, &l.rows);
    nf_stepper_new(e, &l.batches, s->steps, &l.stepper);
    status = nf_agree(s->mesh, status);
    if (!status)
        status = nf_steplog_open(s, r->csv_bytes, &l.log);
    k->e = e;
    k->stepper = &l.stepper;
    k->log = l.log;
    k->state = &l.state;
    k->stop = stop;
    if (!status && s->p->snapshot.dir)
        status = nf_keeper_preflight(k);
    if (!status)
        status = steps(&l);
    if (status == NF_EMISSING || status == NF_EIO || status == NF_EPERM)
        status = nf_keeper_lost(k, status);
    if (status == NF_ENONFINITE && k->behind) { /* agreed: what is under way may still be committed */
        char *why = strdup(nf_diagnosis());
        (void)nf_keeper_poll(k, true);
        nf_diagnosis_set(status, why ? why : "");
        free(why);
    }
    closed = nf_steplog_close(l.log);
    if (!status)
        status = nf_agree(s->mesh, closed);
    if (s->p->log.profile && (!status || status == NF_EPREEMPTED))
        status = report_profile(&l, status);
    nf_row_buffers_free(&l.rows);
    nf_batches_free(&l.batches, e->device);
    return status;
}
