/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward.c: embedding, blocks, final norm; then the loss. A block's norm adds the previous block's branch to the stream, so
 * every sum of the residual stream is fused with the norm that reads it.
 *
 * Order on the step arena, per block: stream, 1/rms, what the mixer always keeps | what it keeps unless recomputed | the normed
 * input. 'block' recompute pops to the first bar, 'selective' drops the normed input, evaluation pops everything.
 */
#include "tape.h"

static nf_status new_rows(nf_run *run, const char *what, const nf_model *m, nf_tensor *out)
{
    return nf_tensor_new(run->step, NF_LOW, what, m->desc[m->embed.desc].dtype, run->tokens, m->hidden, out);
}

static nf_status new_rstd(nf_run *run, float **out)
{
    return nf_arena_get(run->step, NF_LOW, (size_t)run->tokens * sizeof(float), "norm 1/rms", (void **)out);
}

static nf_status show(nf_run *run, int index, const nf_tensor *hidden)
{
    return run->observe ? run->observe(run->observe_ctx, index, hidden) : NF_OK;
}

/* One block: prev (the stream so far) and pending (the branch still to be added, or NULL) -> k->stream and branch. */
static nf_status block_forward(nf_model *m, nf_run *run, int i, struct kept *k, const nf_tensor *prev, const nf_tensor *pending,
                               const nf_tensor *branch)
{
    const nf_block *b = &m->block[i];
    const struct nf_mixer *mixer = nf_mixer_of(b->kind);
    nf_mark always, kept;

    k->before = nf_arena_mark(run->step);
    if (pending)
        NF_TRY(new_rows(run, "residual stream", m, &k->stream));
    else
        k->stream = *prev;
    NF_TRY(new_rstd(run, &k->rstd));
    NF_TRY(mixer->keep_always(run, b->conf, &k->keep));
    always = nf_arena_mark(run->step);
    NF_TRY(mixer->keep(run, b->conf, &k->keep));
    kept = nf_arena_mark(run->step);
    NF_TRY(new_rows(run, "normed input", m, &k->normed));
    NF_TRY(nf_add_norm(run->q, pending ? &k->stream : NULL, &k->normed, k->rstd, prev, pending, &b->norm.w, m->eps,
                       NF_ROUND_XHAT));
    NF_TRY(show(run, i, &k->stream));
    NF_TRY(mixer->forward(run, branch, &k->normed, b->conf, b->w, &k->keep));
    if (run->train && run->recompute == NF_RECOMPUTE_BLOCK)
        nf_arena_reset(run->step, NF_LOW, always);
    else if (run->train && run->recompute == NF_RECOMPUTE_SELECTIVE)
        nf_arena_reset(run->step, NF_LOW, kept);
    return NF_OK;
}

