/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_sums.cu: what is added up beside the experts' products: gradients of the routing weights from the column tiles'
 * parts, gradients of biases; and rows times their weights, for gradients of weights on tensor cores. All sums in fixed order.
 */
#include "grouped_tiles.cuh"

#include "kit.cuh"

enum { WARPS = 8, COLS = 32, LANES = 8, SPLIT = 32 };

/* blockIdx: x group, y a share of its rows; a warp takes a row. */
template <typename T>
static __global__ void row_dots(float *out, const float *dot, int parts, int rows, nf_cuda_groups groups, nf_cuda_operand dy,
                                int n, const T *bias, int64_t bias_ld)
{
    const int g = blockIdx.x, end = groups.end[g] - groups.base, lane = threadIdx.x % 32;

    for (int r = groups.begin[g] - groups.base + (int)(blockIdx.y * WARPS + threadIdx.x / 32); r < end;
         r += (int)gridDim.y * WARPS) {
        float sum = 0.0f;
        for (int j = lane; j < parts; j += 32)
            sum += dot[(int64_t)j * rows + r];
        for (int c = lane; bias && c < n; c += 32)
            sum += nf_to_float(*((const T *)dy.data + r * dy.ld + c)) * nf_to_float(*(bias + groups.expert[g] * bias_ld + c));
        sum = nf_warp_sum(sum);
        if (lane == 0)
            out[r] = sum;
    }
}

/* A block takes COLS columns of one expert; LANES rows at a time, then the lanes' sums in order. */
template <typename T, typename O>
static __global__ void group_sums(O *out, int64_t ld, bool accumulate, int n, nf_cuda_groups groups, nf_cuda_operand dy,
                                  const float *row_weight)
{
    __shared__ float sums[LANES][COLS];
    const int e = blockIdx.y, x = threadIdx.x % COLS, y = threadIdx.x / COLS, col = (int)blockIdx.x * COLS + x;
    float sum = 0.0f;

    for (int g = 0; g < groups.count; g++) {
        if (groups.expert[g] != e)
            continue;
        const int end = groups.end[g] - groups.base;
        for (int r = groups.begin[g] - groups.base + y; col < n && r < end; r += LANES)
            sum += (row_weight ? row_weight[r] : 1.0f) * nf_to_float(*((const T *)dy.data + r * dy.ld + col));
    }
    sums[y][x] = sum;
    __syncthreads();
    if (y > 0 || col >= n)
        return;
    for (int i = 1; i < LANES; i++)
        sum += sums[i][x];
    O *to = out + e * ld + col;
    if (accumulate)
        sum += nf_to_float(*to);
    *to = (O)sum;
}

static __global__ void weigh_rows(__nv_bfloat16 *to, nf_cuda_operand from, int n, nf_cuda_groups groups,
                                  const float *row_weight)
{
    const int g = blockIdx.x, end = groups.end[g] - groups.base;

    for (int r = groups.begin[g] - groups.base + (int)(blockIdx.y * WARPS + threadIdx.x / 32); r < end;
         r += (int)gridDim.y * WARPS) {
        const __nv_bfloat162 *x = (const __nv_bfloat162 *)((const __nv_bfloat16 *)from.data + r * from.ld);
        __nv_bfloat162 *y = (__nv_bfloat162 *)(to + (int64_t)r * n);
        const float by = row_weight[r];
        for (int c = threadIdx.x % 32; c < n / 2; c += 32) {
            const float2 v = __bfloat1622float2(x[c]);
            y[c] = __floats2bfloat162_rn(v.x * by, v.y * by);
        }
    }
}

extern "C" cudaError_t nf_cuda_row_dots(float *out, const float *dot, int parts, int rows, const struct nf_cuda_groups *groups,
                                        struct nf_cuda_operand dy, int n, const void *bias, int64_t bias_ld, bool bf16,
                                        cudaStream_t s)
{
    const dim3 grid((unsigned)groups->count, SPLIT);

    if (groups->count == 0)
        return cudaSuccess;
    if (bf16)
        row_dots<<<grid, WARPS * 32, 0, s>>>(out, dot, parts, rows, *groups, dy, n, (const __nv_bfloat16 *)bias, bias_ld);
    else
        row_dots<<<grid, WARPS * 32, 0, s>>>(out, dot, parts, rows, *groups, dy, n, (const float *)bias, bias_ld);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_group_sums(void *out, int64_t ld, bool fp32, bool accumulate, int experts, int n,
                                          const struct nf_cuda_groups *groups, struct nf_cuda_operand dy,
                                          const float *row_weight, bool bf16, cudaStream_t s)
{
    const dim3 grid((unsigned)((n + COLS - 1) / COLS), (unsigned)experts);
    const int threads = COLS * LANES;

    if (experts == 0 || n == 0)
        return cudaSuccess;
    if (bf16 && fp32)
        group_sums<__nv_bfloat16, float><<<grid, threads, 0, s>>>((float *)out, ld, accumulate, n, *groups, dy, row_weight);
    else if (bf16)
        group_sums<__nv_bfloat16, __nv_bfloat16>
            <<<grid, threads, 0, s>>>((__nv_bfloat16 *)out, ld, accumulate, n, *groups, dy, row_weight);
    else if (fp32)
        group_sums<float, float><<<grid, threads, 0, s>>>((float *)out, ld, accumulate, n, *groups, dy, row_weight);
    else
        group_sums<float, __nv_bfloat16>
            <<<grid, threads, 0, s>>>((__nv_bfloat16 *)out, ld, accumulate, n, *groups, dy, row_weight);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_weigh_rows(void *to, struct nf_cuda_operand from, int n, const struct nf_cuda_groups *groups,
                                          const float *row_weight, cudaStream_t s)
{
    if (groups->count)
        weigh_rows<<<dim3((unsigned)groups->count, SPLIT), WARPS * 32, 0, s>>>((__nv_bfloat16 *)to, from, n, *groups,
                                                                               row_weight);
    return cudaGetLastError();
}
