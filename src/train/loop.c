/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c: all steps of a run. A step's line is told while the next one runs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loop.h"
#include "nemafit/log.h"

struct loop {
    struct session *s;
    struct engine *e;
    struct batches batches;
    struct stepper stepper;
    struct row_buffers rows; /* of evaluations and samples */
    struct steplog *log;
    int64_t skipped; /* in a row */
};

/* A failure of this rank alone inside a step: others may wait for it in a collective. */
static nf_status fatal(const struct loop *l, nf_status s)
{
    if (s && nf_mesh_ranks(l->s->mesh) > 1)
        nf_die(s, "%s", nf_diagnosis());
    return s;
}

static nf_status look(struct loop *l, int64_t done)
{
    const struct nf_params *p = l->s->p;
    struct evaluation v;
    nf_str text = {0};
    nf_status s = NF_OK;

    if (l->s->valid) {
        NF_TRY(fatal(l, nf_evaluate(l->e, l->s->valid, &l->rows, p->train.eval_batches, &v)));
        nf_steplog_evaluation(l->log, done, &v);
    }
    if (p->log.sample_prompt) {
        s = nf_sample(l->e, l->s->train, &l->rows, &text);
        if (s != NF_EUSAGE) /* which all ranks found */
            (void)fatal(l, s);
        if (!s)
            nf_steplog_sample(l->log, p->log.sample_prompt, text.text ? text.text : "");
        nf_str_free(&text);
    }
    return s;
}

static nf_status tell(struct loop *l, int64_t step)
{
    struct step_result r;

    NF_TRY(fatal(l, nf_stepper_result(&l->stepper, step, &r)));
    nf_steplog_step(l->log, &r);
    l->skipped = r.skipped ? l->skipped + 1 : 0;
    if (l->skipped >= l->s->p->train.max_skipped) /* the same number on every rank */
        return nf_fail(NF_ENONFINITE,
                       "the loss or its gradient was not finite in %" PRId64 " steps in a row; step %" PRId64
                       " was the last: loss %g, norm %g"
                       "\n  Hint: lower optim.lr, raise optim.warmup, or look at the data of these steps",
                       l->skipped, step + 1, r.loss, r.grad_norm);
    return NF_OK;
}

static nf_status export_step(struct loop *l, int64_t done)
{
    const char *dir = l->s->p->export_.dir;
    char path[NF_PATH_MAX];
    int n = done == l->s->steps ? snprintf(path, sizeof path, "%s", dir)
                                : snprintf(path, sizeof path, "%s-step-%08" PRId64, dir, done);

    if (n < 0 || (size_t)n >= sizeof path)
        return nf_fail(NF_EUSAGE, "export.dir: the path is too long");
    NF_TRY(nf_engine_export(l->e, l->s->source, path));
    nf_note("export    %s", path);
    return NF_OK;
}

static nf_status steps(struct loop *l)
{
    const struct nf_params *p = l->s->p;
    int64_t n = l->s->steps, told = 0;

    if (!n) { /* load, evaluate, export */
        NF_TRY(look(l, 0));
        return p->export_.dir ? export_step(l, 0) : NF_OK;
    }
    NF_TRY(fatal(l, nf_batches_fetch(&l->batches, 0)));
    nf_tell_first_row(l->s->train, &l->batches.set[0], l->batches.len);
    NF_TRY(look(l, 0));
    for (int64_t i = 0; i < n; i++) {
        int64_t done = i + 1;
        bool last = done == n, eval = p->train.eval_every > 0 && done % p->train.eval_every == 0;
        bool out = p->export_.dir && p->export_.every > 0 && done % p->export_.every == 0 && !last;
        l->stepper.want_load = p->log.every > 0 && (done % p->log.every == 0 || last);
        NF_TRY(fatal(l, nf_stepper_run(&l->stepper, i, !last)));
        for (; told < i || (told == i && (last || eval || out)); told++) /* else the line of a step lags by one */
            NF_TRY(tell(l, told));
        if (last || eval)
            NF_TRY(look(l, done));
        if (out || (last && p->export_.dir))
            NF_TRY(export_step(l, done));
    }
    return NF_OK;
}

nf_status nf_train_loop(struct session *s, struct engine *e)
{
    struct loop l = {.s = s, .e = e};
    nf_status status, closed;

    status = nf_batches_new(s->train, s->mesh, s->p->train.local_batch, s->micro_batches, &l.batches);
    if (!status)
        status = nf_row_buffers_new(s->p->train.local_batch, e->arg.seq_len, &l.rows);
    nf_stepper_new(e, &l.batches, s->steps, &l.stepper);
    status = nf_agree(s->mesh, status);
    if (!status)
        status = nf_steplog_open(s, &l.log);
    if (!status)
        status = steps(&l);
    closed = nf_steplog_close(l.log);
    if (!status)
        status = nf_agree(s->mesh, closed);
    nf_row_buffers_free(&l.rows);
    nf_batches_free(&l.batches, e->device);
    return status;
}
