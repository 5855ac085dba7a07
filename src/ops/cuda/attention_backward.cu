/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_backward.cu: gradients of attention on tensor cores in two passes: one owns keys and walks over queries (dk, dv),
 * one owns queries and walks over keys (dq). Scores are computed twice; nothing is summed across blocks, so bits repeat.
 *
 *   p = 2^(scale log2(e) q kT - shift);  ds = p (g vT - delta);  dq = scale ds k;  dk = scale dsT q;  dv = pT g
 *
 * shift is infinite where a token has no mass, so padding needs no mask. The first pass computes the transposed scores: keys
 * are the rows of its accumulators, which then serve as left operands for dk and dv. Source  Dao 2023 (FlashAttention-2), its
 * backward cut in two
 */
#include "attention_tile.cuh"

/* ---- dq ----------------------------------------------------------------------------------------------------------------- */

enum { DQ_STAGES = 2 };
template <int D> struct dq_layout {
    static constexpr int T = TILE * D * 2, Q = 0, G = T, K = 2 * T, V = K + DQ_STAGES * T, BARS = V + DQ_STAGES * T;
    static constexpr int BYTES = BARS + 128 + 1024;
    static_assert(BYTES <= 232448, "shared memory of a block");
};

template <int D>
static __global__ void __launch_bounds__(ATTN_THREADS, 1)
    dq_pass(const __grid_constant__ nf_cuda_attn_back p, const __grid_constant__ CUtensorMap mq,
            const __grid_constant__ CUtensorMap mk, const __grid_constant__ CUtensorMap mv,
            const __grid_constant__ CUtensorMap mg)
{
    using L = dq_layout<D>;
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u, own_full = base + L::BARS;
    const uint32_t k_full = own_full + 8, v_full = k_full + 8 * DQ_STAGES, k_empty = v_full + 8 * DQ_STAGES,
                   v_empty = k_empty + 8 * DQ_STAGES;
    const int head = blockIdx.x, row = blockIdx.y, kv = head / (p.f.heads / p.f.kv_heads), role = threadIdx.x / 128;
    const int i0 = (int)(gridDim.z - 1 - blockIdx.z) * TILE, end = min(i0 + TILE, p.f.len), begin = first_key(p.f, row, i0);
    int stage = 0;
    uint32_t phase = 0;

    if (threadIdx.x == 0) {
        barrier_init(own_full, 1);
        for (int s = 0; s < DQ_STAGES; s++) {
            barrier_init(k_full + 8 * s, 1);
            barrier_init(v_full + 8 * s, 1);
            barrier_init(k_empty + 8 * s, 8);
            barrier_init(v_empty + 8 * s, 8);
        }
        barrier_init_done();
    }
    __syncthreads();
    if (role == 0) {
        registers_give<24>();
        if (threadIdx.x != 0)
            return;
        barrier_expect(own_full, 2 * L::T);
        load_tile<D, TILE>(base + L::Q, &mq, own_full, head, i0, row);
        load_tile<D, TILE>(base + L::G, &mg, own_full, head, i0, row);
        for (int j = begin; j < end; j += TILE) {
            barrier_wait(k_empty + 8 * stage, phase ^ 1);
            barrier_expect(k_full + 8 * stage, L::T);
            load_tile<D, TILE>(base + L::K + stage * L::T, &mk, k_full + 8 * stage, kv, j, row);
            barrier_wait(v_empty + 8 * stage, phase ^ 1);
            barrier_expect(v_full + 8 * stage, L::T);
            load_tile<D, TILE>(base + L::V + stage * L::T, &mv, v_full + 8 * stage, kv, j, row);
            if (++stage == DQ_STAGES)
                stage = 0, phase ^= 1;
        }
        return;
    }
    registers_take<240>();
    const int t128 = threadIdx.x % 128, lead = i0 + (role - 1) * 64, mine = lead + t128 / 32 * 16 + t128 % 32 / 4;
    const int lo[2] = {first_key(p.f, row, mine), first_key(p.f, row, mine + 8)}, hi[2] = {mine, mine + 8};
    const int last_lo = first_key(p.f, row, min(lead + 63, p.f.len - 1));
    const float scale = p.f.scale * NF_LOG2E;
    const int64_t stats = ((int64_t)head * p.f.rows + row) * p.stride;
    float shift[2], delta[2], dq[D / 2], s[TILE / 2], d[TILE / 2];

#pragma unroll
    for (int e = 0; e < D / 2; e++)
        dq[e] = 0.0f;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const bool live = mine + 8 * i < p.f.len;
        shift[i] = live ? p.shift[stats + mine + 8 * i] : CUDART_INF_F;
        delta[i] = live ? p.delta[stats + mine + 8 * i] : 0.0f;
    }
    const uint32_t own_q = base + L::Q + (role - 1) * 64 * NF_BOX_ROW, own_g = base + L::G + (role - 1) * 64 * NF_BOX_ROW;
    barrier_wait(own_full, 0);
    for (int j = begin; j < end; j += TILE) {
        const bool masked = j + TILE - 1 > lead || j < last_lo;
        uint32_t a[TILE / 16][4];
        barrier_wait(k_full + 8 * stage, phase);
        products_begin();
        product_rows<D, TILE, TILE>(s, own_q, base + L::K + stage * L::T);
        products_commit();
        barrier_wait(v_full + 8 * stage, phase);
        products_begin();
        product_rows<D, TILE, TILE>(d, own_g, base + L::V + stage * L::T);
        products_commit();
        products_wait<1>();
        hold(s);
#pragma unroll
        for (int e = 0; e < TILE / 2; e++) {
            const int i = e / 2 % 2, key = j + 8 * (e / 4) + 2 * (t128 & 3) + e % 2;
            const float x = power_of_two(s[e] * scale - shift[i]);
            s[e] = masked && (key < lo[i] || key > hi[i]) ? 0.0f : x;
        }
        products_wait<0>();
        hold(d);
        if (t128 % 32 == 0)
            barrier_arrive(v_empty + 8 * stage);
#pragma unroll
        for (int e = 0; e < TILE / 2; e++)
            s[e] *= d[e] - delta[e / 2 % 2];
        to_fragments<TILE>(a, s);
        hold(dq);
        products_begin();
        product_across<D, TILE>(dq, a, base + L::K + stage * L::T);
        products_commit();
        products_wait<0>();
        hold(dq);
        if (t128 % 32 == 0)
            barrier_arrive(k_empty + 8 * stage);
        if (++stage == DQ_STAGES)
            stage = 0, phase ^= 1;
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
        store_row<D>(p.dq, (int64_t)row * p.f.len + mine + 8 * i, head * D, mine + 8 * i < p.f.len, dq, i, p.f.scale);
}

