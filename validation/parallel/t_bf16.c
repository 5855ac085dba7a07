/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_bf16.c: what a bf16 parameter costs in bytes, by state scheme and type of gradients, and that the report of the arenas says
 * the same. How near a model in bf16 comes to fp32: validation/golden/t_golden.c.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nemafit/input.h"
#include "nemafit/log.h"
#include "tap.h"
#include "train/loop.h"

struct side {
    nf_input *input;
    struct session s;
    struct engine e;
    bool open;
};

static const char *top(void)
{
    const char *srcdir = getenv("srcdir");
    return srcdir ? srcdir : ".";
}

static bool side_open(struct side *d, const char *model, int ranks, int ep, int rows, const char *const *more)
{
    char path[4096], words[5][64];
    char *word[16] = {path, words[0], words[1], words[2], (char[]){"data.format='mock'"}, (char[]){"train.gate='random'"}};
    MPI_Comm world = MPI_COMM_WORLD;
    int n = 6;

    *d = (struct side){0};
    snprintf(path, sizeof path, "model.path='%s/validation/%s'", top(), model);
    snprintf(words[0], sizeof words[0], "parallel.ep=%d", ep);
    snprintf(words[1], sizeof words[1], "train.local_batch=%d", rows);
    snprintf(words[2], sizeof words[2], "data.seq_len=48");
    while (*more)
        word[n++] = (char *)*more++;
    nf_diagnosis_clear();
    d->open = !nf_input_defaults(word, n, &d->input);
    if (d->open) {
        nf_input_params_mut(d->input)->train.steps = 1;
        d->open = !nf_session_open(d->input, &world, ranks, false, &d->s);
    }
    if (d->open) {
        struct engine_arg arg = nf_session_engine(&d->s);
        d->open = !nf_engine_new(&arg, d->s.mesh, d->s.device, d->s.bytes, &d->e) && !nf_engine_load(&d->e, d->s.source);
    }
    if (!tap_ok(d->open, "an engine: %s", more[-1]))
        tap_note("%s", nf_diagnosis());
    return d->open;
}

static void side_close(struct side *d)
{
    nf_engine_free(&d->e);
    nf_session_close(&d->s);
    nf_input_free(d->input);
}

/* Forward, loss and backward of the first micro-batch; gradients stay. */
static bool one_step(struct side *d)
{
    struct engine *e = &d->e;
    struct batches batches;
    struct nf_step_vars vars = {0};
    int64_t scored = 0;
    nf_status s = nf_batches_new(d->s.train, d->s.mesh, d->s.p->train.local_batch, d->s.micro_batches, &batches);

    if (!s)
        s = nf_batches_fetch(&batches, 0);
    if (!s)
        s = nf_batches_count(&batches, e->device, 0, &scored, NULL);
    vars.loss_scale = scored ? (float)(1.0 / (double)scored) : 0;
    nf_batch batch = nf_engine_batch(e, batches.local, batches.len);
    if (!s)
        s = nf_fill_zero(e->q, e->sums, 4 * sizeof *e->sums);
    nf_residency_begin_step(e->res);
    nf_engine_shape(e, &batch, batch.rows * batch.len, true);
    for (int a = 0; a < batches.micro && !s; a++) {
        vars.micro = a;
        s = nf_engine_vars(e, &vars);
        if (!s)
            s = nf_batches_send(&batches, e, 0, a);
        if (!s)
            s = nf_engine_micro(e, &batch, a);
    }
    if (!s)
        s = nf_residency_end_backward(e->res);
    nf_batches_free(&batches, e->device);
    if (!tap_ok(s == NF_OK, "a step"))
        tap_note("%s", nf_diagnosis());
    return s == NF_OK;
}

static size_t reported(const struct memory_table *t, const char *what)
{
    char name[64];
    size_t sum = 0;

    for (int i = 0; i < t->rows; i++)
        for (int e = 0; e < 2; e++) {
            snprintf(name, sizeof name, "%s %s", e ? "expert" : "dense", what);
            sum += strcmp(t->row[i].what, name) || strcmp(t->row[i].arena, "state") ? 0 : t->row[i].bytes;
        }
    return sum;
}

static size_t held(const nf_tensor *t)
{
    return t->data ? nf_dtype_size(t->dtype) : 0;
}

