/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_wgrad.cu: gradients of the experts' weights on tensor cores. The sum runs over the rows of an expert's groups, one
 * group after another in the order of the array, in steps of 64; both operands are read across their rows. A group's last step
 * brings rows that are not its own: they are overwritten with zeros in shared memory before the product.
 */
#include "grouped_tiles.cuh"
#include "strips.cuh"

enum { THREADS = 384 };

template <int NB> struct shape {
    static constexpr int WIDTH = NB * NF_BOX_COLS, BOX = 64 * NF_BOX_ROW;
    static constexpr int STAGE = (2 + NB) * BOX, STAGES = NB == 2 ? 6 : NB == 3 ? 5 : 4;
    static constexpr int BARS = STAGES * STAGE, HEAD = BARS + 128, NEXT = HEAD + NF_CUDA_EXPERTS_MOST * 4;
    static constexpr int BYTES = NEXT + NF_CUDA_GROUPS_MOST * 4 + 1024;
    static_assert(BYTES <= 232448, "shared memory of a block");
};

struct place {
    int expert, row, col; /* of dw */
};
static __device__ __forceinline__ place place_of(const struct nf_cuda_wgrad &p, int tile, int row_tiles, int col_tiles,
                                                 int width)
{
    const int each = row_tiles * col_tiles, expert = tile / each, in = tile - expert * each;
    return {expert, in % row_tiles * NF_CUDA_TILE_ROWS, in / row_tiles * width};
}

/* Zeros over rows [valid, 64) of a box; the threads of a warpgroup. */
static __device__ __forceinline__ void clear_rows(uint32_t box, int valid)
{
    for (int i = threadIdx.x % 128; i < (64 - valid) * 8; i += 128)
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(box + valid * NF_BOX_ROW + i * 16), "r"(0) : "memory");
}

/* What is added to is fetched several strips at once: its latency would cost as much as a short sum. */
template <int NB>
static __device__ __forceinline__ void store_half(const struct nf_cuda_wgrad &p, const place &at, int row,
                                                  const float (&d)[NB * 32])
{
    enum { AT_ONCE = 2 };
    const struct nf_cuda_matrix m = {(__nv_bfloat16 *)p.dw + at.expert * p.expert_ld, p.ld, p.vec};

#pragma unroll
    for (int from = 0; from < 2 * NB; from += AT_ONCE) {
        words old[AT_ONCE][2];
        if (p.accumulate) {
#pragma unroll
            for (int n = 0; n < AT_ONCE * 2; n++)
                old[n / 2][n % 2] = load_words(m, row + 8 * (n % 2), at.col + 32 * (from + n / 2), p.n,
                                               from + n / 2 < 2 * NB && row + 8 * (n % 2) < p.m);
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE * 2; n++) {
            if (from + n / 2 >= 2 * NB)
                break;
            strip s = strip_of(d, from + n / 2, n % 2);
            if (p.accumulate) {
                const strip before = strip_from(old[n / 2][n % 2]);
#pragma unroll
                for (int e = 0; e < 8; e++)
                    s.x[e] += before.x[e];
            }
            store_strip(m, row + 8 * (n % 2), at.col + 32 * (from + n / 2), p.n, row + 8 * (n % 2) < p.m, s);
        }
    }
}

template <int NB>
static __device__ __forceinline__ void store_float(const struct nf_cuda_wgrad &p, const place &at, int row,
                                                   const float (&d)[NB * 32])
{
    enum { AT_ONCE = 4 };
    float *dw = (float *)p.dw + at.expert * p.expert_ld;
    const int lane = 2 * (threadIdx.x & 3);

#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int from = 0; from < NB * 8; from += AT_ONCE) {
            float2 x[AT_ONCE];
#pragma unroll
            for (int n = 0; n < AT_ONCE; n++) {
                const int col = at.col + 8 * (from + n) + lane;
                const float *old = dw + (int64_t)(row + 8 * i) * p.ld + col;
                x[n] = make_float2(d[4 * (from + n) + 2 * i], d[4 * (from + n) + 2 * i + 1]);
                if (!p.accumulate || row + 8 * i >= p.m || col >= p.n)
                    continue;
                if (p.vec) {
                    const float2 o = *(const float2 *)old;
                    x[n].x += o.x, x[n].y += o.y;
                } else {
                    x[n].x += old[0], x[n].y += col + 1 < p.n ? old[1] : 0.0f;
                }
            }
#pragma unroll
            for (int n = 0; n < AT_ONCE; n++) {
                const int col = at.col + 8 * (from + n) + lane;
                float *to = dw + (int64_t)(row + 8 * i) * p.ld + col;
                if (row + 8 * i >= p.m || col >= p.n)
                    continue;
                if (p.vec) {
                    *(float2 *)to = x[n];
                } else {
                    to[0] = x[n].x;
                    if (col + 1 < p.n)
                        to[1] = x[n].y;
                }
            }
        }
}

