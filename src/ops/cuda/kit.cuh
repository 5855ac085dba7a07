/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kit.cuh: what all kernels share: the stream of a queue, errors, element types, packs of 16 bytes, sums over a warp and a
 * block in a fixed order.
 *
 * Types: arithmetic is in fp32 (double where said); fp32 and bf16 are read and written through nf_to_float and nf_from_float,
 * which rounds to nearest even. Launchers choose the instance by NF_BY_TYPE.
 * Bits: no float atomics anywhere. What is summed across threads is summed in an order that shapes alone decide.
 */
#ifndef NEMAFIT_OPS_CUDA_KIT_CUH
#define NEMAFIT_OPS_CUDA_KIT_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

extern "C" {
#include "layout.h"
#include "nemafit/gpu.h"
#include "sizes.h"
#include "slots.h"
}

typedef __nv_bfloat16 bf16;

/* ---- launching --------------------------------------------------------------------------------------------------------- */

static inline cudaStream_t nf_stream(nf_queue *q)
{
    return *(cudaStream_t *)nf_cuda_host->queue(q); /* its first member: gpu.h */
}

/* After a launch: a wrong configuration shows here; an error inside a kernel at the next wait. */
static inline nf_status nf_launched(const char *op)
{
    cudaError_t e = cudaGetLastError();
    return e == cudaSuccess ? NF_OK
                            : nf_cuda_fail(NF_EDEVICE, "%s: CUDA: %s (%s)", op, cudaGetErrorString(e), cudaGetErrorName(e));
}

/* Bytes for a kernel from the call's scratch; the sizes of sizes.h are held to it. */
#define NF_CARVE(carving, type, name, count)                                                                                   \
    type *name = (type *)nf_carve(carving, (size_t)(count) * sizeof(type));                                                    \
    if (!name)                                                                                                                 \
    return nf_cuda_fail(NF_EBUG, "%s:%d: more scratch than the size function promised", __FILE__, __LINE__)

/* Call f<T>(...) for T = float or bf16. */
#define NF_BY_TYPE(dtype, f, ...) ((dtype) == NF_F32 ? f<float>(__VA_ARGS__) : f<bf16>(__VA_ARGS__))

/* f<T, W>(...) for activations of one type and parameters of another */
#define NF_BY_TYPES(t, w, f, ...)                                                                                              \
    ((t) == NF_F32 ? ((w) == NF_F32 ? f<float, float>(__VA_ARGS__) : f<float, bf16>(__VA_ARGS__))                              \
                   : ((w) == NF_F32 ? f<bf16, float>(__VA_ARGS__) : f<bf16, bf16>(__VA_ARGS__)))

/* Dynamic shared memory beyond 48 KiB has to be asked for. Nothing waits: this is no work of a stream. */
#define NF_SHARED(op, kernel, bytes)                                                                                           \
    do {                                                                                                                       \
        if ((bytes) > 227 * 1024)                                                                                              \
            return nf_cuda_fail(NF_EBUG, "%s: a row is too wide for shared memory", op);                                       \
        if ((bytes) > 48 * 1024)                                                                                               \
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes));                           \
    } while (0)

/* Blocks of a kernel that walks `n` items with stride loops: enough to fill the GPU, no more than there is work. */
static inline unsigned nf_blocks(int64_t n, int64_t per_block)
{
    const int64_t b = nf_ceil_div(n, per_block), most = 132 * 16;
    return (unsigned)(b < 1 ? 1 : b > most ? most : b);
}

/* ---- element types ----------------------------------------------------------------------------------------------------- */

__device__ __forceinline__ float nf_to_float(float x)
{
    return x;
}
__device__ __forceinline__ float nf_to_float(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ float nf_to_float(__half x)
{
    return __half2float(x);
}

template <typename T> __device__ __forceinline__ T nf_from_float(float x);
template <> __device__ __forceinline__ float nf_from_float<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 nf_from_float<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ __half nf_from_float<__half>(float x)
{
    return __float2half_rn(x);
}

/* V elements that are read and written at once, in pieces of 16 bytes. */
template <typename T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) nf_pack {
    T v[V];
};
template <int V, typename T> __device__ __forceinline__ nf_pack<T, V> nf_load(const T *p)
{
    return *reinterpret_cast<const nf_pack<T, V> *>(p);
}
template <int V, typename T> __device__ __forceinline__ void nf_store(T *p, const nf_pack<T, V> &x)
{
    *reinterpret_cast<nf_pack<T, V> *>(p) = x;
}
template <int V, typename T> __device__ __forceinline__ void nf_load_floats(float (&out)[V], const T *p)
{
    const nf_pack<T, V> x = nf_load<V>(p);
#pragma unroll
    for (int i = 0; i < V; i++)
        out[i] = nf_to_float(x.v[i]);
}
template <int V, typename T> __device__ __forceinline__ void nf_store_floats(T *p, const float (&x)[V])
{
    nf_pack<T, V> y;
#pragma unroll
    for (int i = 0; i < V; i++)
        y.v[i] = nf_from_float<T>(x[i]);
    nf_store<V>(p, y);
}

