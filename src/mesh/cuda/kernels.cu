/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.cu: numbers in a row, and sums over ranks in rank order: element by element the additions of ../sum.c. */
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "comm.h"
}

namespace
{

cudaStream_t stream_of(nf_gpu_queue *queue)
{
    return *(cudaStream_t *)queue; /* its first member: gpu.h */
}

nf_status launched(const char *what)
{
    const cudaError_t e = cudaGetLastError();
    return e == cudaSuccess ? NF_OK : nf_cuda_fail(NF_EDEVICE, "%s: CUDA: %s", what, cudaGetErrorString(e));
}

unsigned blocks_for(int64_t n)
{
    const int64_t b = (n + 255) / 256;
    return (unsigned)(b < 1 ? 1 : b > 2112 ? 2112 : b);
}

__global__ void __launch_bounds__(256) ramp(int32_t *out, int64_t n, int32_t first, int32_t step)
{
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < n; i += (int64_t)gridDim.x * 256)
        out[i] = first + (int32_t)i * step;
}

template <typename W> __device__ W widen(W x)
{
    return x;
}
__device__ float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}
template <typename T, typename W> struct narrowing {
    static __device__ T of(W x)
    {
        return x;
    }
};
template <> struct narrowing<__nv_bfloat16, float> {
    static __device__ __nv_bfloat16 of(float x)
    {
        return __float2bfloat16_rn(x);
    }
};

template <typename T, typename W>
__global__ void __launch_bounds__(256)
    sum_ranks(T *out, bool accumulate, const T *mine, int rank, const char *others, size_t stride, int size, int64_t n)
{
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < n; i += (int64_t)gridDim.x * 256) {
        W sum = 0;
        for (int r = 0; r < size; r++) {
            const T *from = r == rank ? mine : (const T *)(others + (size_t)(r < rank ? r : r - 1) * stride);
            sum = r == 0 ? widen(from[i]) : sum + widen(from[i]);
        }
        out[i] = narrowing<T, W>::of(accumulate ? widen(out[i]) + sum : sum);
    }
}

} // namespace

extern "C" nf_status nf_cuda_ramp(nf_gpu_queue *queue, int32_t *out, int64_t n, int32_t first, int32_t step)
{
    if (n == 0)
        return NF_OK;
    ramp<<<blocks_for(n), 256, 0, stream_of(queue)>>>(out, n, first, step);
    return launched("ramp");
}

extern "C" nf_status nf_cuda_sum_ranks(nf_gpu_queue *queue, void *out, bool accumulate, const void *mine, int rank,
                                       const void *others, size_t stride, int size, int64_t n, nf_dtype dtype)
{
    const cudaStream_t s = stream_of(queue);
    const char *o = (const char *)others;
    if (n == 0)
        return NF_OK;
    const unsigned b = blocks_for(n);
    switch (dtype) {
    case NF_F32:
        sum_ranks<float, float><<<b, 256, 0, s>>>((float *)out, accumulate, (const float *)mine, rank, o, stride, size, n);
        break;
    case NF_F64:
        sum_ranks<double, double><<<b, 256, 0, s>>>((double *)out, accumulate, (const double *)mine, rank, o, stride, size, n);
        break;
    case NF_I32:
        sum_ranks<int32_t, int32_t>
            <<<b, 256, 0, s>>>((int32_t *)out, accumulate, (const int32_t *)mine, rank, o, stride, size, n);
        break;
    default:
        sum_ranks<__nv_bfloat16, float>
            <<<b, 256, 0, s>>>((__nv_bfloat16 *)out, accumulate, (const __nv_bfloat16 *)mine, rank, o, stride, size, n);
    }
    return launched("sum over ranks");
}
