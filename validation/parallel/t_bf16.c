/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_bf16.c: a whole model in bf16 against the same model in fp32 with the same weights, tokens and experts (the random gate: a
 * router's near ties may fall otherwise): loss, every hidden state, every gradient. Errors are in the 2-norm, relative; the
 * bounds are those of doc/numerics.md, functions of the number of blocks. Then what a bf16 parameter costs in bytes, by state
 * scheme and type of gradients, from the report of the arenas.
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nemafit/input.h"
#include "nemafit/log.h"
#include "tap.h"
#include "train/loop.h"

enum { HIDDEN_MAX = 64 };
#define ROUNDING 1.53e-3 /* of one rounding to bf16, in the 2-norm: 2^-7 / sqrt(12) over the root mean square of a mantissa */
#define LOSS 2e-3

struct side {
    nf_input *input;
    struct session s;
    struct engine e;
    bool open;
    float *hidden[HIDDEN_MAX]; /* fp32 on the host */
    int64_t width[HIDDEN_MAX]; /* elements */
    double loss, norm;
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
    for (int i = 0; i < HIDDEN_MAX; i++)
        free(d->hidden[i]);
    nf_engine_free(&d->e);
    nf_session_close(&d->s);
    nf_input_free(d->input);
}

static float value(const void *data, nf_dtype type, int64_t i)
{
    return type == NF_F32 ? ((const float *)data)[i] : nf_bf16_to_f32(((const uint16_t *)data)[i]);
}

/* The fp32 model with the weights of the bf16 one. */
static void same_weights(struct side *wide, struct side *half)
{
    const nf_named *to, *from;
    int n = nf_residency_named(wide->e.res, NF_WEIGHTS, &to);

    nf_residency_named(half->e.res, NF_WEIGHTS, &from);
    for (int p = 0; p < n; p++)
        for (int64_t i = 0; i < to[p].piece.count; i++)
            ((float *)to[p].data)[i] = value(from[p].data, from[p].desc->dtype, i);
}

static nf_status keep_hidden(void *ctx, int index, const nf_tensor *x)
{
    struct side *d = ctx;

    if (index >= HIDDEN_MAX || d->hidden[index])
        return NF_OK;
    d->width[index] = nf_tensor_count(x);
    d->hidden[index] = malloc((size_t)d->width[index] * sizeof(float) + 1);
    for (int64_t i = 0; i < d->width[index]; i++)
        d->hidden[index][i] = value(x->data, x->dtype, i);
    return NF_OK;
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
    e->run.observe = keep_hidden;
    e->run.observe_ctx = d;
    for (int a = 0; a < batches.micro && !s; a++) {
        vars.micro = a;
        s = nf_engine_vars(e, &vars);
        if (!s)
            s = nf_batches_send(&batches, e, 0, a);
        if (!s)
            s = nf_engine_micro(e, &batch, a);
    }
    e->run.observe = NULL;
    if (!s)
        s = nf_residency_end_backward(e->res);
    d->loss = e->sums[1];
    if (!s)
        s = nf_reduce_f64(nf_mesh_group(e->mesh, NF_WORLD), &d->loss, 1, NF_SUM);
    nf_batches_free(&batches, e->device);
    if (!tap_ok(s == NF_OK, "a step"))
        tap_note("%s", nf_diagnosis());
    return s == NF_OK;
}

static double relative(const double sums[2])
{
    return sqrt(sums[0]) / fmax(sqrt(sums[1]), 1e-300);
}

static double hidden_error(const struct side *wide, const struct side *half, const nf_group *world)
{
    double worst = 0;

    for (int i = 0; i < HIDDEN_MAX && wide->hidden[i]; i++) {
        double sums[2] = {0};
        for (int64_t j = 0; j < wide->width[i]; j++) {
            double b = (double)wide->hidden[i][j], d = (double)half->hidden[i][j] - b;
            sums[0] += d * d;
            sums[1] += b * b;
        }
        nf_reduce_f64(world, sums, 2, NF_SUM);
        worst = fmax(worst, relative(sums));
    }
    return worst;
}

/* Of all gradients together, and the worst tensor against max(itself, 5 % of all). */
static void gradient_errors(struct side *wide, struct side *half, const nf_group *world, double *all, double *worst,
                            const char **name)
{
    const nf_dtype *type = nf_residency_types(half->e.res, NF_GRADIENTS);
    const nf_named *a, *b;
    int n = nf_residency_named(wide->e.res, NF_GRADIENTS, &a);
    double *sums = calloc((size_t)n, 2 * sizeof *sums), total[2] = {0};

    nf_residency_named(half->e.res, NF_GRADIENTS, &b);
    for (int p = 0; p < n; p++)
        for (int64_t i = 0; a[p].data && i < a[p].piece.count; i++) {
            double x = (double)((const float *)a[p].data)[i], d = (double)value(b[p].data, type[p], i) - x;
            sums[2 * p] += d * d;
            sums[2 * p + 1] += x * x;
        }
    nf_reduce_f64(world, sums, 2 * n, NF_SUM);
    for (int p = 0; p < n; p++) {
        total[0] += sums[2 * p];
        total[1] += sums[2 * p + 1];
    }
    *all = relative(total);
    *worst = 0;
    for (int p = 0; p < n; p++) {
        double e = sqrt(sums[2 * p]) / fmax(sqrt(sums[2 * p + 1]), 0.05 * sqrt(total[1]));
        if (!(e <= *worst)) {
            *worst = e;
            *name = a[p].desc->name;
        }
    }
    free(sums);
}

static void against_fp32(const char *model, int ranks, int ep, const char *more)
{
    const char *const fp32[] = {"model.dtype='fp32'", more, NULL}, *const bf16[] = {"model.dtype='bf16'", more, NULL};
    struct side wide, half;
    const char *name = "";
    double hidden, all, worst;

    if (side_open(&wide, model, ranks, ep, 2, fp32) && side_open(&half, model, ranks, ep, 2, bf16)) {
        const nf_group *world = nf_mesh_group(wide.s.mesh, NF_WORLD);
        same_weights(&wide, &half);
        if (one_step(&wide) && one_step(&half)) {
            hidden = hidden_error(&wide, &half, world);
            gradient_errors(&wide, &half, world, &all, &worst, &name);
            const double bound = 6 * ROUNDING * sqrt((double)wide.s.model->blocks), loss = fabs(half.loss / wide.loss - 1);
            tap_note("%s, ep %d: loss %.1e, hidden states %.1e, gradients %.1e, worst %.1e (%s); unit of the bounds %.1e",
                     model, ep, loss, hidden, all, worst, name, bound);
            tap_ok(loss <= LOSS, "loss");
            tap_ok(hidden > ROUNDING / 2 && hidden <= bound, "hidden states: as far as roundings take them, not further");
            tap_ok(all > ROUNDING / 2 && all <= 4 * bound, "gradients together");
            tap_ok(worst <= 6 * bound, "each gradient");
        }
        side_close(&half);
    }
    side_close(&wide);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

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
    against_fp32("cases/tiny", ranks, 1, "model.init='random'");
    if (8 % ranks == 0) {
        against_fp32("cases/tiny", ranks, ranks, "model.init='random'");
        against_fp32("golden/nemotron_h_grouped_router", ranks, ranks, "train.seed=1");
        costs(ranks, "fp32", "bf16", 1, 16);
        costs(ranks, "fp32", "fp32", 1, 18);
        costs(ranks, "split", "auto", 1, 10);
        costs(ranks, "split", "auto", 2, 12);
        costs(ranks, "bf16", "auto", 1, 8);
        costs(ranks, "bf16", "bf16", 2, 8);
        costs(ranks, "bf16", "fp32", 2, 10);
    }
    reused(ranks);
    against_fp32("golden/nemotron_h", ranks, 1, "train.seed=1");
    against_fp32("golden/nemotron_h_bf16", ranks, 1, "model.recompute='block'");
    return tap_done();
}