/* Bytes of each bf16 parameter, 16 of each fp32 one, and the arenas' report says the same. */
static void costs(int ranks, const char *state, const char *grad, int micro, size_t expected)
{
    char a[64], b[64], c[64];
    const char *const more[] = {a, b, c, "model.init='random'", "model.dtype='bf16'", NULL};
    struct side d;
    struct nf_flat *flat;
    size_t moments = 0, exact = 0, gradients = 0;
    bool right = true;

    snprintf(a, sizeof a, "optim.state='%s'", state);
    snprintf(b, sizeof b, "optim.grad_dtype='%s'", grad);
    snprintf(c, sizeof c, "train.global_batch=%d", 2 * ranks * micro);
    if (side_open(&d, "cases/tiny", ranks, ranks, 2, more) && one_step(&d)) {
        for (int i = nf_residency_flats(d.e.res, &flat) - 1; i >= 0; i--) {
            const struct nf_adamw_run *r = &flat[i].run;
            const size_t n = (size_t)r->w.dim[0], m = held(&r->m) + held(&r->v), x = held(&r->low) + held(&r->master);
            right &= held(&r->w) + m + x + held(&r->g) == (r->w.dtype == NF_BF16 ? expected : 16);
            moments += n * m;
            exact += n * x;
            gradients += n * held(&r->g);
        }
        const struct memory_table *t = &d.s.memory;
        tap_ok(right, "state %s, gradients %s, %d micro-batches: %zu bytes a bf16 parameter", state, grad, micro, expected);
        tap_ok(reported(t, "moments") == moments && reported(t, "remainders") + reported(t, "masters") == exact &&
                   reported(t, "gradients") == (micro > 1 ? gradients : 0),
               "and so says the report of the arenas");
    }
    side_close(&d);
}

/* A parameter that is used twice in a forward has fp32 gradients by 'auto', and a run of its own; the others keep theirs. */
static void reused(int ranks)
{
    const char *const more[] = {"model.init='random'", "model.dtype='bf16'", NULL};
    struct side d;
    nf_device *dry = NULL;
    nf_queue *q = NULL;
    nf_arena *state = NULL;
    nf_residency *res = NULL;

    if (side_open(&d, "cases/tiny", ranks, 1, 2, more)) {
        nf_model *m = d.s.model;
        const int embed = m->embed.desc, head = m->head.desc;
        struct nf_flat *flat;
        int64_t wide = 0;
        m->desc[embed].reused = true;
        bool made = !nf_device_dry(NF_HOST, &dry) && !nf_arena_new("state", NULL, SIZE_MAX / 4, &state) &&
                    !nf_queue_new(dry, "compute", 0, NULL, &q);
        struct nf_residency_arg arg = {.model = m, .mesh = d.s.mesh, .state = state, .step = state, .queue = q, .reduce = q};
        arg.micro_batches = 1;
        arg.optimizer = true;
        arg.grad_dtype = NF_AUTO;
        if (tap_ok(made && !nf_residency_new(&arg, &res), "residency with a reused parameter")) {
            const nf_dtype *type = nf_residency_types(res, NF_GRADIENTS);
            for (int i = nf_residency_flats(res, &flat) - 1; i >= 0; i--)
                wide += flat[i].run.g.dtype == NF_F32 && flat[i].run.w.dtype == NF_BF16 ? flat[i].run.w.dim[0] : 0;
            tap_ok(type[embed] == NF_F32 && type[head] == NF_BF16 && wide >= m->vocab * m->hidden &&
                       wide < m->vocab * m->hidden + NF_ALIGN,
                   "fp32 gradients for it alone");
        }
        nf_residency_free(res);
        nf_queue_free(q);
        nf_arena_free(state);
        nf_device_free(dry);
    }
    side_close(&d);
}

int main(void)
{
    int ranks, rank;

    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    nf_log_open(rank, ranks, NF_LOG_QUIET, stdout);
    if (8 % ranks == 0) {
        costs(ranks, "fp32", "bf16", 1, 16);
        costs(ranks, "fp32", "fp32", 1, 18);
        costs(ranks, "split", "auto", 1, 10);
        costs(ranks, "split", "auto", 2, 12);
        costs(ranks, "bf16", "auto", 1, 8);
        costs(ranks, "bf16", "bf16", 2, 8);
        costs(ranks, "bf16", "fp32", 2, 10);
    }
    reused(ranks);
    return tap_done();
}
