/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c: the rows of a step. See batch.h. */
#include <stdlib.h>

#include "batch.h"

nf_status nf_row_buffers_new(int64_t n, int64_t len, struct row_buffers *b)
{
    size_t tokens = (size_t)(n * len) + 1;

    *b = (struct row_buffers){.ids = calloc(tokens, sizeof(int32_t)),
                              .target = calloc(tokens, sizeof(int32_t)),
                              .segment = calloc(tokens, sizeof(int32_t)),
                              .position = calloc(tokens, sizeof(int32_t)),
                              .global_row = calloc((size_t)n + 1, sizeof(int64_t)),
                              .rows = n};
    if (b->ids && b->target && b->segment && b->position && b->global_row)
        return NF_OK;
    nf_row_buffers_free(b);
    return nf_fail(NF_ENOMEM, "no memory for %lld rows of %lld tokens", (long long)n, (long long)len);
}

void nf_row_buffers_free(struct row_buffers *b)
{
    free(b->ids);
    free(b->target);
    free(b->segment);
    free(b->position);
    free(b->global_row);
    *b = (struct row_buffers){0};
}

nf_status nf_row_buffers_send(const struct row_buffers *b, struct engine *e, int64_t first, int64_t n, int64_t len)
{
    size_t bytes = (size_t)(n * len) * sizeof(int32_t);

    NF_TRY(nf_copy(e->q, e->batch.ids, b->ids + first * len, bytes));
    NF_TRY(nf_copy(e->q, e->batch.target, b->target + first * len, bytes));
    NF_TRY(nf_copy(e->q, e->batch.segment, b->segment + first * len, bytes));
    NF_TRY(nf_copy(e->q, e->batch.position, b->position + first * len, bytes));
    return nf_copy(e->q, e->batch.global_row, b->global_row + first, (size_t)n * sizeof(int64_t));
}

nf_status nf_batches_new(const nf_dataset *data, const nf_mesh *mesh, int64_t local, int micro, struct batches *b)
{
    *b = (struct batches){.data = data,
                          .mesh = mesh,
                          .local = local,
                          .len = nf_dataset_seq_len(data),
                          .global = local * micro * nf_mesh_ranks(mesh),
                          .micro = micro};
    for (int i = 0; i < 2; i++)
        NF_TRY(nf_row_buffers_new(micro * local, b->len, &b->set[i]));
    return NF_OK;
}

void nf_batches_free(struct batches *b, nf_device *device)
{
    for (int i = 0; i < 2; i++)
        (void)nf_event_host_wait(device, b->ready[i]); /* a failure of it has been told where it was waited for */
    for (int i = 0; i < 2; i++)
        nf_row_buffers_free(&b->set[i]);
}

nf_status nf_batches_fetch(struct batches *b, int64_t step)
{
    struct row_buffers *set = &b->set[step & 1];
    struct count *count = &b->count[step & 1];
    const struct nf_rows_out out = {.ids = set->ids, .target = set->target, .segment = set->segment, .position = set->position};
    int64_t first = (int64_t)nf_mesh_rank(b->mesh) * set->rows;

    for (int64_t i = 0; i < set->rows; i++)
        set->global_row[i] = nf_dataset_order(b->data, step * b->global + first + i);
    *count = (struct count){0};
    NF_TRY(nf_dataset_fetch(b->data, set->global_row, set->rows, &out, &count->scored));
    if (b->stop)
        nf_stop_vote(b->stop, count->votes);
    for (int64_t i = 0; i < set->rows; i++) /* keys of random numbers: the place in the step, not in the file */
        set->global_row[i] = first + i;
    _Static_assert(sizeof *count == (1 + STOP_VOTES) * sizeof(int64_t), "a count is summed as int64");
    return nf_reduce_i64_start(nf_mesh_group(b->mesh, NF_WORLD), &count->scored, 1 + STOP_VOTES, NF_SUM, &b->ready[step & 1]);
}

nf_status nf_batches_count(struct batches *b, nf_device *device, int64_t step, int64_t *scored, bool *stop)
{
    const struct count *count = &b->count[step & 1];

    NF_TRY(nf_event_host_wait(device, b->ready[step & 1]));
    *scored = count->scored;
    if (stop)
        *stop = count->votes[STOP_SIGNAL] + count->votes[STOP_WALL] > 0;
    return NF_OK;
}

nf_status nf_batches_send(const struct batches *b, struct engine *e, int64_t step, int micro)
{
    return nf_row_buffers_send(&b->set[step & 1], e, micro * b->local, b->local, b->len);
}
