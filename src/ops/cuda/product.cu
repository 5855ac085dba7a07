/* SPDX-License-Identifier: Apache-2.0 */
/* product.cu: products of any mixture of types over cuBLASLt (gemm.h), and the plain kernel for what it refuses. */
#include "kit.cuh"

extern "C" {
#include "gemm.h"
}

namespace
{

enum { TILE = 64, DEEP = 16 };

/* A block of 16 x 16 threads makes 64 x 64 of d, a thread 4 x 4 of it; operands go through shared memory in fp32. */
template <typename T, typename D> __global__ void __launch_bounds__(256) plain(const nf_gemm g)
{
    __shared__ float as[DEEP][TILE + 1], bs[DEEP][TILE + 1];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int64_t i0 = (int64_t)blockIdx.y * TILE, j0 = (int64_t)blockIdx.x * TILE;
    const T *a = (const T *)g.a, *b = (const T *)g.b;
    float sum[4][4] = {};

    for (int64_t k0 = 0; k0 < g.k; k0 += DEEP) {
        for (int x = threadIdx.x; x < TILE * DEEP; x += 256) {
            /* neighbouring threads read neighbouring elements, whichever way an operand lies */
            const int ia = g.trans_a ? x % TILE : x / DEEP, ka = g.trans_a ? x / TILE : x % DEEP;
            const int jb = g.trans_b ? x / DEEP : x % TILE, kb = g.trans_b ? x % DEEP : x / TILE;
            const int64_t i = i0 + ia, ki = k0 + ka, j = j0 + jb, kj = k0 + kb;
            as[ka][ia] = i < g.m && ki < g.k ? nf_to_float(a[g.trans_a ? ki * g.lda + i : i * g.lda + ki]) : 0.0f;
            bs[kb][jb] = j < g.n && kj < g.k ? nf_to_float(b[g.trans_b ? j * g.ldb + kj : kj * g.ldb + j]) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEEP; k++)
#pragma unroll
            for (int r = 0; r < 4; r++)
#pragma unroll
                for (int c = 0; c < 4; c++)
                    sum[r][c] += as[k][ty + 16 * r] * bs[k][tx + 16 * c];
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const int64_t i = i0 + ty + 16 * r, j = j0 + tx + 16 * c;
            if (i < g.m && j < g.n)
                ((D *)g.d)[i * g.ldd + j] =
                    nf_from_float<D>(sum[r][c] + (g.c ? nf_to_float(((const D *)g.c)[i * g.ldc + j]) : 0.0f));
        }
}

/* d = x (+ c), rounded */
__global__ void __launch_bounds__(256)
    narrow(bf16 *d, int64_t ldd, const bf16 *c, int64_t ldc, const float *x, int64_t m, int64_t n)
{
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < m * n; i += (int64_t)gridDim.x * 256) {
        const int64_t row = i / n, col = i % n;
        d[row * ldd + col] = __float2bfloat16_rn(x[i] + (c ? __bfloat162float(c[row * ldc + col]) : 0.0f));
    }
}

/* d = c or 0: a product over nothing */
template <typename D> __global__ void __launch_bounds__(256) empty(const nf_gemm g)
{
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < g.m * g.n; i += (int64_t)gridDim.x * 256) {
        const int64_t row = i / g.n, col = i % g.n;
        ((D *)g.d)[row * g.ldd + col] = g.c ? ((const D *)g.c)[row * g.ldc + col] : nf_from_float<D>(0.0f);
    }
}

/* One product of a batch */
nf_gemm single(const nf_gemm &batch, int64_t i)
{
    const size_t in = batch.type == NF_F32 ? 4 : 2, out = batch.out == NF_F32 ? 4 : 2;
    nf_gemm g = batch;

    g.a = (const char *)g.a + i * g.stride_a * in;
    g.b = (const char *)g.b + i * g.stride_b * in;
    g.c = g.c ? (const char *)g.c + i * g.stride_c * out : NULL;
    g.d = (char *)g.d + i * g.stride_d * out;
    g.batch = 1;
    return g;
}

} // namespace