/* ---- dk, dv -------------------------------------------------------------------------------------------------------------- */

template <int D> struct dkv_layout {
    static constexpr int STAGES = D == 128 ? 3 : 4;
    static constexpr int T = TILE * D * 2, U = QUERIES * D * 2, STATS = QUERIES * 4;
    static constexpr int K = 0, V = T, Q = 2 * T, G = Q + STAGES * U, SHIFT = G + STAGES * U, DELTA = SHIFT + STAGES * STATS;
    static constexpr int BARS = DELTA + STAGES * STATS, BYTES = BARS + 128 + 1024;
    static_assert(BYTES <= 232448, "shared memory of a block");
};

/* Queries of the row that see some key of [j0, j0 + TILE): up to the last whose first key is not behind the tile. */
static __device__ __forceinline__ int queries_end(const struct nf_cuda_attn &p, int row, int j0)
{
    const int last_key = min(j0 + TILE, p.len) - 1;
    int lo = j0, hi = p.len; /* the first query in [lo, hi] that sees none */

    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if (first_key(p, row, mid) <= last_key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

template <int D>
static __device__ __forceinline__ void store_part(float *to, int64_t ld, int64_t row, int col, bool live,
                                                  const float (&x)[D / 2], int i, float by)
{
    if (!live)
        return;
#pragma unroll
    for (int j = 0; j < D / 8; j++)
        *(float2 *)(to + row * ld + col + 8 * j + 2 * (threadIdx.x & 3)) =
            make_float2(by * x[4 * j + 2 * i], by * x[4 * j + 2 * i + 1]);
}

template <int D>
static __global__ void __launch_bounds__(ATTN_THREADS, 1)
    dkv_pass(const __grid_constant__ nf_cuda_attn_back p, const __grid_constant__ CUtensorMap mq,
             const __grid_constant__ CUtensorMap mk, const __grid_constant__ CUtensorMap mv,
             const __grid_constant__ CUtensorMap mg)
{
    using L = dkv_layout<D>;
    extern __shared__ uint8_t raw[];
    const uint32_t skew = ((shared_address(raw) + 1023) & ~1023u) - shared_address(raw), base = shared_address(raw) + skew;
    const uint32_t own_full = base + L::BARS, full = own_full + 8, empty = full + 8 * L::STAGES;
    const int part = (int)blockIdx.x % p.parts, kv = (int)blockIdx.x / p.parts, row = blockIdx.y, role = threadIdx.x / 128;
    const int j0 = (int)blockIdx.z * TILE, each = p.f.heads / p.f.kv_heads / p.parts, head0 = (kv * p.parts + part) * each;
    const int end = queries_end(p.f, row, j0);
    int stage = 0;
    uint32_t phase = 0;

    if (threadIdx.x == 0) {
        barrier_init(own_full, 1);
        for (int s = 0; s < L::STAGES; s++) {
            barrier_init(full + 8 * s, 1);
            barrier_init(empty + 8 * s, 8);
        }
        barrier_init_done();
    }
    __syncthreads();
    if (role == 0) {
        registers_give<24>();
        if (threadIdx.x != 0)
            return;
        barrier_expect(own_full, 2 * L::T);
        load_tile<D, TILE>(base + L::K, &mk, own_full, kv, j0, row);
        load_tile<D, TILE>(base + L::V, &mv, own_full, kv, j0, row);
        for (int h = head0; h < head0 + each; h++)
            for (int i = j0; i < end; i += QUERIES) {
                const int64_t stats = ((int64_t)h * p.f.rows + row) * p.stride + i;
                const uint32_t bar = full + 8 * stage;
                barrier_wait(empty + 8 * stage, phase ^ 1);
                barrier_expect(bar, 2 * L::U + 2 * L::STATS);
                load_tile<D, QUERIES>(base + L::Q + stage * L::U, &mq, bar, h, i, row);
                load_tile<D, QUERIES>(base + L::G + stage * L::U, &mg, bar, h, i, row);
                load_bytes(base + L::SHIFT + stage * L::STATS, p.shift + stats, L::STATS, bar);
                load_bytes(base + L::DELTA + stage * L::STATS, p.delta + stats, L::STATS, bar);
                if (++stage == L::STAGES)
                    stage = 0, phase ^= 1;
            }
        return;
    }
    registers_take<240>();
    const int t128 = threadIdx.x % 128, lead = j0 + (role - 1) * 64, mine = lead + t128 / 32 * 16 + t128 % 32 / 4;
    const uint32_t own_k = base + L::K + (role - 1) * 64 * NF_BOX_ROW, own_v = base + L::V + (role - 1) * 64 * NF_BOX_ROW;
    const bool narrow = p.f.first || p.f.window > 0;
    const float scale = p.f.scale * NF_LOG2E;
    float dk[D / 2], dv[D / 2];

#pragma unroll
    for (int e = 0; e < D / 2; e++)
        dk[e] = dv[e] = 0.0f;
    barrier_wait(own_full, 0);
    for (int h = 0; h < each; h++)
        for (int i0 = j0; i0 < end; i0 += QUERIES) {
            const uint32_t q = base + L::Q + stage * L::U, g = base + L::G + stage * L::U;
            const float2 *shift = (const float2 *)(raw + skew + L::SHIFT + stage * L::STATS);
            const float2 *delta = (const float2 *)(raw + skew + L::DELTA + stage * L::STATS);
            float s[QUERIES / 2], d[QUERIES / 2];
            uint32_t a[QUERIES / 16][4], b[QUERIES / 16][4];

            barrier_wait(full + 8 * stage, phase);
            products_begin();
            product_rows<D, TILE, QUERIES>(s, own_k, q);
            products_commit();
            product_rows<D, TILE, QUERIES>(d, own_v, g);
            products_commit();
            products_wait<1>();
            hold(s);
#pragma unroll
            for (int j = 0; j < QUERIES / 8; j++) {
                const float2 at = shift[4 * j + (t128 & 3)];
#pragma unroll
                for (int e = 0; e < 4; e++)
                    s[4 * j + e] = power_of_two(s[4 * j + e] * scale - (e % 2 ? at.y : at.x));
            }
            if (i0 < lead + 63) { /* some query comes before some key */
#pragma unroll
                for (int e = 0; e < QUERIES / 2; e++)
                    if (i0 + 8 * (e / 4) + 2 * (t128 & 3) + e % 2 < mine + 8 * (e / 2 % 2))
                        s[e] = 0.0f;
            }
            if (narrow && first_key(p.f, row, min(i0 + QUERIES, p.f.len) - 1) > lead) { /* some key lies before some first */
#pragma unroll
                for (int j = 0; j < QUERIES / 4; j++) {
                    const int low = first_key(p.f, row, i0 + 8 * (j / 2) + 2 * (t128 & 3) + j % 2);
#pragma unroll
                    for (int i = 0; i < 2; i++)
                        if (mine + 8 * i < low)
                            s[4 * (j / 2) + 2 * i + j % 2] = 0.0f;
                }
            }
            to_fragments<QUERIES>(a, s);
            products_wait<0>();
            hold(d);
            hold(dv);
            products_begin();
            product_across<D, QUERIES>(dv, a, g);
            products_commit();
#pragma unroll
            for (int j = 0; j < QUERIES / 8; j++) {
                const float2 at = delta[4 * j + (t128 & 3)];
#pragma unroll
                for (int e = 0; e < 4; e++)
                    s[4 * j + e] *= d[4 * j + e] - (e % 2 ? at.y : at.x);
            }
            to_fragments<QUERIES>(b, s);
            hold(dk);
            products_begin();
            product_across<D, QUERIES>(dk, b, q);
            products_commit();
            products_wait<0>();
            hold(dv);
            hold(dk);
            if (t128 % 32 == 0)
                barrier_arrive(empty + 8 * stage);
            if (++stage == L::STAGES)
                stage = 0, phase ^= 1;
        }
    const int64_t tokens = (int64_t)p.f.rows * p.f.len, wide = (int64_t)p.f.kv_heads * D;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const bool live = mine + 8 * i < p.f.len;
        const int64_t at = (int64_t)row * p.f.len + mine + 8 * i;
        if (p.parts == 1) {
            store_row<D>(p.dk, at, kv * D, live, dk, i, p.f.scale);
            store_row<D>(p.dv, at, kv * D, live, dv, i, 1.0f);
        } else {
            store_part<D>(p.part_dk, wide, part * tokens + at, kv * D, live, dk, i, p.f.scale);
            store_part<D>(p.part_dv, wide, part * tokens + at, kv * D, live, dv, i, 1.0f);
        }
    }
}

/* ---- launches -------------------------------------------------------------------------------------------------------------
 */

template <int D>
static cudaError_t launch(const struct nf_cuda_attn_back *p, const struct nf_cuda_attn_maps *m, cudaStream_t stream)
{
    const unsigned tiles = (unsigned)((p->f.len + TILE - 1) / TILE);
    cudaError_t e =
        cudaFuncSetAttribute((const void *)dq_pass<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, dq_layout<D>::BYTES);

    if (e == cudaSuccess)
        e = cudaFuncSetAttribute((const void *)dkv_pass<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, dkv_layout<D>::BYTES);
    if (e != cudaSuccess || p->f.rows == 0 || p->f.len == 0)
        return e;
    dkv_pass<D><<<dim3((unsigned)(p->f.kv_heads * p->parts), (unsigned)p->f.rows, tiles), ATTN_THREADS, dkv_layout<D>::BYTES,
                  stream>>>(*p, m->q64, m->k, m->v, m->g64);
    dq_pass<D><<<dim3((unsigned)p->f.heads, (unsigned)p->f.rows, tiles), ATTN_THREADS, dq_layout<D>::BYTES, stream>>>(
        *p, m->q, m->k, m->v, m->g);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_flash_backward(const struct nf_cuda_attn_back *p, const struct nf_cuda_attn_maps *m,
                                              cudaStream_t stream)
{
    return p->f.d_qk == 64 ? launch<64>(p, m, stream) : launch<128>(p, m, stream);
}