/* Evaluation keeps nothing: two streams take turns, a block's memory goes when it ends. */
static nf_status block_evaluate(nf_model *m, nf_run *run, int i, struct kept *k, const nf_tensor *prev,
                                const nf_tensor *pending, const nf_tensor *branch, const nf_tensor *stream)
{
    nf_mark mark = nf_arena_mark(run->step);

    NF_TRY(block_forward(m, run, i, k, prev, pending, branch));
    if (pending) { /* the next norm reads it after this block's memory is gone */
        NF_TRY(nf_copy(run->q, stream->data, k->stream.data, (size_t)nf_tensor_count(stream) * nf_dtype_size(stream->dtype)));
        k->stream = *stream;
    }
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

/* The stream before the last branch, and that branch (NULL: none). */
struct ends {
    nf_tensor x, spare[2];
    const nf_tensor *prev, *pending;
};

/* Embedding and blocks. */
static nf_status stack_forward(nf_model *m, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *t, struct ends *e)
{
    NF_TRY(nf_lap(run->q, NF_PART_EMBED));
    NF_TRY(new_rows(run, "branch", m, &t->branch[0]));
    NF_TRY(new_rows(run, "branch", m, &t->branch[1]));
    NF_TRY(new_rows(run, "embedding", m, &e->x));
    for (int i = 0; i < 2 && !run->train; i++)
        NF_TRY(new_rows(run, "residual stream", m, &e->spare[i]));
    e->prev = &e->x;
    e->pending = NULL;
    NF_TRY(nf_acquire(res, 0, NF_FORWARD, false));
    NF_TRY(nf_embed(run->q, &e->x, batch->ids, &m->embed.w));
    nf_release(res, 0);
    for (int i = 0; i < m->blocks; i++) {
        const nf_block *b = &m->block[i];
        struct kept *k = &t->block[i];
        const nf_tensor *branch = &t->branch[i & 1];
        NF_TRY(nf_lap(run->q, NF_PART_MIXER + b->kind));
        if (!i || b->unit != m->block[i - 1].unit)
            NF_TRY(nf_acquire(res, b->unit, NF_FORWARD, false));
        if (run->train)
            NF_TRY(block_forward(m, run, i, k, e->prev, e->pending, branch));
        else
            NF_TRY(block_evaluate(m, run, i, k, e->prev, e->pending, branch, &e->spare[i & 1]));
        if (i == m->blocks - 1 || b->unit != m->block[i + 1].unit)
            nf_release(res, b->unit);
        e->prev = &k->stream;
        e->pending = branch;
    }
    return NF_OK;
}

/*
 * Where rows travel through windows nobody knows beforehand whether they fit, and the host asks afterwards. What did not fit is
 * done again from the embedding on with counts on the host, and counted once: the load of the experts is put back.
 */
static nf_status stack_until_whole(nf_model *m, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *t,
                                   struct ends *e)
{
    const bool may = nf_exchange_may_overflow(run->exchange);
    const size_t load = run->load ? (size_t)(m->moe_layers * m->experts) * sizeof *run->load : 0;
    void *before = NULL;
    bool overflowed;

    if (may) {
        NF_TRY(nf_arena_get(run->step, NF_LOW, load, "experts' load before", &before));
        if (load)
            NF_TRY(nf_copy(run->q, before, run->load, load));
    }
    nf_mark mark = nf_arena_mark(run->step);
    NF_TRY(stack_forward(m, res, run, batch, t, e));
    if (!may)
        return NF_OK;
    NF_TRY(nf_exchange_overflowed(run->q, run->exchange, &overflowed));
    if (!overflowed)
        return NF_OK;
    if (load)
        NF_TRY(nf_copy(run->q, run->load, before, load));
    nf_arena_reset(run->step, NF_LOW, mark);
    nf_exchange_count_on_host(run->exchange, true);
    NF_TRY(stack_forward(m, res, run, batch, t, e));
    nf_exchange_count_on_host(run->exchange, false);
    return NF_OK;
}

nf_status nf_model_forward(nf_model *m, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *t, nf_tensor *hidden)
{
    struct ends e = {0};

    NF_TRY(stack_until_whole(m, res, run, batch, t, &e));
    NF_TRY(nf_lap(run->q, NF_PART_HEAD));
    NF_TRY(new_rows(run, "residual stream", m, &t->stream));
    NF_TRY(new_rows(run, "final norm", m, &t->hidden));
    NF_TRY(new_rstd(run, &t->rstd));
    NF_TRY(nf_acquire(res, m->units - 1, NF_FORWARD, false));
    NF_TRY(nf_add_norm(run->q, &t->stream, &t->hidden, t->rstd, e.prev, e.pending, &m->norm_f.w, m->eps, NF_ROUND_XHAT));
    NF_TRY(show(run, m->blocks, &t->hidden));
    *hidden = t->hidden;
    return NF_OK;
}

nf_status nf_model_loss(nf_model *m, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *t, const float *scale,
                        double *loss)
{
    nf_grad head = {0};

    if (run->train) {
        NF_TRY(nf_tensor_new(run->step, NF_HIGH, "d hidden", t->hidden.dtype, run->tokens, m->hidden, &t->dhidden));
        NF_TRY(nf_acquire(res, m->units - 1, NF_BACKWARD, true));
        head = nf_grad_use(&m->head);
    }
    return nf_head_loss(run->q, loss, NULL, run->train ? &t->dhidden : NULL, head, &t->hidden, &m->head.w, batch->target,
                        scale);
}
