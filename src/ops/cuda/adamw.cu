/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adamw.cu: one update of a flat run in all schemes of state, and the decision before it. The pieces of a run travel as an
 * argument of the kernel, PIECES at a time. Formulas, roundings and random bits are those of src/ops/cpu/adamw.c and ops.h;
 * constants of a step are formed in fp64.
 */
#include "philox.cuh"

namespace
{

enum { PIECES = 64, THREADS = 256, CHUNK = 4096 /* elements of a block */ };

struct piece {
    int64_t flat, count, first;
    int32_t param, decay;
    int64_t block; /* its first block */
};

struct table {
    piece one[PIECES];
    int count;
};

struct state {
    void *w, *g;
    int16_t *low;
    float *master;
    void *m, *v;
    bool g_half;
    double beta1, beta2, eps, weight_decay;
    uint64_t seed;
};

struct consts {
    float clip, b1, c1, b2, c2, keep, step, root, eps;
    uint64_t key;
};

enum scheme { WHOLE /* fp32 weights */, MASTER, SPLIT, HALF };

__device__ consts consts_of(const state &s, const piece &p, const nf_step_vars *vars, const nf_decision *d)
{
    const double lr = (double)vars->lr, bias1 = 1.0 - pow(s.beta1, (double)d->t), bias2 = 1.0 - pow(s.beta2, (double)d->t);
    consts c;
    c.clip = d->clip_scale;
    c.b1 = (float)s.beta1;
    c.c1 = (float)(1.0 - s.beta1);
    c.b2 = (float)s.beta2;
    c.c2 = (float)(1.0 - s.beta2);
    c.keep = p.decay ? (float)(1.0 - lr * s.weight_decay) : 1.0f;
    c.step = (float)(lr / bias1);
    c.root = (float)(1.0 / sqrt(bias2));
    c.eps = (float)s.eps;
    c.key = nf_device_rng_mix(s.seed, (uint64_t)d->t, NF_RNG_ROUND, (uint32_t)p.param);
    return c;
}

/* No fused multiply-add: the same number from whatever instance of the kernel, and with whatever compiler. */
__device__ __forceinline__ void update(float &w, float &m, float &v, float g, const consts &c)
{
    g = __fmul_rn(g, c.clip);
    m = __fadd_rn(__fmul_rn(c.b1, m), __fmul_rn(c.c1, g));
    v = __fadd_rn(__fmul_rn(c.b2, v), __fmul_rn(c.c2, __fmul_rn(g, g)));
    const float root = __fadd_rn(__fmul_rn(__fsqrt_rn(v), c.root), c.eps);
    w = __fsub_rn(__fmul_rn(w, c.keep), __fmul_rn(c.step, __fdiv_rn(m, root)));
}

__device__ __forceinline__ uint16_t round_random(float x, uint32_t r16)
{
    const uint32_t b = __float_as_uint(x);
    return (uint16_t)(((b & 0x7fffffffu) > 0x7f800000u ? b | 0x400000u : b + r16) >> 16);
}

__device__ __forceinline__ float widen(uint16_t b)
{
    return __uint_as_float((uint32_t)b << 16);
}

__device__ __forceinline__ uint32_t word_of(uint4 x, int i)
{
    return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
}

/* Four elements of an array, at once where they are whole and aligned */
template <typename T> __device__ __forceinline__ void get(T (&x)[4], const T *p, int n)
{
    if (n == 4 && (uintptr_t)p % (4 * sizeof(T)) == 0) {
        const nf_pack<T, 4> v = nf_load<4>(p);
#pragma unroll
        for (int k = 0; k < 4; k++)
            x[k] = v.v[k];
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++)
        x[k] = k < n ? p[k] : T(0);
}
template <typename T> __device__ __forceinline__ void put(T *p, const T (&x)[4], int n)
{
    if (n == 4 && (uintptr_t)p % (4 * sizeof(T)) == 0) {
        nf_pack<T, 4> v;
#pragma unroll
        for (int k = 0; k < 4; k++)
            v.v[k] = x[k];
        nf_store<4>(p, v);
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++)
        if (k < n)
            p[k] = x[k];
}

/* fp32 moments; the weight is fp32, or the rounding of an fp32 master */
template <int S> __device__ __forceinline__ void whole(const state &s, const consts &c, const float (&g)[4], int64_t at, int n)
{
    float *weight = S == MASTER ? s.master : (float *)s.w, w[4], m[4], v[4];

    get(w, weight + at, n);
    get(m, (const float *)s.m + at, n);
    get(v, (const float *)s.v + at, n);
#pragma unroll
    for (int k = 0; k < 4; k++)
        update(w[k], m[k], v[k], g[k], c);
    put(weight + at, w, n);
    put((float *)s.m + at, m, n);
    put((float *)s.v + at, v, n);
    if constexpr (S == MASTER) {
        uint16_t half[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            half[k] = __bfloat16_as_ushort(__float2bfloat16_rn(w[k]));
        put((uint16_t *)s.w + at, half, n);
    }
}

/* bf16 moments; the weight with its remainder, or alone. e: number of the first element in its logical tensor */
template <int S>
__device__ __forceinline__ void compact(const state &s, const consts &c, const float (&g)[4], int64_t at, int64_t e, int n)
{
    uint16_t hw[4], hm[4], hv[4];
    int16_t low[4] = {0, 0, 0, 0};
    uint4 words = {0, 0, 0, 0}, halves = {0, 0, 0, 0};

    get(hw, (const uint16_t *)s.w + at, n);
    get(hm, (const uint16_t *)s.m + at, n);
    get(hv, (const uint16_t *)s.v + at, n);
    if (S == SPLIT)
        get(low, (const int16_t *)s.low + at, n);
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int64_t x = e + k;
        float w = S == SPLIT ? __uint_as_float(((uint32_t)hw[k] << 16) + (uint32_t)(int32_t)low[k]) : widen(hw[k]);
        float m = widen(hm[k]), v = widen(hv[k]);
        update(w, m, v, g[k], c);
        if (k == 0 || x % 4 == 0)
            words = nf_device_rng_block(c.key, (uint64_t)x / 4, 0);
        const uint32_t word = word_of(words, (int)(x % 4));
        hm[k] = round_random(m, word & 0xffffu);
        hv[k] = round_random(v, word >> 16);
        if (S == SPLIT) {
            const uint32_t b = __float_as_uint(w);
            low[k] = (int16_t)(uint16_t)b;
            hw[k] = (uint16_t)((b + 0x8000u) >> 16);
        } else {
            if (k == 0 || x % 8 == 0)
                halves = nf_device_rng_block(c.key, (uint64_t)x / 8, 1);
            const uint32_t pair = word_of(halves, (int)(x % 8 / 2));
            hw[k] = round_random(w, x % 2 ? pair >> 16 : pair & 0xffffu);
        }
    }
    put((uint16_t *)s.w + at, hw, n);
    put((uint16_t *)s.m + at, hm, n);
    put((uint16_t *)s.v + at, hv, n);
    if (S == SPLIT)
        put(s.low + at, low, n);
}

template <int S> __device__ __forceinline__ void four(const state &s, const consts &c, int64_t at, int64_t e, int n)
{
    float g[4];

    if (s.g_half) {
        uint16_t half[4];
        get(half, (const uint16_t *)s.g + at, n);
#pragma unroll
        for (int k = 0; k < 4; k++)
            g[k] = widen(half[k]);
    } else
        get(g, (const float *)s.g + at, n);
    if constexpr (S == WHOLE || S == MASTER)
        whole<S>(s, c, g, at, n);
    else
        compact<S>(s, c, g, at, e, n);
}

template <int S>
__global__ void __launch_bounds__(THREADS)
    step(state s, const __grid_constant__ table pieces, const nf_step_vars *vars, const nf_decision *decision)
{
    __shared__ consts shared;
    int p = 0;

    if (decision->skip)
        return;
    while (p + 1 < pieces.count && pieces.one[p + 1].block <= blockIdx.x)
        p++;
    const piece &one = pieces.one[p];
    if (threadIdx.x == 0)
        shared = consts_of(s, one, vars, decision);
    __syncthreads();
    const consts c = shared;
    const int64_t begin = (blockIdx.x - one.block) * CHUNK, end = begin + CHUNK < one.count ? begin + CHUNK : one.count;
    for (int64_t i = begin + threadIdx.x * 4; i < end; i += THREADS * 4)
        four<S>(s, c, one.flat + i, one.first + i, (int)(end - i < 4 ? end - i : 4));
}

__global__ void decide(nf_decision *decision, const double *reduced, double clip)
{
    nf_decision d = *decision;

    d.norm_sq = reduced[0];
    d.loss = reduced[1];
    d.mtp_loss = reduced[2];
    d.aux_loss = reduced[3];
    d.skip = !(isfinite(d.norm_sq) && isfinite(d.loss) && isfinite(d.mtp_loss) && isfinite(d.aux_loss));
    d.clip_scale = 1.0f;
    if (!d.skip) {
        const double scale = clip > 0.0 ? clip / (sqrt(d.norm_sq) + 1e-6) : 1.0;
        d.clip_scale = scale < 1.0 ? (float)scale : 1.0f;
        d.t++;
    }
    *decision = d;
}

void launch(const state &s, scheme which, const table &t, int64_t blocks, const nf_step_vars *vars, const nf_decision *d,
            cudaStream_t stream)
{
    const auto kernel = which == WHOLE    ? step<WHOLE>
                        : which == MASTER ? step<MASTER>
                        : which == SPLIT  ? step<SPLIT>
                                          : step<HALF>;
    if (blocks)
        kernel<<<(unsigned)blocks, THREADS, 0, stream>>>(s, t, vars, d);
}

} // namespace

