/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_rows.cuh: the experts' products on tensor cores, forward and towards the input, with everything that belongs to a
 * row while it is in registers.
 *
 * A block is one warp that copies (the rest of its warpgroup idles, its registers given away) and two warpgroups that
 * multiply 64 rows each; between them lies a ring of stages of 64 terms of the sum. Blocks stay and take tiles in turn. Tiles
 * start at a group's first row, wherever that is: rows of the next group that a copy brings along are multiplied and dropped.
 */
#include "act.cuh"
#include "grouped_tiles.cuh"
#include "strips.cuh"

enum { THREADS = 384, BAND = 8 };

template <int NB> struct shape {
    static constexpr int WIDTH = NB * NF_BOX_COLS;
    static constexpr int A_BYTES = NF_CUDA_TILE_ROWS * NF_BOX_ROW, STAGE = A_BYTES + WIDTH * NF_BOX_ROW;
    static constexpr int STAGES = NB == 2 ? 6 : NB == 3 ? 5 : 4;
    static constexpr int BARS = STAGES * STAGE, FIRST = BARS + 128;
    static constexpr int BYTES = FIRST + (NF_CUDA_GROUPS_MOST + 1) * 4 + 1024;
    static_assert(BYTES <= 232448, "shared memory of a block");
};

static __device__ __forceinline__ constexpr bool gated(int act)
{
    return act == NF_ACT_SWIGLU || act == NF_ACT_SWIGLU_CLAMP;
}

/* Which rows and columns tile `number` is: bands of 8 row tiles by all column tiles, so that blocks share what they read. */
struct place {
    struct row_tile rows;
    int col, col_tile;
};
static __device__ __forceinline__ place place_of(const struct nf_cuda_rows &p, const int *first, int number, int col_tiles,
                                                 int step)
{
    const int total = first[p.groups.count], band = number / (BAND * col_tiles), in = number - band * BAND * col_tiles;
    const int high = min((int)BAND, total - band * BAND);
    const int col_tile = in / high;

    return {tiles_rows(first, p.groups, band * BAND + in % high, NF_CUDA_TILE_ROWS), col_tile * step, col_tile};
}

/* Of a row of [experts, N]; columns behind `end` are 0. */
static __device__ __forceinline__ strip load_bias(const void *bias, int64_t at, int col, int end)
{
    const __nv_bfloat16 *b = (const __nv_bfloat16 *)bias + at;
    strip s;
#pragma unroll
    for (int e = 0; e < 8; e++) {
        const int c = col + 8 * (e / 2) + 2 * (threadIdx.x & 3) + e % 2;
        s.x[e] = c < end ? __bfloat162float(b[c]) : 0.0f;
    }
    return s;
}

/* Routing weights of a lane's two rows, 1 without them. */
struct pair_of_rows {
    int row[2];
    bool live[2];
    float weight[2];
};
static __device__ __forceinline__ pair_of_rows rows_of(const struct nf_cuda_rows &p, int row, int end)
{
    pair_of_rows r;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        r.row[i] = row + 8 * i;
        r.live[i] = r.row[i] < end;
        r.weight[i] = p.row_weight && r.live[i] ? p.row_weight[r.row[i]] : 1.0f;
    }
    return r;
}

template <int NB, int ACT>
static __device__ __forceinline__ void finish_forward(const struct nf_cuda_rows &p, const place &at, int row,
                                                      const float (&d)[NB * 32])
{
    constexpr int STRIPS = gated(ACT) ? NB : 2 * NB;
    const pair_of_rows rows = rows_of(p, row, at.rows.end);

#pragma unroll
    for (int g = 0; g < STRIPS; g++) {
        const int col = at.col + 32 * g;
        strip bias, bias_up;
        if (col >= p.cols)
            break;
        if (p.bias) {
            bias = load_bias(p.bias, at.rows.expert * p.bias_ld, col, p.cols);
            if (gated(ACT))
                bias_up = load_bias(p.bias, at.rows.expert * p.bias_ld + p.cols, col, p.cols);
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            strip u = strip_of(d, g, i), v = u, y;
            if (gated(ACT))
                v = strip_of(d, STRIPS + g, i);
            if (p.bias) {
#pragma unroll
                for (int e = 0; e < 8; e++)
                    u.x[e] += bias.x[e];
                if (gated(ACT)) {
#pragma unroll
                    for (int e = 0; e < 8; e++)
                        v.x[e] += bias_up.x[e];
                }
            }
            if (p.pre.data) {
                store_strip(p.pre, rows.row[i], col, p.cols, rows.live[i], u);
                if (gated(ACT))
                    store_strip(p.pre, rows.row[i], p.cols + col, 2 * p.cols, rows.live[i], v);
            }
#pragma unroll
            for (int e = 0; e < 8; e++)
                y.x[e] = rows.weight[i] * nf_act<ACT, true>(u.x[e], v.x[e], p.act.alpha, p.act.limit);
            store_strip(p.out, rows.row[i], col, p.cols, rows.live[i], y);
        }
    }
}

