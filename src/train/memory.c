/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c: how much memory an engine needs: one training step and one evaluation are rehearsed on a dry device, where arenas
 * only count; then blocks of just those sizes are taken. A step allocates nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static const char *const names[ARENA_KINDS] = {[ARENA_RUN] = "run",
                                               [ARENA_STATE] = "state",
                                               [ARENA_STEP] = "step",
                                               [ARENA_WORK] = "work",
                                               [ARENA_WORK_EXCHANGE] = "work (exchange)",
                                               [ARENA_WORK_REDUCE] = "work (reduction)"};

static nf_status rehearse_step(struct engine *e)
{
    nf_batch batch = nf_engine_batch(e, e->arg.local_batch, e->arg.seq_len);
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    int micro = e->arg.micro_batches > 1 ? 2 : 1; /* overwriting and accumulating */

    nf_residency_begin_step(e->res);
    nf_engine_shape(e, &batch, e->run.tokens_max = batch.rows * batch.len, true);
    for (int i = 0; i < micro; i++)
        NF_TRY(nf_engine_micro(e, &batch, i == micro - 1 ? e->arg.micro_batches - 1 : 0));
    NF_TRY(nf_engine_update(e));
    nf_arena_reset(e->arena[ARENA_STEP], NF_HIGH, mark);
    return NF_OK;
}

static nf_status rehearse_evaluation(struct engine *e)
{
    nf_batch batch = nf_engine_batch(e, e->arg.local_batch, e->arg.seq_len);
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    nf_model *m = e->arg.model;
    nf_tensor hidden, last, logits = nf_matrix(e->logits, NF_F32, 1, m->vocab, m->vocab);

    nf_engine_shape(e, &batch, batch.rows * batch.len, false);
    NF_TRY(nf_model_forward(m, e->res, &e->run, &batch, e->tape, &hidden));
    NF_TRY(nf_model_loss(m, e->res, &e->run, &batch, e->tape, &e->vars->loss_scale, e->eval_sum));
    last = nf_rows(hidden, 0, 1);
    NF_TRY(nf_head_logits(e->q, &logits, &last, &m->head.w));
    nf_arena_reset(e->arena[ARENA_STEP], NF_LOW, mark);
    return NF_OK;
}

struct row_ctx {
    struct memory_table *table;
    const char *arena;
};

static void add_row(void *ctx, const char *what, size_t bytes, int count)
{
    struct row_ctx *r = ctx;
    struct memory_table *t = r->table;

    (void)count;
    if (t->rows < (int)(sizeof t->row / sizeof *t->row))
        t->row[t->rows++] = (struct memory_row){r->arena, what, bytes};
}

static int larger_first(const void *a, const void *b)
{
    size_t x = ((const struct memory_row *)a)->bytes, y = ((const struct memory_row *)b)->bytes;
    return (x < y) - (x > y);
}

void nf_memory_lines(const struct memory_table *t, size_t least, nf_str *out)
{
    size_t rest = 0;
    char text[32];

    for (int i = 0; i < t->rows; i++) {
        const struct memory_row *r = &t->row[i];
        if (r->bytes >= least)
            nf_str_addf(out, "%s%20s  %s%s", out->len ? "\n" : "", nf_str_bytes(text, (double)r->bytes),
                        strncmp(r->arena, "work", 4) ? "" : "scratch of ", r->what);
        else
            rest += r->bytes;
    }
    if (rest)
        nf_str_addf(out, "%s%20s  all else", out->len ? "\n" : "", nf_str_bytes(text, (double)rest));
}

nf_status nf_engine_measure(const struct engine_arg *arg, const nf_mesh *mesh, enum nf_device_kind kind,
                            size_t bytes[ARENA_KINDS], struct nf_work_count *work, struct memory_table *table)
{
    struct engine e = {.arg = *arg};
    nf_status s = nf_device_dry(kind, &e.device);

    if (!s)
        s = nf_mesh_new_twin(mesh, e.device, &e.mesh);
    for (int i = 0; i < ARENA_KINDS && !s; i++)
        s = nf_arena_new(names[i], NULL, SIZE_MAX / 4, &e.arena[i]);
    if (!s)
        s = nf_engine_assemble(&e);
    if (!s && arg->optimizer)
        s = rehearse_step(&e);
    if (!s && work)
        *work = nf_queue_counted(e.q);
    if (!s)
        s = rehearse_evaluation(&e);
    for (int i = 0; i < ARENA_KINDS && !s; i++) {
        bytes[i] = nf_arena_peak(e.arena[i]);
        if (table)
            nf_arena_report(e.arena[i], add_row, &(struct row_ctx){table, names[i]});
    }
    if (table)
        qsort(table->row, (size_t)table->rows, sizeof *table->row, larger_first);
    nf_engine_dismantle(&e);
    for (int i = 0; i < ARENA_KINDS; i++)
        nf_arena_free(e.arena[i]);
    nf_mesh_free(e.mesh);
    nf_device_free(e.device);
    return s;
}

/* Bytes of the expert load table and of one token's logits on the host. */
static size_t load_bytes(const struct engine *e)
{
    return (size_t)(e->arg.model->moe_layers * e->arg.model->experts + 1) * sizeof(int32_t);
}

static size_t logits_bytes(const struct engine *e)
{
    return (size_t)e->arg.model->vocab * sizeof(float);
}

static nf_status take_blocks(struct engine *e, const size_t bytes[ARENA_KINDS])
{
    for (int i = 0; i < ARENA_KINDS; i++) {
        e->bytes[i] = bytes[i] + NF_ALIGN;
        NF_TRY(nf_device_alloc(e->device, e->bytes[i], names[i], &e->block[i]));
        NF_TRY(nf_arena_new(names[i], e->block[i], e->bytes[i], &e->arena[i]));
    }
    NF_TRY(nf_device_alloc_pinned(e->device, 2 * sizeof *e->result, "results", (void **)&e->result));
    NF_TRY(nf_device_alloc_pinned(e->device, load_bytes(e), "expert load", (void **)&e->load_host));
    NF_TRY(nf_device_alloc_pinned(e->device, logits_bytes(e), "logits", (void **)&e->logits_host));
    return nf_device_alloc_pinned(e->device, VARS_RING * sizeof *e->vars_ring, "step variables", (void **)&e->vars_ring);
}

nf_status nf_engine_new(const struct engine_arg *arg, nf_mesh *mesh, nf_device *device, const size_t bytes[ARENA_KINDS],
                        struct engine *e)
{
    nf_status s;

    *e = (struct engine){.arg = *arg, .mesh = mesh, .device = device};
    s = nf_agree(mesh, take_blocks(e, bytes));
    if (!s)
        s = nf_agree(mesh, nf_engine_assemble(e));
    return s;
}

void nf_engine_free(struct engine *e)
{
    if (!e->device)
        return;
    nf_engine_dismantle(e);
    for (int i = 0; i < ARENA_KINDS; i++) {
        nf_arena_free(e->arena[i]);
        nf_device_release(e->device, e->block[i], e->bytes[i]);
    }
    nf_device_release(e->device, e->result, 2 * sizeof *e->result);
    nf_device_release(e->device, e->load_host, load_bytes(e));
    nf_device_release(e->device, e->logits_host, logits_bytes(e));
    nf_device_release(e->device, e->vars_ring, VARS_RING * sizeof *e->vars_ring);
    *e = (struct engine){0};
}
