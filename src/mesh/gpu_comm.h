/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_comm.h: what the plug-in does for the mesh on device memory. All functions only enqueue, but for those of a
 * communicator's life. NCCL wants a GPU a rank; ranks that share one are served by the program over MPI (comm_staged.c) and
 * need the kernels alone.
 */
#ifndef NEMAFIT_MESH_GPU_COMM_H
#define NEMAFIT_MESH_GPU_COMM_H

#include "gpu_window.h"
#include "nemafit/gpu.h"

typedef struct nf_gpu_peers nf_gpu_peers; /* a communicator over one group, with staging for its sums */

enum { NF_GPU_STAGING = 64 << 20 }; /* bytes */

/* Rows of a chunk's tokens, with side bands [., k] (NULL: none) and ids [., k], into the order in which they travel. */
enum { NF_GPU_SEGMENTS = 64 };
struct nf_gpu_gather {
    const void *rows; /* of token0, `stride` bytes apart, `row` bytes each */
    size_t stride, row;
    const float *side;
    const int32_t *ids;
    const int32_t *list; /* tokens; NULL: segments name rows themselves */
    int64_t token0;
    int k;
    void *out_rows; /* dense */
    float *out_side;
    int32_t *out_ids;
    int segments;
    struct nf_gpu_segment {
        int32_t from, to, rows; /* of the list; of the output */
    } segment[NF_GPU_SEGMENTS];
};

struct nf_gpu_message {
    void *data;
    size_t bytes;
    int peer;
};

struct nf_gpu_comm {
    /* out[0..n) = first, first + step, ... */
    nf_status (*ramp)(nf_gpu_queue *queue, int32_t *out, int64_t n, int32_t first, int32_t step);
    /* As nf_comm_sum(), on device memory, the same bits. */
    nf_status (*sum)(nf_gpu_queue *queue, void *out, bool accumulate, const void *mine, int rank, const void *others,
                     size_t stride, int size, int64_t n, nf_dtype dtype);
    nf_status (*gather)(nf_gpu_queue *queue, const struct nf_gpu_gather *gather);
    /* ids [n] of all experts become numbers among those from `first` on, -1 the others. */
    nf_status (*localize)(nf_gpu_queue *queue, int32_t *ids, int64_t n, int32_t first, int32_t experts);

    /* A communicator: rank 0 of the group makes an id of id_bytes, the program carries it to the others, all open. */
    size_t id_bytes;
    nf_status (*id)(void *bytes);
    nf_status (*open)(void *device, const void *id, int size, int rank, nf_gpu_peers **peers);
    void (*close)(nf_gpu_peers *peers);
    /* NF_GPU_STAGING bytes for sums, until close(). Who was lent none takes them at its first sum. */
    void (*lend)(nf_gpu_peers *peers, void *staging);
    /* NF_EPEER if the library met an error since: asked before each call, and while the host waits. */
    nf_status (*check)(nf_gpu_peers *peers);
    /* Ends what is under way, whose results are void, and waits for nobody; only close() may follow. */
    void (*abort)(nf_gpu_peers *peers);
    nf_status (*all_reduce)(nf_gpu_peers *peers, nf_gpu_queue *queue, void *inout, int64_t n, nf_dtype dtype);
    nf_status (*reduce_scatter)(nf_gpu_peers *peers, nf_gpu_queue *queue, void *out, const void *in, int64_t n_each,
                                nf_dtype dtype, bool accumulate);
    nf_status (*all_gather)(nf_gpu_peers *peers, nf_gpu_queue *queue, void *out, const void *in, size_t bytes_each);
    /* All at once; those between two ranks are matched by their order. */
    nf_status (*exchange)(nf_gpu_peers *peers, nf_gpu_queue *queue, const struct nf_gpu_message *out, int outs,
                          const struct nf_gpu_message *in, int ins);

    /* Windows. A handle of handle_bytes says where this rank's memory lies; the program carries it to ranks of the node, which
     * open it once and close it before its owner gives the memory back. NF_EDEVICE: this GPU cannot reach that memory. The
     * kernels wait for the same call of all ranks of the group; a wait beyond its limit ends all work of the device. */
    size_t handle_bytes;
    nf_status (*window_export)(void *device, void *memory, void *handle);
    nf_status (*window_open)(void *device, const void *handle, void **memory);
    void (*window_close)(void *device, void *memory);
    nf_status (*window_out)(nf_gpu_queue *queue, const struct nf_gpu_windows *windows, const struct nf_gpu_trip *trip);
    nf_status (*window_back)(nf_gpu_queue *queue, const struct nf_gpu_windows *windows, const struct nf_gpu_trip *trip);
};

#endif
