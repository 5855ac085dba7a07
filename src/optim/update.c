/* SPDX-License-Identifier: Apache-2.0 */
/*
 * update.c: norm, decision, update, all on the queue: the squared norm and the losses are reduced in one small collective, a
 * kernel decides, and the update reads the decision. The host learns of it later.
 */
#include "nemafit/optim.h"

nf_status nf_optim_step(nf_queue *q, const nf_mesh *mesh, const struct nf_optim_run *runs, int n,
                        const struct nf_adamw_arg *arg, double clip, const struct nf_step_vars *vars, double sums[4],
                        struct nf_decision *decision)
{
    nf_event reduced;

    for (int i = 0; i < n; i++)
        if (runs[i].counted)
            NF_TRY(nf_sumsq(q, &sums[0], &runs[i].run->g));
    NF_TRY(nf_all_reduce(q, nf_mesh_group(mesh, NF_WORLD), sums, 4, NF_F64, &reduced));
    NF_TRY(nf_queue_wait(q, reduced));
    NF_TRY(nf_decide(q, decision, sums, clip));
    for (int i = 0; i < n; i++)
        NF_TRY(nf_adamw(q, runs[i].run, arg, vars, decision));
    return NF_OK;
}
