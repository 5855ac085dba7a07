/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.c: a continuation of a prompt, to see what the model writes. Rank 0 holds the one row; the others join with none,
 * since the experts are spread over them. For each token the plain forward runs over the whole window: nothing of training is
 * touched.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "nemafit/rng.h"

static int32_t choose(const float *logits, int64_t n, double temperature, uint64_t seed, int64_t position)
{
    int64_t best = 0;
    double sum = 0, mark;

    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    if (temperature <= 0)
        return (int32_t)best;
    for (int64_t i = 0; i < n; i++)
        sum += exp(((double)logits[i] - (double)logits[best]) / temperature);
    mark =
        sum * (double)nf_rng_uniform(nf_rng_u32((nf_rng_key){.seed = seed, .purpose = NF_RNG_SAMPLE}, 0, (uint64_t)position));
    for (int64_t i = 0; i < n; i++) {
        mark -= exp(((double)logits[i] - (double)logits[best]) / temperature);
        if (mark < 0)
            return (int32_t)i;
    }
    return (int32_t)best;
}

/* The token after `n` of them: forward on one row, logits of its last position; told to every rank. */
static nf_status next_token(struct engine *e, struct row_buffers *rows, int64_t n, int64_t position, int32_t *id)
{
    const struct nf_params *p = e->arg.params;
    nf_model *m = e->arg.model;
    bool mine = nf_mesh_rank(e->mesh) == 0;
    nf_batch batch = nf_engine_batch(e, mine ? 1 : 0, n);
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    nf_tensor hidden;

    batch.segment = NULL; /* the window has no padding */
    batch.position = NULL;
    NF_TRY(nf_row_buffers_send(rows, e, 0, batch.rows, n));
    nf_engine_shape(e, &batch, n, false);
    NF_TRY(nf_model_forward(m, e->res, &e->run, &batch, e->tape, &hidden));
    if (mine) {
        nf_tensor last = nf_rows(hidden, n - 1, 1), logits = nf_matrix(e->logits, NF_F32, 1, m->vocab, m->vocab);
        NF_TRY(nf_head_logits(e->q, &logits, &last, &m->head.w));
        NF_TRY(nf_copy(e->q, e->logits_host, e->logits, (size_t)m->vocab * sizeof(float)));
        NF_TRY(nf_queue_drain(e->q));
        *id = choose(e->logits_host, m->vocab, p->log.sample_temperature, (uint64_t)p->train.seed, position);
    }
    nf_arena_reset(e->arena[ARENA_STEP], NF_LOW, mark);
    return nf_bcast(nf_mesh_group(e->mesh, NF_WORLD), 0, id, sizeof *id);
}

nf_status nf_sample(struct engine *e, const nf_dataset *data, struct row_buffers *rows, nf_str *out)
{
    const struct nf_params *p = e->arg.params;
    int64_t window = e->arg.seq_len, wanted = p->log.sample_tokens;
    int32_t *made = calloc((size_t)wanted + 1, sizeof *made);
    int64_t n = nf_dataset_encode(data, p->log.sample_prompt, rows->ids, window);
    nf_status s = made ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a sample");

    if (!s && n < 1)
        s = nf_fail(NF_EUSAGE, "log.sample_prompt: this data format cannot turn text into tokens");
    s = nf_agree(e->mesh, s);
    rows->global_row[0] = 0;
    for (int64_t i = 0; i < wanted && !s; i++) {
        s = next_token(e, rows, n, i, &made[i]);
        if (n == window) { /* the oldest token leaves */
            memmove(rows->ids, rows->ids + 1, (size_t)(n - 1) * sizeof *rows->ids);
            n--;
        }
        rows->ids[n++] = made[i];
    }
    if (!s)
        nf_dataset_decode(data, made, wanted, out);
    free(made);
    return s;
}
