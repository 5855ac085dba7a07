/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPI's errors as ours, counts beyond int, and waiting. MPI 3.1 has no large counts: more than INT_MAX bytes travel as one
 * element of a nested type. While the host waits it moves every pending operation of the mesh on: another rank may need that
 * to get where this one waits for it.
 */
#define _GNU_SOURCE
#include "private.h"

#include "nemafit/log.h"

#include <limits.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

nf_status nf_mpi_status(int rc, const char *call)
{
    if (rc == MPI_SUCCESS)
        return NF_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    MPI_Error_string(rc, text, &length);
    return nf_fail(NF_EPEER, "%.*s: %s", (int)strcspn(call, "("), call, text);
}

nf_status nf_mpi_bytes_type(size_t bytes, MPI_Datatype *type)
{
    const size_t block = (size_t)1 << 20;
    size_t blocks = bytes / block, rest = bytes % block;
    MPI_Datatype one, many, pair;

    NF_CHECK(blocks > 0 && blocks <= INT_MAX);
    NF_MPI(MPI_Type_contiguous((int)block, MPI_BYTE, &one));
    NF_MPI(MPI_Type_contiguous((int)blocks, one, &many));
    NF_MPI(MPI_Type_free(&one));
    if (rest > 0) {
        int counts[2] = {1, (int)rest};
        MPI_Aint places[2] = {0, (MPI_Aint)(blocks * block)};
        MPI_Datatype types[2] = {many, MPI_BYTE};
        NF_MPI(MPI_Type_create_struct(2, counts, places, types, &pair));
        NF_MPI(MPI_Type_free(&many));
        many = pair;
    }
    NF_MPI(MPI_Type_commit(&many));
    *type = many;
    return NF_OK;
}

nf_status nf_mpi_wait(nf_mesh *mesh, MPI_Request *request, bool eager)
{
    const double patience = 0.02; /* then a core is given to who needs it: others may load files for minutes */
    double begin = nf_seconds(), now = begin;

    for (;;) {
        int done;
        NF_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (done)
            break;
        nf_op_poll(mesh);
        now = nf_seconds();
        if (eager || now - begin < patience)
            sched_yield();
        else
            usleep(now - begin < 10 * patience ? 100 : 1000);
    }
    mesh->traffic.wait_seconds += nf_seconds() - begin;
    return NF_OK;
}
