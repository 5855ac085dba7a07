/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_gpumesh.c: collectives and the token exchange on memory of GPUs, by the transport that the ranks' GPUs allow: staged
 * through the host where ranks share one, NCCL where each has its own. The sums and rows wanted are those of memory of the
 * host. Skipped where there is no GPU.
 */
#include <stdio.h>
#include <string.h>

#include "collective_cases.h"
#include "exchange_cases.h"
#include "tap.h"

/* The GPU of this rank's number on its node, which may be another rank's too; NULL: none, and why is told. */
static nf_device *gpu(MPI_Comm comm)
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

int main(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    nf_mesh *mesh;
    int ranks;

    tap_open_mpi();
    nf_device *device = gpu(comm);
    if (!device)
        return 0;
    MPI_Comm_size(comm, &ranks);
    struct world w = world_open_on(device, (size_t)64 << 20);
    need(nf_mesh_new(&comm, ranks, device, &mesh));
    const bool nccl = strncmp(nf_mesh_transport(mesh), "NCCL", 4) == 0;
    tap_note("%s", nf_mesh_transport(mesh));
    nf_mesh_free(mesh);
    /* longer than the staging of either: 64 MiB of contributions to one part, 32 MiB of an array */
    collective_cases(&w, comm, nccl ? ranks * (((int64_t)17 << 20) + 5) : ((int64_t)9 << 20) + 5);
    /* over NCCL the host waits for the ids and for the counts */
    exchange_cases(&w, comm, &(struct exchange_extent){.brief = true, .waits = nccl ? 2 : -1});
    world_close(&w);
    return tap_done();
}
