/* SPDX-License-Identifier: Apache-2.0 */
/* vars.c: step variables travel through a ring of pinned slots, so the host may write the next before the last was read. */
#include "engine.h"

nf_status nf_engine_vars(struct engine *e, const struct nf_step_vars *vars)
{
    int slot = e->vars_next++ % VARS_RING;

    NF_TRY(nf_event_host_wait(e->device, e->vars_used[slot]));
    e->vars_ring[slot] = *vars;
    NF_TRY(nf_copy(e->q, e->vars, &e->vars_ring[slot], sizeof *vars));
    return nf_queue_record(e->q, &e->vars_used[slot]);
}
