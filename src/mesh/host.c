/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectives of small things on host memory, at start-up and at step boundaries. All are started nonblocking and polled, so
 * that what is pending on queues goes on meanwhile, and a rank that waits long gives its core away.
 */
#include "beat.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static nf_status finish(const nf_group *group, MPI_Request *request, size_t bytes)
{
    return nf_mpi_wait(group->mesh, request, bytes >= (size_t)1 << 20);
}

nf_status nf_bcast(const nf_group *group, int root, void *bytes, size_t n)
{
    const size_t most = (size_t)1 << 30;

    NF_CHECK(root >= 0 && root < group->size);
    nf_beat_call(group, NF_CALL_BCAST);
    if (nf_group_alone(group))
        return NF_OK;
    for (size_t at = 0; at < n; at += most) {
        size_t some = n - at < most ? n - at : most;
        MPI_Request request;
        NF_MPI(MPI_Ibcast((char *)bytes + at, (int)some, MPI_BYTE, root, group->comm, &request));
        NF_TRY(finish(group, &request, some));
    }
    return NF_OK;
}

nf_status nf_bcast_blob(const nf_group *group, int root, void **bytes, size_t *n)
{
    if (nf_group_alone(group))
        return NF_OK;
    bool is_root = group->rank == root;
    uint64_t size = is_root ? *n : 0;
    NF_TRY(nf_bcast(group, root, &size, sizeof size));
    void *blob = is_root ? *bytes : malloc(size > 0 ? size : 1);
    int64_t failed = !blob && !is_root;
    NF_TRY(nf_reduce_i64(group, &failed, 1, NF_MAX)); /* nobody sends to who has no memory */
    if (failed) {
        if (!is_root)
            free(blob);
        return nf_fail(NF_ENOMEM, "no memory for %llu bytes from rank %d", (unsigned long long)size, root);
    }
    nf_status s = nf_bcast(group, root, blob, size);
    if (is_root)
        return s;
    if (s != NF_OK) {
        free(blob);
        return s;
    }
    *bytes = blob;
    *n = size;
    return NF_OK;
}

nf_status nf_barrier(const nf_group *group)
{
    MPI_Request request;

    nf_beat_call(group, NF_CALL_BARRIER);
    if (nf_group_alone(group))
        return NF_OK;
    NF_MPI(MPI_Ibarrier(group->comm, &request));
    return finish(group, &request, 0);
}

static MPI_Op op_of(enum nf_reduce how)
{
    return how == NF_SUM ? MPI_SUM : how == NF_MAX ? MPI_MAX : MPI_MIN;
}

nf_status nf_reduce_i64(const nf_group *group, int64_t *inout, int n, enum nf_reduce how)
{
    MPI_Request request;

    NF_CHECK(n >= 0);
    nf_beat_call(group, NF_CALL_REDUCE);
    if (nf_group_alone(group) || n == 0)
        return NF_OK;
    NF_MPI(MPI_Iallreduce(MPI_IN_PLACE, inout, n, MPI_INT64_T, op_of(how), group->comm, &request));
    return finish(group, &request, 0);
}

nf_status nf_reduce_i64_start(const nf_group *group, int64_t *inout, int n, enum nf_reduce how, nf_event *event)
{
    struct nf_op *op;

    NF_CHECK(n >= 0);
    nf_beat_call(group, NF_CALL_REDUCE);
    *event = NF_DONE;
    if (nf_group_alone(group) || n == 0)
        return NF_OK;
    NF_TRY(nf_op_new(group->mesh, 1, 0, &op));
    NF_MPI(MPI_Iallreduce(MPI_IN_PLACE, inout, n, MPI_INT64_T, op_of(how), group->comm, nf_op_request(op)));
    return nf_op_start(op, NULL, event);
}

/* NaN wins, whatever its place. */
static double more(double a, double b, enum nf_reduce how)
{
    if (how == NF_SUM)
        return a + b;
    if (isnan(a) || isnan(b))
        return a + b;
    return how == NF_MAX ? fmax(a, b) : fmin(a, b);
}

/* MPI may add in any order; so the numbers are gathered and every rank adds them in rank order. */
static nf_status reduce_piece(const nf_group *group, double *inout, int n, enum nf_reduce how, double *all)
{
    MPI_Request request;

    NF_MPI(MPI_Iallgather(inout, n, MPI_DOUBLE, all, n, MPI_DOUBLE, group->comm, &request));
    NF_TRY(finish(group, &request, 0));
    for (int i = 0; i < n; i++) {
        double sum = all[i];
        for (int r = 1; r < group->size; r++)
            sum = more(sum, all[(size_t)r * (size_t)n + (size_t)i], how);
        inout[i] = sum;
    }
    return NF_OK;
}

nf_status nf_reduce_f64(const nf_group *group, double *inout, int n, enum nf_reduce how)
{
    const int most = 4096;
    struct nf_op *op;
    nf_status s = NF_OK;

    NF_CHECK(n >= 0);
    nf_beat_call(group, NF_CALL_REDUCE);
    if (nf_group_alone(group) || n == 0)
        return NF_OK;
    NF_TRY(nf_op_new(group->mesh, 0, (size_t)(n < most ? n : most) * (size_t)group->size * sizeof *inout, &op));
    for (int at = 0; at < n && s == NF_OK; at += most)
        s = reduce_piece(group, inout + at, n - at < most ? n - at : most, how, (double *)(void *)op->staging);
    nf_op_drop(op);
    return s;
}

nf_status nf_gather_bytes(const nf_group *group, const void *mine, size_t each, void *all)
{
    char *here = (char *)all + (size_t)group->rank * each;
    MPI_Datatype type = MPI_BYTE;
    MPI_Request request;

    nf_beat_call(group, NF_CALL_GATHER);
    if (mine != here && each > 0)
        memmove(here, mine, each);
    if (nf_group_alone(group) || each == 0)
        return NF_OK;
    if (each > INT_MAX)
        NF_TRY(nf_mpi_bytes_type(each, &type));
    int count = type == MPI_BYTE ? (int)each : 1;
    NF_MPI(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, count, type, group->comm, &request));
    NF_TRY(finish(group, &request, each));
    if (type != MPI_BYTE)
        NF_MPI(MPI_Type_free(&type));
    return NF_OK;
}