extern "C" nf_status nf_cuda_gemm(nf_queue *q, const char *op, const struct nf_gemm *g, void *workspace)
{
    bool done = false;

    if (g->m == 0 || g->n == 0)
        return NF_OK;
    if (g->k > 0) {
        const nf_status s = nf_cuda_lt((void *)nf_stream(q), op, g, workspace, &done);
        if (s || done)
            return s;
    }
    for (int64_t i = 0; i < (g->batch > 1 ? g->batch : 1); i++) {
        const nf_gemm one = single(*g, i);
        if (g->k == 0) {
            const auto kernel = g->out == NF_F32 ? empty<float> : empty<bf16>;
            kernel<<<nf_blocks(g->m * g->n, 256), 256, 0, nf_stream(q)>>>(one);
        }
        const nf_status s = g->k == 0 ? nf_launched(op) : nf_cuda_plain_gemm(q, op, &one);
        if (s)
            return s;
    }
    return NF_OK;
}

extern "C" nf_status nf_cuda_plain_gemm(nf_queue *q, const char *op, const struct nf_gemm *g)
{
    const dim3 grid((unsigned)nf_ceil_div(g->n, TILE), (unsigned)nf_ceil_div(g->m, TILE));
    const auto kernel = g->type == NF_F32  ? g->out == NF_F32 ? plain<float, float> : plain<float, bf16>
                         : g->out == NF_F32 ? plain<bf16, float>
                                           : plain<bf16, bf16>;
    kernel<<<grid, 256, 0, nf_stream(q)>>>(*g);
    return nf_launched(op);
}

extern "C" nf_status nf_cuda_product(nf_queue *q, const char *op, nf_out d, nf_in c, nf_in a, bool trans_a, nf_in b,
                                     bool trans_b, struct nf_carving scratch)
{
    const bool mixed = a->dtype != b->dtype;
    nf_gemm g = {};
    nf_tensor wide;

    g.m = d->dim[0];
    g.n = d->dim[1];
    g.k = trans_a ? a->dim[0] : a->dim[1];
    g.trans_a = trans_a;
    g.trans_b = trans_b;
    NF_CARVE(&scratch, char, workspace, NF_CUDA_GEMM_WORKSPACE);
    if (mixed) {
        nf_in half = a->dtype == NF_BF16 ? a : b;
        NF_CARVE(&scratch, float, copy, half->dim[0] * half->dim[1]);
        wide = {copy, NF_F32, 2, {half->dim[0], half->dim[1], 0}, {half->dim[1], 0}};
        const nf_status s = nf_cuda_cast(q, &wide, half);
        if (s)
            return s;
        (half == a ? a : b) = &wide;
    }
    g.a = a->data;
    g.lda = a->stride[0];
    g.b = b->data;
    g.ldb = b->stride[0];
    g.type = a->dtype;
    if (d->dtype == NF_F32 || g.type == NF_BF16) {
        g.c = c ? c->data : NULL;
        g.ldc = c ? c->stride[0] : 0;
        g.d = d->data;
        g.ldd = d->stride[0];
        g.out = d->dtype;
        return nf_cuda_gemm(q, op, &g, workspace);
    }
    NF_CARVE(&scratch, float, result, g.m *g.n);
    g.d = result;
    g.ldd = g.n;
    g.out = NF_F32;
    const nf_status s = nf_cuda_gemm(q, op, &g, workspace);
    if (s || g.m * g.n == 0)
        return s;
    narrow<<<nf_blocks(g.m * g.n, 256), 256, 0, nf_stream(q)>>>((bf16 *)d->data, d->stride[0], c ? (const bf16 *)c->data : NULL,
                                                                c ? c->stride[0] : 0, result, g.m, g.n);
    return nf_launched(op);
}
