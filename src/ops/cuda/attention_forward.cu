/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_forward.cu: attention on tensor cores. A block owns 128 queries of one head and walks over the keys that they see
 * in tiles of 128, with the running maximum, the running sum and the unnormalised output in registers; probabilities go from
 * accumulators to operands without leaving them. The scores of a tile and the output of the one before are multiplied together,
 * so that probabilities are computed beside products. Tiles that see most keys are handed out first.
 * Source  Dao 2023 (FlashAttention-2); Shah et al. 2024 (FlashAttention-3) for the roles of warpgroups
 */
#include "attention_tile.cuh"

enum { STAGES = 2 };

template <int D> struct layout {
    static constexpr int T = TILE * D * 2, Q = 0, K = T, V = K + STAGES * T, BARS = V + STAGES * T, BYTES = BARS + 128 + 1024;
};

/*
 * The two warpgroups take turns: one issues its products while the other computes probabilities. Left alone they fall into
 * step, and the tensor cores wait for both.
 */
static __device__ __forceinline__ void turn_take(int role)
{
    asm volatile("bar.sync %0, 256;" ::"r"(role) : "memory");
}
static __device__ __forceinline__ void turn_give(int role)
{
    asm volatile("bar.arrive %0, 256;" ::"r"(role) : "memory");
}

/* Row statistics of two rows of a lane: maximum in units of log2, this lane's part of the sum. */
struct running {
    float max[2], sum[2];
};

/* Scores become probabilities relative to the running maximum; what was summed so far shrinks by `shrink`. */
template <bool MASKED>
static __device__ __forceinline__ void softmax(float (&s)[TILE / 2], float (&shrink)[2], running &r, const int (&lo)[2],
                                               const int (&hi)[2], int j0, float scale)
{
    const int col = 2 * (threadIdx.x & 3);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float top = -CUDART_INF_F, part = 0.0f;
#pragma unroll
        for (int e = 0; e < TILE / 4; e++) {
            float &x = s[(e / 2) * 4 + 2 * i + e % 2];
            const int j = j0 + 8 * (e / 2) + col + e % 2;
            if (MASKED && (j < lo[i] || j > hi[i]))
                x = -CUDART_INF_F;
            top = fmaxf(top, x);
        }
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
        const float max = fmaxf(r.max[i], top * scale), safe = max == -CUDART_INF_F ? 0.0f : max;
        shrink[i] = power_of_two(r.max[i] - safe);
#pragma unroll
        for (int e = 0; e < TILE / 4; e++) {
            float &x = s[(e / 2) * 4 + 2 * i + e % 2];
            x = power_of_two(x * scale - safe);
            part += x;
        }
        r.sum[i] = r.sum[i] * shrink[i] + part;
        r.max[i] = max;
    }
}

