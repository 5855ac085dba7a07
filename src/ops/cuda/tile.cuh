/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tile.cuh: 64 x 64 tiles of matrix products whose operands are made as they are loaded: acc[r][c] += sum_k a(r, k) b(c, k),
 * with a and b functions of row and k that read, scale and mask. A block of 128 threads makes one tile. bf16 operands meet on
 * tensor cores (mma.m16n8k16, fp32 sums), fp32 ones in plain multiply-adds; a thread owns the same elements in both, so what is
 * done with a tile is written once:
 *
 *     warp w, lane 4 g + t:   rows 16 w + g and 16 w + g + 8,  columns 8 j + 2 t and 8 j + 2 t + 1,  j = 0..7
 *
 * The order of a sum depends on K alone.
 */
#ifndef NEMAFIT_OPS_CUDA_TILE_CUH
#define NEMAFIT_OPS_CUDA_TILE_CUH

#include "kit.cuh"

enum { NF_TILE = 64, NF_TILE_K = 32, NF_TILE_THREADS = 128 };

/* Rows of both operands as they meet; the padding spreads the rows of a fragment over all banks. */
template <typename T> struct nf_tile_space {
    static constexpr int PITCH = NF_TILE_K + (sizeof(T) == 2 ? 8 : 4);
    alignas(16) T a[NF_TILE * PITCH];
    alignas(16) T b[NF_TILE * PITCH];
};

struct nf_tile {
    float v[8][4]; /* [j][2 * (second row) + (second column)] */
};

__device__ __forceinline__ int nf_tile_row(int second)
{
    return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * second;
}
__device__ __forceinline__ int nf_tile_col(int j, int second)
{
    return 8 * j + threadIdx.x % 4 * 2 + second;
}

__device__ __forceinline__ void nf_tile_zero(nf_tile &c)
{
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c.v[j][i] = 0.0f;
}

/* f(row, column, element) for each element of the tile that this thread owns */
template <typename F> __device__ __forceinline__ void nf_tile_each(nf_tile &c, F f)
{
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            f(nf_tile_row(i / 2), nf_tile_col(j, i % 2), c.v[j][i]);
}

/* Sum over columns of f(row, column, element), for the thread's two rows, given to the four threads that share them. */
template <typename F> __device__ __forceinline__ void nf_tile_row_sums(const nf_tile &c, float (&sum)[2], F f)
{
    sum[0] = sum[1] = 0.0f;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum[i / 2] += f(nf_tile_row(i / 2), nf_tile_col(j, i % 2), c.v[j][i]);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
        sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    }
}

__device__ __forceinline__ uint32_t nf_pair(const bf16 *p)
{
    return *reinterpret_cast<const uint32_t *>(p);
}

__device__ __forceinline__ void nf_tile_step(nf_tile &c, const nf_tile_space<bf16> &s)
{
    constexpr int P = nf_tile_space<bf16>::PITCH;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
#pragma unroll
    for (int k = 0; k < NF_TILE_K; k += 16) {
        const bf16 *a = s.a + nf_tile_row(0) * P + k + t;
        const uint32_t a0 = nf_pair(a), a1 = nf_pair(a + 8 * P), a2 = nf_pair(a + 8), a3 = nf_pair(a + 8 * P + 8);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const bf16 *b = s.b + (8 * j + g) * P + k + t;
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                         "{%0, %1, %2, %3};"
                         : "+f"(c.v[j][0]), "+f"(c.v[j][1]), "+f"(c.v[j][2]), "+f"(c.v[j][3])
                         : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(nf_pair(b)), "r"(nf_pair(b + 8)));
        }
    }
}

__device__ __forceinline__ void nf_tile_step(nf_tile &c, const nf_tile_space<float> &s)
{
    constexpr int P = nf_tile_space<float>::PITCH;
    const float *a = s.a + nf_tile_row(0) * P;
#pragma unroll 4
    for (int k = 0; k < NF_TILE_K; k++) {
        const float a0 = a[k], a1 = a[8 * P + k];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float *b = s.b + nf_tile_col(j, 0) * P + k;
            const float b0 = b[0], b1 = b[P];
            c.v[j][0] += a0 * b0;
            c.v[j][1] += a0 * b1;
            c.v[j][2] += a1 * b0;
            c.v[j][3] += a1 * b1;
        }
    }
}

/* Which index runs over neighbouring addresses where an operand is read from. */
enum nf_tile_order { NF_ALONG_K, NF_ALONG_ROWS };

template <enum nf_tile_order ORDER, typename T, typename F>
__device__ __forceinline__ void nf_tile_fill(T *s, int k0, int k1, F f)
{
    constexpr int P = nf_tile_space<T>::PITCH;
#pragma unroll 4
    for (int i = threadIdx.x; i < NF_TILE * NF_TILE_K; i += NF_TILE_THREADS) {
        const int k = ORDER == NF_ALONG_K ? i % NF_TILE_K : i / NF_TILE;
        const int r = ORDER == NF_ALONG_K ? i / NF_TILE_K : i % NF_TILE;
        s[r * P + k] = nf_from_float<T>(k0 + k < k1 ? f(r, k0 + k) : 0.0f);
    }
}

/* c += sum over k in [k0, k1) of a(row, k) b(column, k). All threads of the block; a and b give 0 beyond the matrix. */
template <enum nf_tile_order ORDER_A, enum nf_tile_order ORDER_B, typename T, typename A, typename B>
__device__ __forceinline__ void nf_tile_product(nf_tile &c, nf_tile_space<T> &s, int k0, int k1, A a, B b)
{
    for (int k = k0; k < k1; k += NF_TILE_K) {
        __syncthreads(); /* the space may still be read */
        nf_tile_fill<ORDER_A>(s.a, k, k1, a);
        nf_tile_fill<ORDER_B>(s.b, k, k1, b);
        __syncthreads();
        nf_tile_step(c, s);
    }
}

#endif
