/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_plain.cu: the experts' three products in plain fp32 arithmetic: tiles of 64 x 64, 4 x 4 a thread, 16 terms of the
 * sum in shared memory at a time. What golden comparisons in fp32 run on, and what takes shapes that the copies of the tensor
 * core kernels cannot address. Blocks take tiles in turn; groups are read on the device.
 */
#include "act.cuh"
#include "grouped_tiles.cuh"

enum { SIDE = NF_CUDA_PLAIN_TILE, TERMS = 16, EACH = 4, THREADS = 256 };

struct panel {
    float v[TERMS][SIDE + 4];
};

/* c[4][4] += sum over TERMS of a column ty and b column tx */
static __device__ __forceinline__ void multiply(float (&c)[EACH][EACH], const panel &a, const panel &b)
{
    const int ty = threadIdx.x / 16 * EACH, tx = threadIdx.x % 16 * EACH;
#pragma unroll
    for (int k = 0; k < TERMS; k++)
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++)
                c[i][j] += a.v[k][ty + i] * b.v[k][tx + j];
}

/* to.v[k][s] = from[s0 + s][k0 + k] (or from[k0 + k][s0 + s] if across), zero outside [0, s_end) x [0, k_end). */
template <typename T>
static __device__ __forceinline__ void load_panel(panel &to, const T *from, int64_t ld, bool across, int s0, int s_end, int k0,
                                                  int k_end, const float *scale)
{
    for (int i = threadIdx.x; i < SIDE * TERMS; i += THREADS) {
        const int s = across ? i % SIDE : i / TERMS, k = across ? i / SIDE : i % TERMS;
        float v = 0.0f;
        if (s0 + s < s_end && k0 + k < k_end) {
            v = nf_to_float(*(from + (across ? (int64_t)(k0 + k) * ld + s0 + s : (int64_t)(s0 + s) * ld + k0 + k)));
            if (scale)
                v *= scale[k0 + k];
        }
        to.v[k][s] = v;
    }
}

template <typename T> static __device__ __forceinline__ T *at(const struct nf_cuda_matrix &m, int row, int col)
{
    return (T *)m.data + (int64_t)row * m.ld + col;
}