/* Values before the activation are fetched several strips at once: one after another, their latency would cost as much as
 * the product. */
template <int NB, int ACT>
static __device__ __forceinline__ void finish_dgrad(const struct nf_cuda_rows &p, const place &at, int row,
                                                    const float (&d)[NB * 32])
{
    constexpr int AT_ONCE = gated(ACT) ? 2 : 4;
    const pair_of_rows rows = rows_of(p, row, at.rows.end);
    float dot[2] = {0.0f, 0.0f};

#pragma unroll
    for (int from = 0; from < 2 * NB; from += AT_ONCE) {
        words gate[AT_ONCE][2], up[AT_ONCE][2];
        if (p.pre.data) {
#pragma unroll
            for (int n = 0; n < AT_ONCE * 2; n++) {
                const int col = at.col + 32 * (from + n / 2), i = n % 2;
                const bool there = from + n / 2 < 2 * NB && col < p.cols && rows.live[i];
                gate[n / 2][i] = load_words(p.pre, rows.row[i], col, p.cols, there);
                if (gated(ACT))
                    up[n / 2][i] = load_words(p.pre, rows.row[i], p.cols + col, 2 * p.cols, there);
            }
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE * 2; n++) {
            const int g = from + n / 2, col = at.col + 32 * g, i = n % 2;
            if (g >= 2 * NB || col >= p.cols)
                break;
            strip b = strip_of(d, g, i), u = b, v = b, du, dv;
            if (p.pre.data) {
                u = strip_from(gate[n / 2][i]);
                if (gated(ACT))
                    v = strip_from(up[n / 2][i]);
            }
            if (p.again.data || p.dot) {
                strip y;
#pragma unroll
                for (int e = 0; e < 8; e++) {
                    y.x[e] = nf_act<ACT, true>(u.x[e], v.x[e], p.act.alpha, p.act.limit);
                    dot[i] += b.x[e] * y.x[e]; /* columns behind the last hold zeros: so does w there */
                }
                if (p.again.data)
                    store_strip(p.again, rows.row[i], col, p.cols, rows.live[i], y);
            }
#pragma unroll
            for (int e = 0; e < 8; e++)
                nf_act_grad<ACT, true>(du.x[e], dv.x[e], rows.weight[i] * b.x[e], u.x[e], v.x[e], p.act.alpha, p.act.limit);
            store_strip(p.out, rows.row[i], col, p.cols, rows.live[i], du);
            if (gated(ACT))
                store_strip(p.out, rows.row[i], p.cols + col, 2 * p.cols, rows.live[i], dv);
        }
    }
    if (p.dot)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float sum = dot[i];
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
            if ((threadIdx.x & 3) == 0 && rows.live[i])
                p.dot[(int64_t)at.col_tile * p.rows + rows.row[i]] = sum;
        }
}

