/* SPDX-License-Identifier: Apache-2.0 */
/* rank_gpu.c: see rank_gpu.h. */
#include "rank_gpu.h"

#include <stdio.h>
#include <string.h>

nf_device *rank_gpu(MPI_Comm comm)
{
    MPI_Comm node;
    nf_device *device = NULL;
    int rank, on_node, none;

    MPI_Comm_rank(comm, &rank);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &on_node);
    MPI_Comm_free(&node);
    none = nf_device_cuda(on_node, 1, &device) != NF_OK;
    MPI_Allreduce(MPI_IN_PLACE, &none, 1, MPI_INT, MPI_MAX, comm);
    if (!none)
        return device;
    const char *why = device ? "another rank has no GPU" : nf_diagnosis();
    if (rank == 0)
        printf("1..0 # SKIP %.*s\n", (int)strcspn(why, "\n"), why);
    return NULL;
}
