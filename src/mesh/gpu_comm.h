/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_comm.h: what the plug-in does for the mesh on device memory. All functions only enqueue, but for those of a
 * communicator's life. NCCL wants a GPU a rank; ranks that share one are served by the program over MPI (comm_staged.c) and
 * need the kernels alone.
 */
#ifndef NEMAFIT_MESH_GPU_COMM_H
#define NEMAFIT_MESH_GPU_COMM_H

#include "nemafit/gpu.h"

typedef struct nf_gpu_peers nf_gpu_peers; /* a communicator over one group, with staging of its own */

struct nf_gpu_comm {
    /* out[0..n) = first, first + step, ... */
    nf_status (*ramp)(nf_gpu_queue *queue, int32_t *out, int64_t n, int32_t first, int32_t step);
    /* As nf_comm_sum(), on device memory, the same bits. */
    nf_status (*sum)(nf_gpu_queue *queue, void *out, bool accumulate, const void *mine, int rank, const void *others,
                     size_t stride, int size, int64_t n, nf_dtype dtype);

    /* A communicator: rank 0 of the group makes an id of id_bytes, the program carries it to the others, all open. */
    size_t id_bytes;
    nf_status (*id)(void *bytes);
    nf_status (*open)(void *device, const void *id, int size, int rank, nf_gpu_peers **peers);
    void (*close)(nf_gpu_peers *peers);
    /* NF_EPEER if the library met an error since: looked at before each collective. */
    nf_status (*check)(nf_gpu_peers *peers);
    nf_status (*all_reduce)(nf_gpu_peers *peers, nf_gpu_queue *queue, void *inout, int64_t n, nf_dtype dtype);
    nf_status (*reduce_scatter)(nf_gpu_peers *peers, nf_gpu_queue *queue, void *out, const void *in, int64_t n_each,
                                nf_dtype dtype, bool accumulate);
    nf_status (*all_gather)(nf_gpu_peers *peers, nf_gpu_queue *queue, void *out, const void *in, size_t bytes_each);
};

#endif
