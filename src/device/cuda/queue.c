/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c: a queue is a stream that does not wait for the default one; events, copies and graphs on it. */
#include "cuda.h"

#include <stdlib.h>

nf_status nf_cuda_queue_new(void *device, int priority, nf_gpu_queue **queue)
{
    int least, greatest;
    nf_gpu_queue *q = calloc(1, sizeof *q);

    if (!q)
        return nf_cuda_fail(NF_ENOMEM, "no memory for a queue");
    q->device = device;
    cudaError_t e = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (e == cudaSuccess) /* larger is sooner with us, later with CUDA */
        e = cudaStreamCreateWithPriority(&q->stream, cudaStreamNonBlocking,
                                         least - priority > greatest ? least - priority : greatest);
    if (e != cudaSuccess) {
        free(q);
        return nf_cuda_failed(e, "cudaStreamCreateWithPriority");
    }
    *queue = q;
    return NF_OK;
}

void nf_cuda_queue_free(nf_gpu_queue *queue)
{
    cudaStreamSynchronize(queue->stream);
    cudaStreamDestroy(queue->stream);
    free(queue);
}

nf_status nf_cuda_drain(nf_gpu_queue *queue)
{
    NF_CUDA_TRY(cudaStreamSynchronize(queue->stream));
    return NF_OK;
}

nf_status nf_cuda_event_new(void *device, void **event)
{
    cudaEvent_t e;

    (void)device;
    NF_CUDA_TRY(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    *event = e;
    return NF_OK;
}

void nf_cuda_event_free(void *event)
{
    cudaEventDestroy(event);
}

nf_status nf_cuda_record(void *event, nf_gpu_queue *queue)
{
    NF_CUDA_TRY(cudaEventRecord(event, queue->stream));
    return NF_OK;
}

nf_status nf_cuda_wait(nf_gpu_queue *queue, void *event)
{
    NF_CUDA_TRY(cudaStreamWaitEvent(queue->stream, event, 0));
    return NF_OK;
}

nf_status nf_cuda_query(void *event, bool *done)
{
    cudaError_t e = cudaEventQuery(event);

    if (e != cudaSuccess && e != cudaErrorNotReady)
        return nf_cuda_failed(e, "work of a queue");
    *done = e == cudaSuccess;
    return NF_OK;
}

nf_status nf_cuda_sync(void *event)
{
    NF_CUDA_TRY(cudaEventSynchronize(event));
    return NF_OK;
}

nf_status nf_cuda_moment_new(void *device, void **moment)
{
    cudaEvent_t e;

    (void)device;
    NF_CUDA_TRY(cudaEventCreate(&e));
    *moment = e;
    return NF_OK;
}

nf_status nf_cuda_elapsed(void *from, void *to, double *seconds)
{
    float ms;
    cudaError_t e = cudaEventElapsedTime(&ms, from, to);

    if (e == cudaErrorNotReady)
        return nf_cuda_fail(NF_EBUG, "a time is asked for before it is over");
    if (e != cudaSuccess)
        return nf_cuda_failed(e, "cudaEventElapsedTime");
    *seconds = 1e-3 * (double)ms;
    return NF_OK;
}

nf_status nf_cuda_copy(nf_gpu_queue *queue, void *dst, const void *src, size_t bytes)
{
    NF_CUDA_TRY(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, queue->stream));
    return NF_OK;
}

nf_status nf_cuda_copy_2d(nf_gpu_queue *queue, void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                          size_t rows)
{
    NF_CUDA_TRY(cudaMemcpy2DAsync(dst, dst_pitch, src, src_pitch, width, rows, cudaMemcpyDefault, queue->stream));
    return NF_OK;
}

nf_status nf_cuda_fill_bytes(nf_gpu_queue *queue, void *dst, int byte, size_t bytes)
{
    NF_CUDA_TRY(cudaMemsetAsync(dst, byte, bytes, queue->stream));
    return NF_OK;
}

nf_status nf_cuda_capture_begin(nf_gpu_queue *queue)
{
    NF_CUDA_TRY(cudaStreamBeginCapture(queue->stream, cudaStreamCaptureModeRelaxed));
    return NF_OK;
}

nf_status nf_cuda_capture_end(nf_gpu_queue *queue, void **graph)
{
    cudaGraph_t captured;
    cudaGraphExec_t runnable;

    NF_CUDA_TRY(cudaStreamEndCapture(queue->stream, &captured));
    cudaError_t e = cudaGraphInstantiate(&runnable, captured, 0);
    cudaGraphDestroy(captured);
    if (e != cudaSuccess)
        return nf_cuda_failed(e, "cudaGraphInstantiate");
    *graph = runnable;
    return NF_OK;
}

nf_status nf_cuda_launch(void *graph, nf_gpu_queue *queue)
{
    NF_CUDA_TRY(cudaGraphLaunch(graph, queue->stream));
    return NF_OK;
}

void nf_cuda_graph_free(void *graph)
{
    cudaGraphExecDestroy(graph);
}
