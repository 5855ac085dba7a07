/* SPDX-License-Identifier: Apache-2.0 */
/* step.h: one optimizer step, and what it took. */
#ifndef NEMAFIT_TRAIN_STEP_H
#define NEMAFIT_TRAIN_STEP_H

#include "batch.h"
#include "profile.h"

/* What the host knows of a step, one step later. */
struct step_result {
    int64_t step, tokens, scored;
    int64_t updates; /* applied so far, this one included: AdamW's t */
    double loss, grad_norm, lr;
    bool skipped;
    /* Of the compute queue: on a GPU the device's times, to be had with the result. ms_wait: stood still in communication. */
    double seconds, ms_forward, ms_backward, ms_update, ms_wait;
    double load_worst; /* largest over layers of max / mean tokens an expert; 0: no MoE layer, or not asked for */
    int64_t load_dead; /* experts of all layers without a token */
    int64_t overflow_slices;
};

struct stepper {
    struct engine *e;
    struct batches *batches;
    struct nf_schedule_arg schedule;
    nf_event result_ready[2];
    struct step_result pending[2];
    struct profile profile;
    bool want_load;
    nf_event state_copied; /* the update waits for it: a snapshot copies the state */
};

void nf_stepper_new(struct engine *e, struct batches *b, int64_t steps, struct stepper *s);
/* Enqueue step n (its rows were fetched), fetch the rows of the next if there is one. *stop: the ranks want to stop in front of
 * it, and nothing was done; NULL: run in any case. Collective over world. */
nf_status nf_stepper_run(struct stepper *s, int64_t step, bool more, bool *stop);
/* The result of a step that was enqueued; waits for it. */
nf_status nf_stepper_result(struct stepper *s, int64_t step, struct step_result *out);

#endif
