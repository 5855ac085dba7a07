/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.cu: the second kernel of every sum over rows: partial sums of blocks, added in a fixed order. 8 threads share a column:
 * thread j takes parts j, j + 8, ...; then the 8 sums are added in order.
 */
#include "kit.cuh"

namespace
{

enum { LANES = 8 };

struct out {
    void *data;
    bool half, accumulate;
    int64_t rows, cols, stride;
};

__global__ void __launch_bounds__(32 * LANES) finish(out g, const float *parts, int64_t count)
{
    __shared__ float sum[LANES][32];
    const int64_t n = g.rows * g.cols, j = (int64_t)blockIdx.x * 32 + threadIdx.x;
    float s = 0;

    if (j < n)
        for (int64_t p = threadIdx.y; p < count; p += LANES)
            s += parts[p * n + j];
    sum[threadIdx.y][threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y || j >= n)
        return;
#pragma unroll
    for (int k = 1; k < LANES; k++)
        s += sum[k][threadIdx.x];
    nf_grad_put(g.data, g.half, g.accumulate, j % g.rows * g.stride + j / g.rows, s);
}

} // namespace

nf_status nf_cuda_add_parts(nf_queue *q, const char *op, nf_grad g, int64_t rows, int64_t cols, const float *parts,
                            int64_t count)
{
    if (!g.t.data || rows * cols == 0)
        return NF_OK;
    const out o = {g.t.data, g.t.dtype != NF_F32, g.accumulate, rows, cols, g.t.nd == 2 ? g.t.stride[0] : 1};
    finish<<<(unsigned)nf_ceil_div(rows * cols, 32), dim3(32, LANES), 0, nf_stream(q)>>>(o, parts, count);
    return nf_launched(op);
}
