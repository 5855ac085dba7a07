/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h: which rows a rank runs in a step, fetched one step ahead. The step's global batch is rows [step G, (step + 1) G) of
 * the endless order; micro-batch m holds its rows [m b, (m + 1) b); rank r runs m = r A ... r A + A - 1.
 */
#ifndef NEMAFIT_TRAIN_BATCH_H
#define NEMAFIT_TRAIN_BATCH_H

#include "nemafit/io/dataset.h"

#include "engine.h"
#include "stop.h"

struct row_buffers {
    int32_t *ids, *target, *segment, *position; /* [rows, S] */
    int64_t *global_row;                        /* [rows] */
    int64_t rows;
};

struct batches {
    const nf_dataset *data;
    const nf_mesh *mesh;
    int64_t local, len, global; /* rows of a micro-batch, tokens a row, rows a step */
    int micro;                  /* A */
    struct row_buffers set[2];  /* [micro local] rows each: of this step and of the next */
    struct count {
        int64_t scored;            /* targets of the whole step */
        int64_t votes[STOP_VOTES]; /* of those who want to stop in front of it */
    } count[2];                    /* over all ranks, once ready */
    const struct stop *stop;       /* NULL: nobody votes */
    nf_event ready[2];
};

/* Host buffers for n rows of S tokens. */
nf_status nf_row_buffers_new(int64_t n, int64_t len, struct row_buffers *b);
void nf_row_buffers_free(struct row_buffers *b);
/* Copy rows [first, first + n) to the engine's batch memory. */
nf_status nf_row_buffers_send(const struct row_buffers *b, struct engine *e, int64_t first, int64_t n, int64_t len);

nf_status nf_batches_new(const nf_dataset *data, const nf_mesh *mesh, int64_t local, int micro, struct batches *b);
/* Waits for a count that is under way: it writes into b. Collective if one is. */
void nf_batches_free(struct batches *b, nf_device *device);
/* Read the rows of a step, start the count of its targets and of the votes to stop in front of it. */
nf_status nf_batches_fetch(struct batches *b, int64_t step);
/* Scored targets of a fetched step over all ranks, and whether to stop instead (may be NULL); waits for the count. */
nf_status nf_batches_count(struct batches *b, nf_device *device, int64_t step, int64_t *scored, bool *stop);
nf_status nf_batches_send(const struct batches *b, struct engine *e, int64_t step, int micro);

#endif