template <int D>
static __global__ void __launch_bounds__(ATTN_THREADS, 1)
    forward(const __grid_constant__ nf_cuda_attn p, const __grid_constant__ CUtensorMap mq,
            const __grid_constant__ CUtensorMap mk, const __grid_constant__ CUtensorMap mv)
{
    using L = layout<D>;
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u, bars = base + L::BARS;
    const uint32_t q_full = bars, k_full = bars + 8, v_full = k_full + 8 * STAGES, k_empty = v_full + 8 * STAGES,
                   v_empty = k_empty + 8 * STAGES;
    const int head = blockIdx.x, row = blockIdx.y, kv = head / (p.heads / p.kv_heads), role = threadIdx.x / 128;
    const int i0 = (int)(gridDim.z - 1 - blockIdx.z) * TILE, end = min(i0 + TILE, p.len), begin = first_key(p, row, i0);
    int stage = 0;
    uint32_t phase = 0;

    if (threadIdx.x == 0) {
        barrier_init(q_full, 1);
        for (int s = 0; s < STAGES; s++) {
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
        barrier_expect(q_full, L::T);
        load_tile<D, TILE>(base + L::Q, &mq, q_full, head, i0, row);
        for (int j = begin; j < end; j += TILE) {
            barrier_wait(k_empty + 8 * stage, phase ^ 1);
            barrier_expect(k_full + 8 * stage, L::T);
            load_tile<D, TILE>(base + L::K + stage * L::T, &mk, k_full + 8 * stage, kv, j, row);
            barrier_wait(v_empty + 8 * stage, phase ^ 1);
            barrier_expect(v_full + 8 * stage, L::T);
            load_tile<D, TILE>(base + L::V + stage * L::T, &mv, v_full + 8 * stage, kv, j, row);
            if (++stage == STAGES)
                stage = 0, phase ^= 1;
        }
        return;
    }
    registers_take<240>();
    const int t128 = threadIdx.x % 128, lead = i0 + (role - 1) * 64, mine = lead + t128 / 32 * 16 + t128 % 32 / 4;
    const int lo[2] = {first_key(p, row, mine), first_key(p, row, mine + 8)}, hi[2] = {mine, mine + 8};
    const int last_lo = first_key(p, row, min(lead + 63, p.len - 1)); /* `first` ascends: the largest of this warpgroup */
    const float scale = p.scale * NF_LOG2E;
    running r;
    float o[D / 2], s[TILE / 2];

#pragma unroll
    for (int e = 0; e < D / 2; e++)
        o[e] = 0.0f;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        r.max[i] = p.sinks ? p.sinks[head] * NF_LOG2E : -CUDART_INF_F;
        r.sum[i] = p.sinks && (t128 & 3) == 0 ? 1.0f : 0.0f;
    }
    const uint32_t own_q = base + L::Q + (role - 1) * 64 * NF_BOX_ROW;
    float shrink[2];
    uint32_t a[TILE / 16][4];
    int before = 0;
    uint32_t phase_before = 0;

    barrier_wait(q_full, 0);
    if (begin < end) {
        barrier_wait(k_full, 0);
        products_begin();
        product_rows<D, TILE, TILE>(s, own_q, base + L::K);
        products_commit();
        products_wait<0>();
        hold(s);
        if (t128 % 32 == 0)
            barrier_arrive(k_empty);
        softmax<true>(s, shrink, r, lo, hi, begin, scale);
        to_fragments<TILE>(a, s);
        stage = 1;
        if (role == 2)
            turn_give(1);
    }
    for (int j = begin + TILE; j < end; j += TILE) {
        barrier_wait(k_full + 8 * stage, phase);
        barrier_wait(v_full + 8 * before, phase_before);
        turn_take(role);
        hold(o);
        products_begin();
        product_rows<D, TILE, TILE>(s, own_q, base + L::K + stage * L::T);
        products_commit();
        product_across<D, TILE>(o, a, base + L::V + before * L::T);
        products_commit();
        if (role == 1 || j + TILE < end)
            turn_give(3 - role);
        products_wait<1>();
        hold(s);
        if (t128 % 32 == 0)
            barrier_arrive(k_empty + 8 * stage);
        if (j + TILE - 1 > lead || j < last_lo)
            softmax<true>(s, shrink, r, lo, hi, j, scale);
        else
            softmax<false>(s, shrink, r, lo, hi, j, scale);
        products_wait<0>();
        hold(o);
        if (t128 % 32 == 0)
            barrier_arrive(v_empty + 8 * before);
#pragma unroll
        for (int e = 0; e < D / 2; e++)
            o[e] *= shrink[e / 2 % 2];
        to_fragments<TILE>(a, s);
        before = stage;
        phase_before = phase;
        if (++stage == STAGES)
            stage = 0, phase ^= 1;
    }
    if (begin < end) {
        barrier_wait(v_full + 8 * before, phase_before);
        hold(o);
        products_begin();
        product_across<D, TILE>(o, a, base + L::V + before * L::T);
        products_commit();
        products_wait<0>();
        hold(o);
    }
    const int64_t tokens = (int64_t)p.rows * p.len;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = mine + 8 * i;
        const bool live = at<p.len, none = lo[i]> at;
        float sum = r.sum[i];
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
        if (live && (t128 & 3) == 0)
            p.lse[head * tokens + (int64_t)row * p.len + at] = none ? 0.0f : (r.max[i] + log2f(sum)) * NF_LN2;
        if (none) {
#pragma unroll
            for (int e = 0; e < D / 4; e++)
                o[(e / 2) * 4 + 2 * i + e % 2] = 0.0f;
        }
        store_row<D>(p.o, (int64_t)row * p.len + at, head * D, live, o, i, none ? 0.0f : 1.0f / sum);
    }
}

template <int D> static cudaError_t launch(const struct nf_cuda_attn *p, const struct nf_cuda_attn_maps *m, cudaStream_t stream)
{
    const dim3 grid((unsigned)p->heads, (unsigned)p->rows, (unsigned)((p->len + TILE - 1) / TILE));
    const cudaError_t e =
        cudaFuncSetAttribute((const void *)forward<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, layout<D>::BYTES);

    if (e != cudaSuccess)
        return e;
    if (p->rows && p->len)
        forward<D><<<grid, ATTN_THREADS, layout<D>::BYTES, stream>>>(*p, m->q, m->k, m->v);
    return cudaGetLastError();
}

extern "C" cudaError_t nf_cuda_flash_forward(const struct nf_cuda_attn *p, const struct nf_cuda_attn_maps *m,
                                             cudaStream_t stream)
{
    return p->d_qk == 64 ? launch<64>(p, m, stream) : launch<128>(p, m, stream);
}
