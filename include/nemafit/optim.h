/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optim.h: one update of the parameters from reduced gradients: true global norm, the decision, AdamW; and the schedule of the
 * rate.
 */
#ifndef NEMAFIT_OPTIM_H
#define NEMAFIT_OPTIM_H

#include "nemafit/choices.h"
#include "nemafit/mesh.h"
#include "nemafit/ops.h"

struct nf_schedule_arg {
    enum nf_schedule kind;
    double lr, min_lr;
    int64_t warmup, steps; /* of the run */
    double decay_share;    /* wsd */
};
/*
 * Rate of 0-based step s. Warm-up: lr (s + 1) / warmup. Then, with x in [0, 1] from its end to the last step:
 *   constant lr; linear lr + (min - lr) x; cosine min + (lr - min)(1 + cos pi x)/2; wsd: lr, then linear over the last
 * decay_share
 */
double nf_schedule_lr(const struct nf_schedule_arg *arg, int64_t step);

/* A run and whose sum of squares is taken here: each element of the global gradient on one rank of the world. */
struct nf_optim_run {
    const struct nf_adamw_run *run;
    bool counted;
};
/*
 * nf_optim_step: sums (device doubles [4]: norm_sq is written here; loss, mtp, aux are this rank's shares) are reduced over
 * world, decision is taken on the device, runs are updated. No host wait with a group of one; over MPI the host waits for the
 * sums. Collective  world
 */
nf_status nf_optim_step(nf_queue *queue, const nf_mesh *mesh, const struct nf_optim_run *runs, int n,
                        const struct nf_adamw_arg *arg, double clip, const struct nf_step_vars *vars, double sums[4],
                        struct nf_decision *decision);

#endif
