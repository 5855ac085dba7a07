/* SPDX-License-Identifier: Apache-2.0 */
/* beat.h: collectives as the watchdog sees them: numbered and named. One call at the head of each. */
#ifndef NEMAFIT_MESH_BEAT_H
#define NEMAFIT_MESH_BEAT_H

#include "private.h"

enum nf_call {
    NF_CALL_NONE,
    NF_CALL_BCAST,
    NF_CALL_BARRIER,
    NF_CALL_REDUCE,
    NF_CALL_GATHER,
    NF_CALL_ALL_REDUCE,
    NF_CALL_REDUCE_SCATTER,
    NF_CALL_ALL_GATHER,
    NF_CALL_COUNTS,
    NF_CALL_OUT,
    NF_CALL_BACK
};
/* "all_reduce over world" */
const char *nf_call_name(enum nf_call call);
const char *nf_axis_name(enum nf_axis axis);

void nf_beat_call(const nf_group *group, enum nf_call call);
/* Number of the collective begun last, 0 without a watchdog. Seconds that a kernel may wait for a peer: longer than the
 * watchdog waits in any section. */
uint64_t nf_beat_number(const nf_mesh *mesh);
double nf_beat_patience(const nf_mesh *mesh);

#endif