template <int NB, bool ACROSS, bool DGRAD, int ACT>
static __global__ void __launch_bounds__(THREADS, 1)
    rows_kernel(const __grid_constant__ nf_cuda_rows p, const __grid_constant__ CUtensorMap ma,
                const __grid_constant__ CUtensorMap mb)
{
    using S = shape<NB>;
    constexpr bool HALVES = !DGRAD && gated(ACT); /* the tile is columns [c, c + WIDTH / 2) of both halves */
    constexpr int STEP = HALVES ? S::WIDTH / 2 : S::WIDTH;
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u, full = base + S::BARS, empty = full + 8 * S::STAGES;
    int *first = (int *)(raw + (base - shared_address(raw)) + S::FIRST);
    const int role = threadIdx.x / 128;

    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 8); /* a warp each */
        }
        barrier_init_done();
    }
    tiles_number(first, p.groups, NF_CUDA_TILE_ROWS);
    const int col_tiles = (p.cols + STEP - 1) / STEP, tiles = first[p.groups.count] * col_tiles;
    const int steps = (p.depth + NF_CUDA_TILE_STEP - 1) / NF_CUDA_TILE_STEP;
    int stage = 0;
    uint32_t phase = 0;

    if (role == 0) {
        registers_give<40>();
        if (threadIdx.x != 0)
            return;
        for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
            const place at = place_of(p, first, t, col_tiles, STEP);
            for (int k = 0; k < p.depth; k += NF_CUDA_TILE_STEP) {
                const uint32_t bar = full + 8 * stage, a = base + stage * S::STAGE, b = a + S::A_BYTES;
                barrier_wait(empty + 8 * stage, phase ^ 1);
                barrier_expect(bar, S::STAGE);
                load_box(a, &ma, bar, k, at.rows.row, 0);
                if (!ACROSS) {
                    load_box(b, &mb, bar, k, at.col, at.rows.expert);
                    if (HALVES)
                        load_box(b + STEP * NF_BOX_ROW, &mb, bar, k, p.cols + at.col, at.rows.expert);
                } else {
#pragma unroll
                    for (int j = 0; j < NB; j++) {
                        const int c = j * NF_BOX_COLS;
                        load_box(b + c * NF_BOX_ROW, &mb, bar, HALVES && c >= STEP ? p.cols + at.col + c - STEP : at.col + c, k,
                                 at.rows.expert);
                    }
                }
                if (++stage == S::STAGES)
                    stage = 0, phase ^= 1;
            }
        }
    } else {
        registers_take<232>();
        const int t128 = threadIdx.x % 128, row_of_lane = (role - 1) * 64 + t128 / 32 * 16 + t128 % 32 / 4;
        float d[S::WIDTH / 2];

        for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
            const place at = place_of(p, first, t, col_tiles, STEP);
            int last = -1;
            for (int k = 0; k < steps; k++) {
                const uint32_t a = base + stage * S::STAGE + (role - 1) * 64 * NF_BOX_ROW;
                const uint32_t b = base + stage * S::STAGE + S::A_BYTES;
                barrier_wait(full + 8 * stage, phase);
                products_begin();
#pragma unroll
                for (int j = 0; j < NF_CUDA_TILE_STEP / 16; j++)
                    wgmma<S::WIDTH>::template ss<0, ACROSS>(
                        d, operand(a + 32 * j, 0), operand(b + (ACROSS ? 16 * NF_BOX_ROW : 32) * j, 64 * NF_BOX_ROW), k + j);
                products_commit();
                products_wait<1>(); /* the step before this one: its stage may be filled again */
                if (last >= 0 && t128 % 32 == 0)
                    barrier_arrive(empty + 8 * last);
                last = stage;
                if (++stage == S::STAGES)
                    stage = 0, phase ^= 1;
            }
            products_wait<0>();
            hold(d);
            if (last >= 0 && t128 % 32 == 0)
                barrier_arrive(empty + 8 * last);
            if (DGRAD)
                finish_dgrad<NB, ACT>(p, at, at.rows.row + row_of_lane, d);
            else
                finish_forward<NB, ACT>(p, at, at.rows.row + row_of_lane, d);
        }
    }
}

template <int NB, bool ACROSS, bool DGRAD, int ACT>
static cudaError_t launch(const struct nf_cuda_rows *p, const CUtensorMap *a, const CUtensorMap *b, int blocks,
                          cudaStream_t stream)
{
    const auto kernel = rows_kernel<NB, ACROSS, DGRAD, ACT>;
    const cudaError_t e =
        cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape<NB>::BYTES);

    if (e != cudaSuccess)
        return e;
    kernel<<<blocks, THREADS, shape<NB>::BYTES, stream>>>(*p, *a, *b);
    return cudaGetLastError();
}