extern "C" nf_status nf_cuda_adamw(nf_queue *q, const struct nf_adamw_run *run, const struct nf_adamw_arg *arg,
                                   const struct nf_step_vars *vars, const struct nf_decision *decision)
{
    const state s = {run->w.data, run->g.data, (int16_t *)run->low.data, (float *)run->master.data,
                     run->m.data, run->v.data, run->g.dtype == NF_BF16,  arg->beta1,
                     arg->beta2,  arg->eps,    arg->weight_decay,        arg->seed};
    const scheme which = run->w.dtype == NF_F32          ? WHOLE
                         : arg->scheme == NF_STATE_FP32  ? MASTER
                         : arg->scheme == NF_STATE_SPLIT ? SPLIT
                                                         : HALF;
    table t;
    int64_t blocks = 0;

    t.count = 0;
    for (int i = 0; i < run->pieces; i++) {
        const struct nf_adamw_piece *one = &run->piece[i];
        if (one->count == 0)
            continue;
        t.one[t.count++] = {one->flat, one->count, one->first, one->param, one->decay, blocks};
        blocks += nf_ceil_div(one->count, CHUNK);
        if (t.count == PIECES) {
            launch(s, which, t, blocks, vars, decision, nf_stream(q));
            t.count = 0;
            blocks = 0;
        }
    }
    launch(s, which, t, blocks, vars, decision, nf_stream(q));
    return nf_launched("adamw");
}

extern "C" nf_status nf_cuda_decide(nf_queue *q, struct nf_decision *decision, const double *reduced, double clip)
{
    decide<<<1, 1, 0, nf_stream(q)>>>(decision, reduced, clip);
    return nf_launched("decide");
}