template <typename T, bool DGRAD, int ACT>
static __global__ void __launch_bounds__(THREADS)
    rows_kernel(const __grid_constant__ nf_cuda_rows p, nf_cuda_operand in, nf_cuda_operand w, bool across)
{
    extern __shared__ int first[];
    __shared__ panel a, b, b_up;
    constexpr bool GATED = ACT == NF_ACT_SWIGLU || ACT == NF_ACT_SWIGLU_CLAMP, halves = !DGRAD && GATED, gates = DGRAD && GATED;
    const int ty = threadIdx.x / 16 * EACH, tx = threadIdx.x % 16 * EACH;

    tiles_number(first, p.groups, SIDE);
    const int col_tiles = (p.cols + SIDE - 1) / SIDE, tiles = first[p.groups.count] * col_tiles;
    for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
        const row_tile rows = tiles_rows(first, p.groups, t / col_tiles, SIDE);
        const int col0 = t % col_tiles * SIDE;
        const T *weight = (const T *)w.data + rows.expert * w.expert_ld, *up = weight + (across ? p.cols : p.cols * w.ld);
        float c[EACH][EACH] = {}, c_up[EACH][EACH] = {};

        for (int k = 0; k < p.depth; k += TERMS) {
            load_panel(a, (const T *)in.data, in.ld, false, rows.row, rows.end, k, p.depth, nullptr);
            load_panel(b, weight, w.ld, across, col0, p.cols, k, p.depth, nullptr);
            if (halves)
                load_panel(b_up, up, w.ld, across, col0, p.cols, k, p.depth, nullptr);
            __syncthreads();
            multiply(c, a, b);
            if (halves)
                multiply(c_up, a, b_up);
            __syncthreads();
        }
        for (int i = 0; i < EACH; i++) {
            const int r = rows.row + ty + i;
            const bool live = r < rows.end;
            const float weigh = p.row_weight && live ? p.row_weight[r] : 1.0f;
            float dot = 0.0f;
            for (int j = 0; live && j < EACH; j++) {
                const int col = col0 + tx + j;
                if (col >= p.cols)
                    break;
                float u = c[i][j], v = c_up[i][j], du, dv = 0.0f;
                if (DGRAD) {
                    const float g = u;
                    u = p.pre.data ? nf_to_float(*(at<T>(p.pre, r, col))) : g;
                    v = gates ? nf_to_float(*(at<T>(p.pre, r, p.cols + col))) : 0.0f;
                    if (p.again.data || p.dot) {
                        const float y = nf_act<ACT>(u, v, p.act.alpha, p.act.limit);
                        dot += g * y;
                        if (p.again.data)
                            *at<T>(p.again, r, col) = nf_from_float<T>(y);
                    }
                    nf_act_grad<ACT>(du, dv, weigh * g, u, v, p.act.alpha, p.act.limit);
                    *at<T>(p.out, r, col) = nf_from_float<T>(du);
                    if (gates)
                        *at<T>(p.out, r, p.cols + col) = nf_from_float<T>(dv);
                } else {
                    if (p.bias) {
                        const T *bias = (const T *)p.bias + rows.expert * p.bias_ld + col;
                        u += nf_to_float(*bias);
                        v += halves ? nf_to_float(*(bias + p.cols)) : 0.0f;
                    }
                    if (p.pre.data) {
                        *at<T>(p.pre, r, col) = nf_from_float<T>(u);
                        if (halves)
                            *at<T>(p.pre, r, p.cols + col) = nf_from_float<T>(v);
                    }
                    *at<T>(p.out, r, col) = nf_from_float<T>(weigh * nf_act<ACT>(u, v, p.act.alpha, p.act.limit));
                }
            }
            if (DGRAD && p.dot) {
                for (int d = 8; d > 0; d /= 2)
                    dot += __shfl_xor_sync(0xFFFFFFFFu, dot, d);
                if (live && tx == 0)
                    p.dot[(int64_t)(t % col_tiles) * p.rows + r] = dot;
            }
        }
    }
}

template <typename T, typename O>
static __global__ void __launch_bounds__(THREADS)
    wgrad_kernel(const __grid_constant__ nf_cuda_wgrad p, nf_cuda_operand left, nf_cuda_operand right, const float *weigh_left,
                 const float *weigh_right)
{
    extern __shared__ int head[];
    __shared__ panel a, b;
    int *next = head + p.experts;
    const int ty = threadIdx.x / 16 * EACH, tx = threadIdx.x % 16 * EACH;
    const int row_tiles = (p.m + SIDE - 1) / SIDE, col_tiles = (p.n + SIDE - 1) / SIDE, each = row_tiles * col_tiles;

    chains_build(head, next, p.groups, p.experts);
    for (int t = blockIdx.x; t < p.experts * each; t += gridDim.x) {
        const int e = t / each, row0 = t % each / col_tiles * SIDE, col0 = t % col_tiles * SIDE;
        float c[EACH][EACH] = {};
        for (int g = head[e]; g >= 0; g = next[g]) {
            const int end = p.groups.end[g] - p.groups.base;
            for (int r = p.groups.begin[g] - p.groups.base; r < end; r += TERMS) {
                load_panel(a, (const T *)left.data, left.ld, true, row0, p.m, r, end, weigh_left);
                load_panel(b, (const T *)right.data, right.ld, true, col0, p.n, r, end, weigh_right);
                __syncthreads();
                multiply(c, a, b);
                __syncthreads();
            }
        }
        for (int i = 0; i < EACH; i++)
            for (int j = 0; j < EACH; j++) {
                const int m = row0 + ty + i, n = col0 + tx + j;
                if (m >= p.m || n >= p.n)
                    continue;
                O *to = (O *)p.dw + e * p.expert_ld + m * p.ld + n;
                *to = nf_from_float<O>(p.accumulate ? nf_to_float(*to) + c[i][j] : c[i][j]);
            }
    }
}

