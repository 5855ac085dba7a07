/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden.c: `nemafit --golden DIR`: load DIR's checkpoint in fp32, repeat its forward, gradients and steps, and hold every
 * figure to its bound; then in bf16, if asked for, with the same choices of experts. Rows are dealt in blocks; a rank without
 * rows runs T = 0 and joins every collective.
 */
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

/* What the first of three passes hands to the others */
static nf_status new_notes(const struct session *s, struct golden *g)
{
    struct golden_half *h = &g->expected;
    int64_t k = 0;

    for (int i = 0; i < s->model->blocks; i++)
        if (s->model->block[i].kind == NF_MIXER_MOE)
            k = ((const struct nf_moe_conf *)s->model->block[i].conf)->route.k;
    g->choices_each = s->model->moe_layers * g->mine * g->len * k;
    g->choices = calloc((size_t)((1 + g->steps) * g->choices_each) + 1, sizeof *g->choices);
    h->tensors = s->model->map.rows;
    for (int i = 0; i < 2; i++) {
        h->row[i] = calloc((size_t)h->tensors + 1, sizeof *h->row[i]);
        h->tensor[i] = calloc((size_t)h->tensors + 1, sizeof *h->tensor[i]);
    }
    if (!g->choices || !h->row[0] || !h->row[1] || !h->tensor[0] || !h->tensor[1])
        return nf_fail(NF_ENOMEM, "no memory for a comparison in bf16");
    return s->model->blocks < GOLDEN_HIDDEN_MAX && s->model->units < GOLDEN_HIDDEN_MAX
               ? NF_OK
               : nf_fail(NF_EUSAGE, "more than %d blocks: no comparison in bf16", GOLDEN_HIDDEN_MAX - 1);
}

/* fp32 weights that a run in bf16 would hold in bf16 take such values. */
static nf_status round_weights(struct session *s, struct engine *e)
{
    nf_model *half = NULL;
    const nf_named *named;
    const int n = nf_residency_named(e->res, NF_WEIGHTS, &named);
    nf_status status;

    s->p->model.dtype = NF_BF16;
    status = nf_engine_make_model(s->p, s->config, &half);
    s->p->model.dtype = NF_F32;
    for (int p = 0; p < n && !status; p++) {
        const int64_t count = named[p].piece.count;
        void *block = NULL;
        if (!named[p].data || half->desc[p].dtype != NF_BF16)
            continue;
        nf_tensor w = nf_vector(named[p].data, NF_F32, count);
        status = nf_device_alloc(e->device, (size_t)count * 2, "rounded weights", &block);
        nf_tensor rounded = nf_vector(block, NF_BF16, count);
        status = status ? status : nf_cast(e->q, &rounded, &w);
        status = status ? status : nf_cast(e->q, &w, &rounded);
        status = status ? status : nf_queue_drain(e->q);
        nf_device_release(e->device, block, (size_t)count * 2);
    }
    nf_model_free(half);
    return status;
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
    if (!p->model.path)
        return nf_fail(NF_ENOMEM, "no memory for a path");
    if (ranks % p->parallel.ep)
        return nf_fail(NF_EUSAGE, "parallel.ep = %lld does not divide %d ranks", (long long)p->parallel.ep, ranks);
    NF_TRY(nf_engine_device(p, mpi_comm, &s->device, NULL));
    NF_TRY(nf_mesh_new(mpi_comm, (int)p->parallel.ep, s->device, &s->mesh));
    NF_TRY(nf_golden_open(s->mesh, dir, g));
    set_params(input, g, p);
    NF_TRY(nf_engine_read_config(s->mesh, dir, &s->config));
    NF_TRY(nf_engine_make_model(p, s->config, &s->model));
    NF_TRY(nf_golden_check(g, s->model));
    NF_TRY(nf_st_open(s->mesh, dir, &s->source));
    return nf_st_check(s->source, &s->model->map, s->model->desc, s->model->params, true);
}

/* The whole reference once, in the precision that input says. */
static nf_status pass(const char *dir, nf_input *input, const void *mpi_comm, int ranks, struct golden *g)
{
    struct row_buffers rows = {0};
    struct engine e = {0};
    struct session s;
    nf_status status = open_model(input, dir, mpi_comm, ranks, &s, g);

    if (!status)
        status = prepare(&s, g, &e);
    if (!status && g->pass == GOLDEN_FIRST)
        status = nf_agree(s.mesh, new_notes(&s, g));
    if (!status && g->pass == GOLDEN_ROUNDED)
        status = nf_agree(s.mesh, round_weights(&s, &e));
    if (!status)
        status = nf_agree(s.mesh, nf_row_buffers_new(e.arg.local_batch, g->len, &rows));
    if (!status) {
        status = nf_golden_repeat(g, &rows);
        if (status && ranks > 1) /* perhaps of this rank alone: others may wait for it in a collective */
            nf_die(status, "%s", nf_diagnosis());
    }
    nf_row_buffers_free(&rows);
    nf_engine_free(&e);
    nf_golden_close(g);
    nf_session_close(&s);
    return status;
}

/* bf16: first the reference in fp32, for its routers' choices and the sizes met; again with rounded weights, for what that
 * does; then in bf16 with the same choices. */
static nf_status in_half(const char *dir, nf_input *input, const void *mpi_comm, int ranks, struct golden *g)
{
    struct nf_params *p = nf_input_params_mut(input);
    const int state = (int)p->optim.state, grad_dtype = (int)p->optim.grad_dtype;

    nf_note("in fp32, for the choices of experts and for the bounds:");
    p->model.dtype = NF_F32;
    p->optim.state = NF_STATE_FP32;
    p->optim.grad_dtype = NF_AUTO;
    g->pass = GOLDEN_FIRST;
    NF_TRY(pass(dir, input, mpi_comm, ranks, g));
    g->pass = GOLDEN_ROUNDED;
    NF_TRY(pass(dir, input, mpi_comm, ranks, g));
    p->model.dtype = NF_BF16;
    p->optim.state = state;
    p->optim.grad_dtype = grad_dtype;
    g->pass = GOLDEN_HALF;
    nf_note("in bf16:");
    return pass(dir, input, mpi_comm, ranks, g);
}

nf_status nf_train_golden(const char *dir, nf_input *input, const void *mpi_comm, int ranks, int rank)
{
    struct nf_params *p = nf_input_params_mut(input);
    struct golden *g = calloc(1, sizeof *g);
    nf_status status;

    (void)rank;
    if (!g)
        return nf_fail(NF_ENOMEM, "no memory for a comparison");
    g->dir = dir;
    if (p->model.dtype == NF_AUTO)
        p->model.dtype = NF_F32;
    status = p->model.dtype == NF_BF16 ? in_half(dir, input, mpi_comm, ranks, g) : pass(dir, input, mpi_comm, ranks, g);
    if (!status) {
        nf_note("golden: %s", g->failed ? "FAIL" : "PASS");
        if (g->failed)
            status = nf_fail(NF_EDIVERGED, "%s: some figures are beyond their bounds", dir);
    }
    nf_half_free(g);
    free(g);
    return status;
}
