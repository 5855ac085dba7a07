/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c: descriptions of tensors for bulk copies. The driver's function is asked for by name: the plug-in loads without it. */
#include "maps.h"

#include "nemafit/gpu.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

static nf_status failed(const char *call, cudaError_t e)
{
    return nf_cuda_fail(NF_EDEVICE, "%s: CUDA: %s (%s)", call, cudaGetErrorString(e), cudaGetErrorName(e));
}

nf_status nf_cuda_map(CUtensorMap *map, const void *data, int64_t cols, int64_t rows, int64_t planes, int64_t row_stride,
                      int64_t plane_stride, int box_rows)
{
    const cuuint64_t dim[3] = {(cuuint64_t)cols, (cuuint64_t)rows, (cuuint64_t)planes};
    const cuuint64_t stride[2] = {(cuuint64_t)row_stride * 2, (cuuint64_t)(planes > 1 ? plane_stride : rows * row_stride) * 2};
    const cuuint32_t box[3] = {64, (cuuint32_t)box_rows, 1}, one[3] = {1, 1, 1};
    PFN_cuTensorMapEncodeTiled_v12000 encode = NULL;
    enum cudaDriverEntryPointQueryResult found;

    const cudaError_t e =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", (void **)&encode, 12000, cudaEnableDefault, &found);
    if (e != cudaSuccess || found != cudaDriverEntryPointSuccess || !encode)
        return e != cudaSuccess
                   ? failed("cudaGetDriverEntryPointByVersion", e)
                   : nf_cuda_fail(NF_EDEVICE, "the NVIDIA driver has no cuTensorMapEncodeTiled: it serves CUDA below 12.0");
    const CUresult r = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, (void *)(uintptr_t)data, dim, stride, box, one,
                              CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                              CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (r != CUDA_SUCCESS)
        return nf_cuda_fail(NF_EDEVICE, "cuTensorMapEncodeTiled: error %d for [%lld, %lld, %lld] strides %lld, %lld", (int)r,
                            (long long)planes, (long long)rows, (long long)cols, (long long)plane_stride,
                            (long long)row_stride);
    return NF_OK;
}

nf_status nf_cuda_processors(int *count)
{
    int device;
    cudaError_t e = cudaGetDevice(&device);

    if (e == cudaSuccess)
        e = cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device);
    return e == cudaSuccess ? NF_OK : failed("cudaDeviceGetAttribute", e);
}