template <typename K> static cudaError_t shared_for(K kernel, size_t bytes)
{
    return bytes <= 32768 ? cudaSuccess
                          : cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

template <typename T, bool DGRAD, int ACT>
static cudaError_t rows_launch(const struct nf_cuda_rows *p, struct nf_cuda_operand in, struct nf_cuda_operand w, bool across,
                               int blocks, cudaStream_t stream)
{
    const size_t bytes = ((size_t)p->groups.count + 1) * sizeof(int);
    const cudaError_t e = shared_for(rows_kernel<T, DGRAD, ACT>, bytes);

    if (e != cudaSuccess)
        return e;
    rows_kernel<T, DGRAD, ACT><<<blocks, THREADS, bytes, stream>>>(*p, in, w, across);
    return cudaGetLastError();
}

template <typename T, bool DGRAD>
static cudaError_t by_act(const struct nf_cuda_rows *p, struct nf_cuda_operand in, struct nf_cuda_operand w, bool across,
                          int blocks, cudaStream_t s)
{
    switch (p->act.kind) {
    case NF_ACT_NONE: return rows_launch<T, DGRAD, NF_ACT_NONE>(p, in, w, across, blocks, s);
    case NF_ACT_RELU2: return rows_launch<T, DGRAD, NF_ACT_RELU2>(p, in, w, across, blocks, s);
    case NF_ACT_SWIGLU: return rows_launch<T, DGRAD, NF_ACT_SWIGLU>(p, in, w, across, blocks, s);
    case NF_ACT_SWIGLU_CLAMP: return rows_launch<T, DGRAD, NF_ACT_SWIGLU_CLAMP>(p, in, w, across, blocks, s);
    }
    return cudaErrorInvalidValue;
}

template <typename T, typename O>
static cudaError_t wgrad_launch(const struct nf_cuda_wgrad *p, struct nf_cuda_operand left, struct nf_cuda_operand right,
                                const float *row_weight, bool weigh_right, int blocks, cudaStream_t stream)
{
    const size_t bytes = ((size_t)p->groups.count + (size_t)p->experts) * sizeof(int);
    const cudaError_t e = shared_for(wgrad_kernel<T, O>, bytes);

    if (e != cudaSuccess)
        return e;
    wgrad_kernel<T, O><<<blocks, THREADS, bytes, stream>>>(*p, left, right, weigh_right ? nullptr : row_weight,
                                                           weigh_right ? row_weight : nullptr);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_plain_forward(const struct nf_cuda_rows *p, struct nf_cuda_operand in, struct nf_cuda_operand w,
                                             bool across, bool bf16, int blocks, cudaStream_t s)
{
    return bf16 ? by_act<__nv_bfloat16, false>(p, in, w, across, blocks, s) : by_act<float, false>(p, in, w, across, blocks, s);
}

extern "C" cudaError_t nf_cuda_plain_dgrad(const struct nf_cuda_rows *p, struct nf_cuda_operand in, struct nf_cuda_operand w,
                                           bool across, bool bf16, int blocks, cudaStream_t s)
{
    return bf16 ? by_act<__nv_bfloat16, true>(p, in, w, across, blocks, s) : by_act<float, true>(p, in, w, across, blocks, s);
}

extern "C" cudaError_t nf_cuda_plain_wgrad(const struct nf_cuda_wgrad *p, struct nf_cuda_operand left,
                                           struct nf_cuda_operand right, const float *row_weight, bool weigh_right, bool bf16,
                                           int blocks, cudaStream_t s)
{
    if (bf16)
        return p->fp32 ? wgrad_launch<__nv_bfloat16, float>(p, left, right, row_weight, weigh_right, blocks, s)
                       : wgrad_launch<__nv_bfloat16, __nv_bfloat16>(p, left, right, row_weight, weigh_right, blocks, s);
    return p->fp32 ? wgrad_launch<float, float>(p, left, right, row_weight, weigh_right, blocks, s)
                   : wgrad_launch<float, __nv_bfloat16>(p, left, right, row_weight, weigh_right, blocks, s);
}
