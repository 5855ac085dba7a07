/* SPDX-License-Identifier: Apache-2.0 */
/* comm.h: what the plug-in's side of the mesh shares. */
#ifndef NEMAFIT_MESH_CUDA_COMM_H
#define NEMAFIT_MESH_CUDA_COMM_H

#include "../gpu_comm.h"

nf_status nf_cuda_ramp(nf_gpu_queue *queue, int32_t *out, int64_t n, int32_t first, int32_t step);
nf_status nf_cuda_sum_ranks(nf_gpu_queue *queue, void *out, bool accumulate, const void *mine, int rank, const void *others,
                            size_t stride, int size, int64_t n, nf_dtype dtype);
nf_status nf_cuda_gather(nf_gpu_queue *queue, const struct nf_gpu_gather *gather);
nf_status nf_cuda_localize(nf_gpu_queue *queue, int32_t *ids, int64_t n, int32_t first, int32_t experts);

nf_status nf_cuda_peers_id(void *bytes);
nf_status nf_cuda_peers_open(void *device, const void *id, int size, int rank, nf_gpu_peers **peers);
void nf_cuda_peers_close(nf_gpu_peers *peers);
void nf_cuda_peers_lend(nf_gpu_peers *peers, void *staging);
nf_status nf_cuda_peers_check(nf_gpu_peers *peers);
void nf_cuda_peers_abort(nf_gpu_peers *peers);
nf_status nf_cuda_peers_all_reduce(nf_gpu_peers *peers, nf_gpu_queue *queue, void *inout, int64_t n, nf_dtype dtype);
nf_status nf_cuda_peers_reduce_scatter(nf_gpu_peers *peers, nf_gpu_queue *queue, void *out, const void *in, int64_t n_each,
                                       nf_dtype dtype, bool accumulate);
nf_status nf_cuda_peers_all_gather(nf_gpu_peers *peers, nf_gpu_queue *queue, void *out, const void *in, size_t bytes_each);
nf_status nf_cuda_peers_exchange(nf_gpu_peers *peers, nf_gpu_queue *queue, const struct nf_gpu_message *out, int outs,
                                 const struct nf_gpu_message *in, int ins);

enum { NF_CUDA_WINDOW_HANDLE_BYTES = 72 };
nf_status nf_cuda_window_export(void *device, void *memory, void *handle);
nf_status nf_cuda_window_open(void *device, const void *handle, void **memory);
void nf_cuda_window_close(void *device, void *memory);
int nf_cuda_window_load(void); /* an error of CUDA, or 0 */
nf_status nf_cuda_window_out(nf_gpu_queue *queue, const struct nf_gpu_windows *windows, const struct nf_gpu_trip *trip);
nf_status nf_cuda_window_back(nf_gpu_queue *queue, const struct nf_gpu_windows *windows, const struct nf_gpu_trip *trip);

#endif
