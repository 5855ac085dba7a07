/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm.h: the collectives on device memory that a transport offers. Called with arguments already checked, on groups that are
 * not virtual, for work that is not empty. all_reduce and all_gather are only called for groups of two and more.
 */
#ifndef NEMAFIT_MESH_COMM_H
#define NEMAFIT_MESH_COMM_H

#include "gpu_comm.h"
#include "nemafit/mesh.h"

struct nf_comm {
    const char *name;
    nf_status (*all_reduce)(nf_queue *queue, const nf_group *group, void *inout, int64_t n, nf_dtype dtype, nf_event *event);
    nf_status (*reduce_scatter)(nf_queue *queue, const nf_group *group, void *out, const void *in, int64_t n_each,
                                nf_dtype dtype, bool accumulate, nf_event *event);
    nf_status (*all_gather)(nf_queue *queue, const nf_group *group, void *out, const void *in, size_t bytes_each,
                            nf_event *event);
};

extern const struct nf_comm nf_comm_mpi;    /* host memory */
extern const struct nf_comm nf_comm_staged; /* device memory of ranks that share a GPU */
extern const struct nf_comm nf_comm_nccl;   /* device memory, a GPU a rank */

/* Communicators for world, ep and edp. Collective over world. Errors: agreed */
nf_status nf_comm_nccl_open(nf_mesh *mesh);
void nf_comm_nccl_close(nf_mesh *mesh);
/* Before each call: the group's communicator. Errors  fatal: NF_EPEER, NCCL met an error, and all communicators are aborted */
nf_status nf_comm_nccl_peers(const nf_group *group, nf_gpu_peers **peers);

/* Bytes that one rank sends: what a transport sends, and what a dry run counts. */
size_t nf_comm_all_reduce_bytes(const nf_group *group, int64_t n, nf_dtype dtype);
size_t nf_comm_reduce_scatter_bytes(const nf_group *group, int64_t n_each, nf_dtype dtype);
size_t nf_comm_all_gather_bytes(const nf_group *group, size_t bytes_each);

/* Small sums go to everybody whole, in one round. */
bool nf_comm_is_direct(const nf_group *group, int64_t n, nf_dtype dtype);

/*
 * out [n] = (accumulate: out +) sum over the ranks, beginning with rank 0's. `mine` is this rank's part; the others' lie in
 * rank order, `stride` bytes apart. bf16 is summed in fp32 and rounded once. out may be mine.
 */
void nf_comm_sum(void *out, bool accumulate, const void *mine, int rank, const void *others, size_t stride, int size, int64_t n,
                 nf_dtype dtype);

#endif