/* Whether the rows of a tensor can be walked in packs of v elements. A NULL tensor can. */
static inline bool nf_packable(nf_in t, int v)
{
    if (!t)
        return true;
    const int64_t unit = t->dtype == NF_F32 || t->dtype == NF_I32   ? 4
                         : t->dtype == NF_I64 || t->dtype == NF_F64 ? 8
                         : t->dtype == NF_U8                        ? 1
                                                                    : 2;
    bool ok = (uintptr_t)t->data % (uintptr_t)(unit * v < 16 ? unit * v : 16) == 0 && t->dim[t->nd - 1] % v == 0;
    for (int i = 0; i + 1 < t->nd; i++)
        ok = ok && t->stride[i] % v == 0;
    return ok;
}

/* A matrix whose rows may lie apart, as kernels take it; of NULL: no data. */
template <typename T> struct nf_strided {
    T *data;
    int64_t stride;
};
template <typename T> nf_strided<T> nf_strided_of(nf_in t)
{
    return t ? nf_strided<T>{(T *)t->data, t->stride[0]} : nf_strided<T>{NULL, 0};
}

/* ---- sums -------------------------------------------------------------------------------------------------------------- */

template <typename S> __device__ __forceinline__ S nf_warp_sum(S x)
{
#pragma unroll
    for (int d = 16; d > 0; d >>= 1)
        x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}

/* Sum over the block's THREADS threads, given to all of them. Every thread must call it. */
template <int THREADS, typename S> __device__ __forceinline__ S nf_block_sum(S x)
{
    constexpr int WARPS = THREADS / 32;
    __shared__ S part[WARPS];
    x = nf_warp_sum(x);
    if (WARPS == 1)
        return x;
    __syncthreads(); /* part may still be read by an earlier sum */
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = x;
    __syncthreads();
    S sum = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++)
        sum += part[i];
    return sum;
}

/* FAST: with the special-function unit's exponential and quotient, for results
 * that are rounded to bf16. */
template <bool FAST = false> __device__ __forceinline__ float nf_sigmoid(float x)
{
    return FAST ? __fdividef(1.0f, 1.0f + __expf(-x)) : 1.0f / (1.0f + expf(-x));
}
template <bool FAST = false> __device__ __forceinline__ float nf_silu(float x)
{
    return x * nf_sigmoid<FAST>(x);
}
/* s (1 + x (1 - s)), with 1 - s = sigmoid(-x) free of cancellation, unless fast */
template <bool FAST = false> __device__ __forceinline__ float nf_silu_grad(float x)
{
    const float s = nf_sigmoid<FAST>(x);
    return s * (1.0f + x * (FAST ? 1.0f - s : nf_sigmoid(-x)));
}

/* ---- gradients of parameters ----------------------------------------------------------------------------------------------
 */

__device__ __forceinline__ void nf_grad_put(void *data, bool half, bool accumulate, int64_t i, float x)
{
    if (half) {
        bf16 *p = (bf16 *)data + i;
        *p = __float2bfloat16_rn(accumulate ? __bfloat162float(*p) + x : x);
    } else {
        float *p = (float *)data + i;
        *p = accumulate ? *p + x : x;
    }
}

/*
 * parts.cu: g (a vector or matrix of rows x cols elements) = or += the sum of parts [count][cols][rows] in ascending order of
 * the parts: element (r, c) is column c * rows + r of a part. A vector has cols = 1.
 */
nf_status nf_cuda_add_parts(nf_queue *q, const char *op, nf_grad g, int64_t rows, int64_t cols, const float *parts,
                            int64_t count);

#endif
