/* SPDX-License-Identifier: Apache-2.0 */
/* cuda.h: what the device side of the plug-in shares: its device, its queue, and how an error of CUDA is told. */
#ifndef NEMAFIT_DEVICE_CUDA_H
#define NEMAFIT_DEVICE_CUDA_H

#include "nemafit/gpu.h"

#include <cuda_runtime_api.h>

struct nf_cuda_device {
    int ordinal;
};

struct nf_gpu_queue {
    cudaStream_t stream; /* first: kernels of other folders take it from here */
    struct nf_cuda_device *device;
};

extern const struct nf_gpu_device nf_cuda_device_table;

/* queue.c, as in struct nf_gpu_device */
nf_status nf_cuda_queue_new(void *device, int priority, nf_gpu_queue **queue);
void nf_cuda_queue_free(nf_gpu_queue *queue);
nf_status nf_cuda_drain(nf_gpu_queue *queue);
nf_status nf_cuda_event_new(void *device, void **event);
void nf_cuda_event_free(void *event);
nf_status nf_cuda_record(void *event, nf_gpu_queue *queue);
nf_status nf_cuda_wait(nf_gpu_queue *queue, void *event);
nf_status nf_cuda_query(void *event, bool *done);
nf_status nf_cuda_sync(void *event);
nf_status nf_cuda_moment_new(void *device, void **moment);
nf_status nf_cuda_elapsed(void *from, void *to, double *seconds);
nf_status nf_cuda_copy(nf_gpu_queue *queue, void *dst, const void *src, size_t bytes);
nf_status nf_cuda_copy_2d(nf_gpu_queue *queue, void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                          size_t rows);
nf_status nf_cuda_fill_bytes(nf_gpu_queue *queue, void *dst, int byte, size_t bytes);
nf_status nf_cuda_capture_begin(nf_gpu_queue *queue);
nf_status nf_cuda_capture_end(nf_gpu_queue *queue, void **graph);
nf_status nf_cuda_launch(void *graph, nf_gpu_queue *queue);
void nf_cuda_graph_free(void *graph);

/* Diagnosis by name and text; no memory is NF_ENOMEM, all else NF_EDEVICE. Later calls see what is sticky again. */
NF_COLD nf_status nf_cuda_failed(cudaError_t error, const char *call);

#define NF_CUDA_TRY(call)                                                                                                      \
    do {                                                                                                                       \
        cudaError_t nf_cuda_error = (call);                                                                                    \
        if (nf_cuda_error != cudaSuccess)                                                                                      \
            return nf_cuda_failed(nf_cuda_error, #call);                                                                       \
    } while (0)

#endif
