/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectives on queues: what is the same for every transport. Conditions are checked and bytes counted once, here; a dry queue
 * and a virtual mesh stop after that.
 */
#include "beat.h"
#include "comm.h"

#include <string.h>

static bool can_sum(nf_dtype t)
{
    return t == NF_F32 || t == NF_F64 || t == NF_BF16 || t == NF_I32;
}

static bool only_counted(nf_queue *queue, const nf_group *group)
{
    return nf_queue_is_dry(queue) || group->mesh->is_virtual;
}

static void count(nf_queue *queue, uint64_t *traffic, size_t bytes)
{
    *traffic += bytes;
    nf_queue_count_sent(queue, (double)bytes);
}

nf_status nf_all_reduce(nf_queue *queue, const nf_group *group, void *inout, int64_t n, nf_dtype dtype, nf_event *event)
{
    NF_CHECK(n >= 0 && can_sum(dtype));
    nf_beat_call(group, NF_CALL_ALL_REDUCE);
    *event = NF_DONE;
    if (group->size == 1 || n == 0)
        return NF_OK;
    count(queue, &group->mesh->traffic.reduce, nf_comm_all_reduce_bytes(group, n, dtype));
    if (only_counted(queue, group))
        return NF_OK;
    return group->mesh->comm->all_reduce(queue, group, inout, n, dtype, event);
}

nf_status nf_reduce_scatter(nf_queue *queue, const nf_group *group, void *out, const void *in, int64_t n_each, nf_dtype dtype,
                            bool accumulate, nf_event *event)
{
    NF_CHECK(n_each >= 0 && can_sum(dtype));
    nf_beat_call(group, NF_CALL_REDUCE_SCATTER);
    *event = NF_DONE;
    if (n_each == 0)
        return NF_OK;
    count(queue, &group->mesh->traffic.reduce, nf_comm_reduce_scatter_bytes(group, n_each, dtype));
    if (only_counted(queue, group))
        return NF_OK;
    return group->mesh->comm->reduce_scatter(queue, group, out, in, n_each, dtype, accumulate, event);
}

nf_status nf_all_gather(nf_queue *queue, const nf_group *group, void *out, const void *in, size_t bytes_each, nf_event *event)
{
    nf_beat_call(group, NF_CALL_ALL_GATHER);
    *event = NF_DONE;
    if (bytes_each == 0)
        return NF_OK;
    count(queue, &group->mesh->traffic.gather, nf_comm_all_gather_bytes(group, bytes_each));
    if (only_counted(queue, group))
        return NF_OK;
    char *mine = (char *)out + (size_t)group->rank * bytes_each;
    if (mine != in)
        NF_TRY(nf_copy(queue, mine, in, bytes_each));
    return group->size == 1 ? NF_OK : group->mesh->comm->all_gather(queue, group, out, in, bytes_each, event);
}
