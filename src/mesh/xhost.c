/* SPDX-License-Identifier: Apache-2.0 */
/* xhost.c: the exchange over MPI where rows lie in memory of the host. It waits for the counts and blocks nowhere else. */
#include "exchange.h"

static nf_status commit(nf_exchange *x, nf_arena *run)
{
    struct nf_taker from = {run, NF_LOW, "exchange staging", NF_OK};

    nf_x_take_packed(x, &from);
    x->counts = nf_x_take(&from, x->most.counts);
    return from.status;
}

static nf_status counts(nf_queue *queue, nf_xplan *plan, nf_event *event)
{
    (void)queue;
    return nf_xcounts_start(plan, event);
}

static nf_status out(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    (void)queue;
    return nf_xmpi_out(t, &t->x->at.in[t->turn], &t->x->at.packed[t->turn], event);
}

static nf_status back(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    (void)queue;
    return nf_xmpi_back(t, &t->x->at.home[t->turn], event);
}

const struct nf_xtransport nf_x_host = {
    .name = "MPI",
    .host_counts = true,
    .commit = commit,
    .counts = counts,
    .slices = nf_xcounts_slices,
    .out = out,
    .back = back,
};
