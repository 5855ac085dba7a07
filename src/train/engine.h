/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h: everything that runs a model on this rank, assembled twice from the same text: on a dry device with counting
 * arenas, to learn what each arena must hold, then on the real one.
 */
#ifndef NEMAFIT_TRAIN_ENGINE_H
#define NEMAFIT_TRAIN_ENGINE_H

#include "nemafit/io/safetensors.h"
#include "nemafit/model.h"
#include "nemafit/optim.h"
#include "nemafit/params.h"

/* Arenas of an engine; the work arenas belong to queues. */
enum arena_kind { ARENA_RUN, ARENA_STATE, ARENA_STEP, ARENA_WORK, ARENA_WORK_EXCHANGE, ARENA_WORK_REDUCE, ARENA_KINDS };

/* What a run asks of an engine; plain data. */
struct engine_arg {
    const struct nf_params *params;
    nf_model *model;
    int64_t local_batch, seq_len; /* rows of a micro-batch at most, tokens a row */
    int micro_batches;            /* of this rank, a step */
    bool optimizer;               /* false: forward only */
    bool segments;                /* batches carry segment ids */
};

/* Phases of a step, as its stopwatch tells them apart: forward has the loss, rest is what lies between the others. */
enum step_phase { PHASE_REST, PHASE_FORWARD, PHASE_BACKWARD, PHASE_UPDATE, PHASES };

/* Device memory of one micro-batch, at addresses fixed for the run. */
struct batch_memory {
    int32_t *ids, *target, *segment, *position;
    int64_t *global_row;
};

struct engine {
    struct engine_arg arg;
    nf_device *device;
    nf_mesh *mesh; /* borrowed */
    nf_arena *arena[ARENA_KINDS];
    void *block[ARENA_KINDS];
    size_t bytes[ARENA_KINDS];
    nf_queue *q, *xq, *gq;   /* compute, exchange, gradient reduction */
    nf_stopwatch *stopwatch; /* of the compute queue */
    nf_exchange *exchange;
    nf_residency *res;
    nf_tape *tape;
    struct nf_optim_run *optim; /* host table of the update */
    nf_run run;
    struct batch_memory batch;
    struct nf_step_vars *vars;      /* device */
    struct nf_decision *decision;   /* device */
    double *sums;                   /* device [4]: norm_sq, loss, mtp, aux of this step */
    double *eval_sum;               /* device [1] */
    float *logits;                  /* device [V]: of one token */
    int32_t *load;                  /* device [MoE layers, E] */
    struct nf_decision *result;     /* pinned [2] */
    int32_t *load_host;             /* pinned [MoE layers, E] */
    float *logits_host;             /* pinned [V] */
    struct nf_step_vars *vars_ring; /* pinned [VARS_RING] */
    int vars_next;
    nf_event vars_used[4];
};
#define VARS_RING 4

/* Who has how much of the arenas at their fullest, by name. */
struct memory_table {
    struct memory_row {
        const char *arena, *what;
        size_t bytes;
    } row[128];
    int rows;
};
/* Rows of at least `least` bytes as lines, largest first; smaller ones in a last line together. */
void nf_memory_lines(const struct memory_table *table, size_t least, nf_str *out);

/* Peak bytes of every arena, from a rehearsal on a dry device. */
nf_status nf_engine_measure(const struct engine_arg *arg, const nf_mesh *mesh, enum nf_device_kind kind,
                            size_t bytes[ARENA_KINDS], struct nf_work_count *work, struct memory_table *table);
/* Collective over the mesh. Errors: agreed */
nf_status nf_engine_new(const struct engine_arg *arg, nf_mesh *mesh, nf_device *device, const size_t bytes[ARENA_KINDS],
                        struct engine *e);
void nf_engine_free(struct engine *e);

/* Common inner part: queues, exchange, residency, tables, on arenas that are there. */
nf_status nf_engine_assemble(struct engine *e);
void nf_engine_dismantle(struct engine *e);

/* The batch as the layers see it: `rows` rows of `len` tokens of the engine's batch memory. */
nf_batch nf_engine_batch(struct engine *e, int64_t rows, int64_t len);
/* Set the run's shape for that batch; tokens_max as on every rank. */
void nf_engine_shape(struct engine *e, const nf_batch *batch, int64_t tokens_max, bool train);

/* Send step variables to the device through the pinned ring. */
nf_status nf_engine_vars(struct engine *e, const struct nf_step_vars *vars);

/* Forward, loss and backward of the batch in batch memory; the loss is added to sums[1]. */
nf_status nf_engine_micro(struct engine *e, const nf_batch *batch, int micro);
/* Norm, decision, update of weights and, where asked for, of the routers' correction biases. */
nf_status nf_engine_update(struct engine *e);
/* Expert load of the step so far: summed over world, in place. */
nf_status nf_engine_sum_load(struct engine *e);

/* ---- the model of a run ---------------------------------------------------------------------------------------------- */

/* config.json of model.path: read by rank 0, parsed by all. Errors: agreed */
nf_status nf_engine_read_config(const nf_mesh *mesh, const char *dir, nf_json **config);
nf_status nf_engine_make_model(const struct nf_params *p, const nf_json *config, nf_model **model);
/* Weights from the checkpoint, or drawn. source NULL: drawn. */
nf_status nf_engine_load(struct engine *e, const nf_st *source);
/* How export.dtype and export.shard_gb want a checkpoint written. */
struct nf_st_write_arg nf_export_arg(const struct nf_params *p, const char *dir);
nf_status nf_engine_export(struct engine *e, const nf_st *source, const char *dir);

/* The device that backend.device asks for, with its ops; what 'auto' became, for the attention too, is written there.
 * memory: is marked with what the contexts take; NULL: nobody wants to know. Collective over mpi_comm, before there is a mesh.
 * Ranks of a node take its GPUs in turn. Errors: agreed */
struct gpu_memory;
nf_status nf_engine_device(struct nf_params *p, const void *mpi_comm, nf_device **device, struct gpu_memory *memory);

#endif
