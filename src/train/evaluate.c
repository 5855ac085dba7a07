/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.c: validation loss: total negative log-likelihood over total targets, file order. In the last round some ranks may
 * have fewer rows, or none; they join every collective all the same.
 */
#include "loop.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

nf_status nf_evaluate(struct engine *e, const nf_dataset *data, struct row_buffers *rows, int64_t rounds,
                      const struct stop *stop, struct evaluation *out)
{
    const nf_group *world = nf_mesh_group(e->mesh, NF_WORLD);
    int64_t local = e->arg.local_batch, len = nf_dataset_seq_len(data), N = nf_dataset_rows(data);
    int64_t round = local * nf_group_size(world), most = (N + round - 1) / round, scored, all = 0;
    const struct nf_rows_out to = {
        .ids = rows->ids, .target = rows->target, .segment = rows->segment, .position = rows->position};
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    double sum;

    NF_TRY(nf_engine_vars(e, &(struct nf_step_vars){.loss_scale = 1}));
    NF_TRY(nf_fill_zero(e->q, e->eval_sum, sizeof *e->eval_sum));
    for (int64_t r = 0; r < most && (!rounds || r < rounds); r++) {
        int64_t first = least(r * round + nf_group_rank(world) * local, N), n = least(local, N - first);
        nf_batch batch = nf_engine_batch(e, n, len);
        nf_tensor hidden;
        bool stopped = false;
        if (stop && stop->active)
            NF_TRY(nf_stop_ask(stop, e->mesh, &stopped));
        if (stopped) {
            *out = (struct evaluation){.stopped = true};
            return NF_OK;
        }
        for (int64_t i = 0; i < n; i++)
            rows->global_row[i] = first + i;
        NF_TRY(nf_dataset_fetch(data, rows->global_row, n, &to, &scored));
        all += scored;
        NF_TRY(nf_row_buffers_send(rows, e, 0, n, len));
        nf_engine_shape(e, &batch, local * len, false);
        NF_TRY(nf_model_forward(e->arg.model, e->res, &e->run, &batch, e->tape, &hidden));
        NF_TRY(nf_model_loss(e->arg.model, e->res, &e->run, &batch, e->tape, &e->vars->loss_scale, e->eval_sum));
        nf_arena_reset(e->arena[ARENA_STEP], NF_LOW, mark);
    }
    NF_TRY(nf_copy(e->q, &e->result[0].loss, e->eval_sum, sizeof sum));
    NF_TRY(nf_queue_drain(e->q));
    sum = e->result[0].loss;
    NF_TRY(nf_reduce_f64(world, &sum, 1, NF_SUM));
    NF_TRY(nf_reduce_i64(world, &all, 1, NF_SUM));
    *out = (struct evaluation){.loss = all ? sum / (double)all : 0, .scored = all};
    return NF_OK;
}
