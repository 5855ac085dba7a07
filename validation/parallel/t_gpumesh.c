/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_gpumesh.c: collectives and the token exchange on memory of GPUs, by the transport that the ranks' GPUs allow: staged
 * through the host where ranks share one, NCCL where each has its own. The sums and rows wanted are those of memory of the
 * host. Skipped where there is no GPU.
 */
#include <string.h>

#include "collective_cases.h"
#include "exchange_cases.h"
#include "rank_gpu.h"
#include "tap.h"

int main(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    nf_mesh *mesh;
    int ranks;

    tap_open_mpi();
    nf_device *device = rank_gpu(comm);
    if (!device)
        return 0;
    MPI_Comm_size(comm, &ranks);
    struct world w = world_open_on(device, (size_t)192 << 20);
    need(nf_mesh_new(&comm, ranks, device, &mesh));
    const bool nccl = strncmp(nf_mesh_transport(mesh), "NCCL", 4) == 0;
    tap_note("%s", nf_mesh_transport(mesh));
    nf_mesh_free(mesh);
    /* longer than the staging of either: 64 MiB of contributions to one part, 32 MiB of an array */
    collective_cases(&w, comm, nccl ? ranks * (((int64_t)17 << 20) + 5) : ((int64_t)9 << 20) + 5);
    /* over NCCL the host waits for the ids and for the counts */
    exchange_cases(&w, comm, &(struct exchange_extent){.brief = true, .fused = true, .waits = nccl ? 2 : -1});
    world_close(&w);
    return tap_done();
}