template <int NB>
static __global__ void __launch_bounds__(THREADS, 1)
    wgrad_kernel(const __grid_constant__ nf_cuda_wgrad p, const __grid_constant__ CUtensorMap ma,
                 const __grid_constant__ CUtensorMap mb)
{
    using S = shape<NB>;
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u, full = base + S::BARS, empty = full + 8 * S::STAGES;
    int *head = (int *)(raw + (base - shared_address(raw)) + S::HEAD), *next = head + NF_CUDA_EXPERTS_MOST;
    const int role = threadIdx.x / 128;
    const int row_tiles = (p.m + NF_CUDA_TILE_ROWS - 1) / NF_CUDA_TILE_ROWS, col_tiles = (p.n + S::WIDTH - 1) / S::WIDTH;
    const int tiles = p.experts * row_tiles * col_tiles;
    int stage = 0;
    uint32_t phase = 0;

    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 8);
        }
        barrier_init_done();
    }
    chains_build(head, next, p.groups, p.experts);

    if (role == 0) {
        registers_give<40>();
        if (threadIdx.x != 0)
            return;
        for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
            const place at = place_of(p, t, row_tiles, col_tiles, S::WIDTH);
            for (int g = head[at.expert]; g >= 0; g = next[g]) {
                const int end = p.groups.end[g] - p.groups.base;
                for (int r = p.groups.begin[g] - p.groups.base; r < end; r += NF_CUDA_TILE_STEP) {
                    const uint32_t bar = full + 8 * stage, to = base + stage * S::STAGE;
                    barrier_wait(empty + 8 * stage, phase ^ 1);
                    barrier_expect(bar, S::STAGE);
#pragma unroll
                    for (int j = 0; j < 2 + NB; j++)
                        load_box(to + j * S::BOX, j < 2 ? &ma : &mb, bar,
                                 j < 2 ? at.row + j * NF_BOX_COLS : at.col + (j - 2) * NF_BOX_COLS, r, 0);
                    if (++stage == S::STAGES)
                        stage = 0, phase ^= 1;
                }
            }
        }
    } else {
        registers_take<232>();
        const int t128 = threadIdx.x % 128, half = role - 1;
        float d[S::WIDTH / 2];

        for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
            const place at = place_of(p, t, row_tiles, col_tiles, S::WIDTH);
            int last = -1;
            for (int g = head[at.expert]; g >= 0; g = next[g]) {
                const int end = p.groups.end[g] - p.groups.base;
                for (int r = p.groups.begin[g] - p.groups.base; r < end; r += NF_CUDA_TILE_STEP) {
                    const uint32_t a = base + stage * S::STAGE + half * S::BOX, b = base + stage * S::STAGE + 2 * S::BOX;
                    barrier_wait(full + 8 * stage, phase);
                    if (end - r < NF_CUDA_TILE_STEP) {
                        clear_rows(a, end - r);
#pragma unroll
                        for (int j = 0; j < NB; j++) /* the other half does the same: same zeros */
                            clear_rows(b + j * S::BOX, end - r);
                        fence_stores();
                        meet(1 + half, 128);
                    }
                    products_begin();
#pragma unroll
                    for (int j = 0; j < NF_CUDA_TILE_STEP / 16; j++)
                        wgmma<S::WIDTH>::template ss<1, 1>(d, operand(a + 16 * NF_BOX_ROW * j, S::BOX),
                                                           operand(b + 16 * NF_BOX_ROW * j, S::BOX), last >= 0 || j > 0);
                    products_commit();
                    products_wait<1>();
                    if (last >= 0 && t128 % 32 == 0)
                        barrier_arrive(empty + 8 * last);
                    last = stage;
                    if (++stage == S::STAGES)
                        stage = 0, phase ^= 1;
                }
            }
            products_wait<0>();
            hold(d);
            if (last >= 0 && t128 % 32 == 0)
                barrier_arrive(empty + 8 * last);
            if (last < 0 && p.accumulate)
                continue;
            if (last < 0) {
#pragma unroll
                for (int e = 0; e < S::WIDTH / 2; e++)
                    d[e] = 0.0f;
            }
            const int row = at.row + half * 64 + t128 / 32 * 16 + t128 % 32 / 4;
            if (p.fp32)
                store_float<NB>(p, at, row, d);
            else
                store_half<NB>(p, at, row, d);
        }
    }
}

template <int NB>
static cudaError_t launch(const struct nf_cuda_wgrad *p, const CUtensorMap *a, const CUtensorMap *b, int blocks,
                          cudaStream_t stream)
{
    const cudaError_t e =
        cudaFuncSetAttribute((const void *)wgrad_kernel<NB>, cudaFuncAttributeMaxDynamicSharedMemorySize, shape<NB>::BYTES);
    if (e != cudaSuccess)
        return e;
    wgrad_kernel<NB><<<blocks, THREADS, shape<NB>::BYTES, stream>>>(*p, *a, *b);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_rows_wgrad(const struct nf_cuda_wgrad *p, const CUtensorMap *a, const CUtensorMap *b, int width,
                                          int blocks, cudaStream_t s)
{
    switch (width) {
    case 128: return launch<2>(p, a, b, blocks, s);
    case 192: return launch<3>(p, a, b, blocks, s);
    case 256: return launch<4>(p, a, b, blocks, s);
    }
    return cudaErrorInvalidValue;
}
