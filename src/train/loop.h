/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h: the parts of a run: evaluation, samples, what is told at the start and at every step. */
#ifndef NEMAFIT_TRAIN_LOOP_H
#define NEMAFIT_TRAIN_LOOP_H

#include "gpu_memory.h"
#include "nemafit/input.h"
#include "nemafit/watch.h"
#include "step.h"

/* Everything a command needs before memory is taken: input, mesh, model, checkpoint, data, all checked against each other. */
struct session {
    nf_input *input; /* borrowed */
    struct nf_params *p;
    nf_device *device;
    nf_mesh *mesh;
    nf_watch *watch; /* NULL: nobody watches */
    nf_json *config;
    nf_model *model;
    nf_st *source; /* NULL: init='random' */
    nf_dataset *train, *valid;
    int micro_batches;
    int64_t steps, global_batch;
    size_t bytes[ARENA_KINDS];
    struct nf_work_count work; /* of one step's micro-batches, rehearsed */
    struct memory_table memory;
    struct gpu_memory gpu;
};
/* watched: a run, whose watchdog begins here. */
nf_status nf_session_open(nf_input *input, const void *mpi_comm, int ranks, bool watched, struct session *s);
/* nf_session_bytes: what a rank takes. nf_session_fits: is there as much? Collective world. Errors  agreed NF_EMODEL,
 * NF_EDEVICE */
double nf_session_bytes(const struct session *s);
nf_status nf_session_fits(const struct session *s);
struct engine_arg nf_session_engine(const struct session *s);
void nf_session_close(struct session *s);

/* Mean loss over the rows of a dataset in file order (at most `rounds` global batches; 0: all). Between rounds the ranks ask
 * `stop` (NULL: they do not); if they are to stop there is no loss. Collective over world. */
struct evaluation {
    double loss;
    int64_t scored;
    bool stopped;
};
nf_status nf_evaluate(struct engine *e, const nf_dataset *data, struct row_buffers *rows, int64_t rounds,
                      const struct stop *stop, struct evaluation *out);

/* Continue log.sample_prompt; text in out (rank 0). The plain forward over the window for each token; the same text on any mesh
 * at temperature 0. Collective over world. */
nf_status nf_sample(struct engine *e, const nf_dataset *data, struct row_buffers *rows, nf_str *out);

/* The start-up block. */
void nf_tell_start(const struct session *s, const struct engine *e);
void nf_tell_first_row(const nf_dataset *data, const struct row_buffers *rows, int64_t len);

/* One line a step, a progress bar on a terminal, log.csv. Rank 0 alone writes; open agrees. */
struct steplog;
/* csv_bytes: what of an older log.csv belongs to the steps done; -1: a new table. */
nf_status nf_steplog_open(const struct session *s, int64_t csv_bytes, struct steplog **log);
int64_t nf_steplog_csv_bytes(struct steplog *log); /* length of log.csv, which is on the disk then; -1: this rank has none */
void nf_steplog_step(struct steplog *log, const struct step_result *r);
void nf_steplog_evaluation(struct steplog *log, int64_t step, const struct evaluation *v);
void nf_steplog_sample(struct steplog *log, const char *prompt, const char *text);
nf_status nf_steplog_close(struct steplog *log); /* NULL allowed; NF_EIO if the table could not be written whole */

/*
 * Train from where the run stands to the last step; snapshots and exports where asked. r: where it stands; the keeper holds the
 * leases. Collective over world. NF_EPREEMPTED: stopped on request, with a snapshot.
 */
struct keeper;
struct resume;
nf_status nf_train_loop(struct session *s, struct engine *e, struct keeper *k, const struct resume *r, struct stop *stop);

#endif
