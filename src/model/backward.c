/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backward.c: the blocks in reverse. One tensor holds the gradient of the stream; it is the gradient of a block's branch too,
 * so mixers only read it, and the norm's backward adds to it in place. When a block is done its activations are popped, and the
 * next unit's gradients may take their place.
 */
#include "tape.h"

/* Under recompute: what the block's backward reads, made again on top of the arena. */
static nf_status replay(nf_model *m, nf_run *run, const nf_block *b, struct kept *k)
{
    const struct nf_mixer *mixer = nf_mixer_of(b->kind);
    nf_status s = NF_OK;

    if (run->recompute == NF_RECOMPUTE_NONE)
        return NF_OK;
    if (run->recompute == NF_RECOMPUTE_BLOCK)
        NF_TRY(mixer->keep(run, b->conf, &k->keep));
    NF_TRY(nf_tensor_new(run->step, NF_LOW, "normed input", k->stream.dtype, run->tokens, m->hidden, &k->normed));
    NF_TRY(nf_add_norm(run->q, NULL, &k->normed, k->rstd, &k->stream, NULL, &b->norm.w, m->eps, NF_ROUND_XHAT));
    if (run->recompute == NF_RECOMPUTE_BLOCK) {
        run->replay = true;
        s = mixer->forward(run, NULL, &k->normed, b->conf, b->w, &k->keep);
        run->replay = false;
    }
    return s;
}

static nf_status leave_unit(nf_residency *res, int unit)
{
    NF_TRY(nf_grads_ready(res, unit));
    nf_release(res, unit);
    return NF_OK;
}

nf_status nf_model_backward(nf_model *m, nf_residency *res, nf_run *run, const nf_batch *batch, nf_tape *t)
{
    nf_tensor dstream, dnormed = t->dhidden; /* dead once the final norm has read it */

    NF_TRY(nf_lap(run->q, NF_PART_HEAD));
    NF_TRY(nf_tensor_new(run->step, NF_HIGH, "d residual stream", t->hidden.dtype, run->tokens, m->hidden, &dstream));
    NF_TRY(nf_add_norm_bwd(run->q, &dstream, false, nf_grad_use(&m->norm_f), &t->dhidden, &t->stream, t->rstd, &m->norm_f.w));
    NF_TRY(leave_unit(res, m->units - 1));
    for (int i = m->blocks - 1; i >= 0; i--) {
        const nf_block *b = &m->block[i];
        struct kept *k = &t->block[i];
        NF_TRY(nf_lap(run->q, NF_PART_MIXER + b->kind));
        if (i == m->blocks - 1 || b->unit != m->block[i + 1].unit)
            NF_TRY(nf_acquire(res, b->unit, NF_BACKWARD, true));
        NF_TRY(replay(m, run, b, k));
        NF_TRY(nf_mixer_of(b->kind)->backward(run, &dnormed, &dstream, &k->normed, b->conf, b->w, &k->keep));
        NF_TRY(
            nf_add_norm_bwd(run->q, &dstream, true, nf_grad_use(&m->block[i].norm), &dnormed, &k->stream, k->rstd, &b->norm.w));
        nf_arena_reset(run->step, NF_LOW, k->before);
        if (i == 0 || b->unit != m->block[i - 1].unit)
            NF_TRY(leave_unit(res, b->unit));
    }
    NF_TRY(nf_lap(run->q, NF_PART_EMBED));
    NF_TRY(nf_acquire(res, 0, NF_BACKWARD, true));
    NF_TRY(nf_embed_bwd(run->q, nf_grad_use(&m->embed), batch->ids, &dstream, m->pad_id));
    return leave_unit(res, 0);
}
