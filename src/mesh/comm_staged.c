/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_staged.c: collectives on device memory over MPI, through pinned memory of the host: for ranks that share a GPU. They
 * wait for their queue and block the host; bits are those of comm_mpi.c. Long arrays go in pieces, so that the staging stays
 * small.
 */
#include "comm.h"
#include "private.h"

enum { PIECE = 32 << 20 }; /* bytes of one array in staging */

/* Two arrays of a piece each, taken at first use. */
static nf_status staging(nf_mesh *mesh, char **first, char **second)
{
    if (!mesh->pinned)
        NF_TRY(nf_device_alloc_pinned(mesh->device, 2 * PIECE, "staging of collectives", &mesh->pinned));
    *first = mesh->pinned;
    *second = *first + PIECE;
    return NF_OK;
}

static nf_status down(nf_queue *queue, void *host, const void *device, size_t bytes)
{
    NF_TRY(nf_copy(queue, host, device, bytes));
    return nf_queue_drain(queue);
}

/* The staging is free again when this returns. */
static nf_status up(nf_queue *queue, void *device, const void *host, size_t bytes)
{
    NF_TRY(nf_copy(queue, device, host, bytes));
    return nf_queue_drain(queue);
}

static nf_status all_reduce(nf_queue *queue, const nf_group *group, void *inout, int64_t n, nf_dtype dtype, nf_event *event)
{
    const int64_t each = (int64_t)nf_dtype_size(dtype), most = PIECE / each;
    char *host, *unused;
    nf_event summed;

    *event = NF_DONE;
    NF_TRY(staging(group->mesh, &host, &unused));
    for (int64_t at = 0; at < n; at += most) {
        const int64_t m = n - at < most ? n - at : most;
        char *piece = (char *)inout + at * each;
        NF_TRY(down(queue, host, piece, (size_t)(m * each)));
        NF_TRY(nf_comm_mpi.all_reduce(queue, group, host, m, dtype, &summed));
        NF_TRY(nf_event_host_wait(group->mesh->device, summed));
        NF_TRY(up(queue, piece, host, (size_t)(m * each)));
    }
    return NF_OK;
}

/* Piece by piece of every rank's part: the parts of one piece lie dense in staging. */
static nf_status reduce_scatter(nf_queue *queue, const nf_group *group, void *out, const void *in, int64_t n_each,
                                nf_dtype dtype, bool accumulate, nf_event *event)
{
    const int64_t each = (int64_t)nf_dtype_size(dtype), size = group->size;
    const int64_t most = PIECE / each / size > 0 ? PIECE / each / size : 1;
    char *host, *sum;
    nf_event summed;

    *event = NF_DONE;
    NF_CHECK(size * each <= PIECE);
    NF_TRY(staging(group->mesh, &host, &sum));
    for (int64_t at = 0; at < n_each; at += most) {
        const int64_t m = n_each - at < most ? n_each - at : most;
        const size_t bytes = (size_t)(m * each);
        NF_TRY(nf_copy_2d(queue, host, bytes, (const char *)in + at * each, (size_t)(n_each * each), bytes, (size_t)size));
        if (accumulate)
            NF_TRY(nf_copy(queue, sum, (const char *)out + at * each, bytes));
        NF_TRY(nf_queue_drain(queue));
        NF_TRY(nf_comm_mpi.reduce_scatter(queue, group, sum, host, m, dtype, accumulate, &summed));
        NF_TRY(nf_event_host_wait(group->mesh->device, summed));
        NF_TRY(up(queue, (char *)out + at * each, sum, bytes));
    }
    return NF_OK;
}

static nf_status all_gather(nf_queue *queue, const nf_group *group, void *out, const void *in, size_t bytes_each,
                            nf_event *event)
{
    const size_t size = (size_t)group->size, most = PIECE / size;
    char *host, *mine;
    nf_event gathered;

    *event = NF_DONE;
    NF_CHECK(most > 0);
    NF_TRY(staging(group->mesh, &host, &mine));
    for (size_t at = 0; at < bytes_each; at += most) {
        const size_t m = bytes_each - at < most ? bytes_each - at : most;
        NF_TRY(down(queue, mine, (const char *)in + at, m));
        NF_TRY(nf_comm_mpi.all_gather(queue, group, host, mine, m, &gathered));
        NF_TRY(nf_event_host_wait(group->mesh->device, gathered));
        for (size_t r = 0; r < size; r++) /* one's own part is there already */
            if ((int)r != group->rank)
                NF_TRY(nf_copy(queue, (char *)out + r * bytes_each + at, host + r * m, m));
        NF_TRY(nf_queue_drain(queue));
    }
    return NF_OK;
}

const struct nf_comm nf_comm_staged = {
    .name = "MPI (device memory staged through the host)",
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
};
