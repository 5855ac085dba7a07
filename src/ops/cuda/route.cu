/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.cu: which experts a token goes to. A warp a token, its scores in shared memory; k rounds of a maximum over the warp,
 * equal keys to the lower index. The arithmetic is that of src/ops/cpu/route.c, whose comment has the formulas; a score that is
 * not a number counts as the smallest. Loads are counted by integer atomics: any order gives the same.
 */
#include "philox.cuh"

namespace
{

enum { WARPS = 4, MOST = 64 * 32 /* experts: one bit a lane says "taken" */, GROUPS = 64 };

struct best {
    float key;
    int id; /* -1: none */
};

__device__ __forceinline__ float number(float x)
{
    return x == x ? x : -INFINITY;
}

__device__ __forceinline__ bool before(best a, best b)
{
    if (a.id < 0 || b.id < 0)
        return b.id < 0 && a.id >= 0;
    return a.key > b.key || (a.key == b.key && a.id < b.id);
}

__device__ __forceinline__ best warp_best(best x)
{
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) {
        const best y = {__shfl_xor_sync(0xffffffffu, x.key, d), __shfl_xor_sync(0xffffffffu, x.id, d)};
        x = before(y, x) ? y : x;
    }
    return x;
}

__device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (int d = 16; d > 0; d >>= 1)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    return x;
}

/* The best of [begin, end) that is not taken; taken: bit i of a lane is expert 32 i + lane */
__device__ best pick(const float *choice, int begin, int end, unsigned long long taken)
{
    const int lane = threadIdx.x % 32;
    best b = {0, -1};
    for (int e = begin / 32 * 32 + lane; e < end; e += 32) {
        const best x = {number(choice[e]), e};
        if (e >= begin && !(taken >> (e / 32) & 1) && before(x, b))
            b = x;
    }
    return warp_best(b);
}

__device__ __forceinline__ void take(unsigned long long &taken, int id)
{
    if (threadIdx.x % 32 == id % 32)
        taken |= 1ull << (id / 32);
}

/* Experts of groups that are not kept become taken: the groups kept have the largest sums of their two best. */
__device__ void drop_groups(unsigned long long &taken, const float *choice, int experts, int groups, int kept)
{
    const int size = experts / groups, lane = threadIdx.x % 32;
    unsigned long long keep = 0;
    float sum[GROUPS / 32]; /* of groups lane, lane + 32 */

    for (int g = 0; g < groups; g++) {
        unsigned long long one = 0;
        const best first = pick(choice, g * size, (g + 1) * size, 0);
        take(one, first.id);
        const best second = pick(choice, g * size, (g + 1) * size, one);
        if (lane == g % 32)
            sum[g / 32] = size > 1 ? first.key + second.key : first.key;
    }
    for (int i = 0; i < kept; i++) {
        best b = {0, -1};
        for (int g = lane; g < groups; g += 32) {
            const best x = {sum[g / 32], g};
            if (!(keep >> g & 1) && (b.id < 0 || x.key > b.key))
                b = x;
        }
        keep |= 1ull << warp_best(b).id;
    }
    for (int e = lane; e < experts; e += 32)
        if (!(keep >> (e / size) & 1))
            taken |= 1ull << (e / 32);
}

/* Floyd's algorithm, by lane 0 */
__device__ void choose_random(int32_t *ids, int64_t experts, int k, uint64_t mixed, int64_t row, int64_t position)
{
    uint4 bits = {0, 0, 0, 0};
    for (int i = 0; i < k; i++) {
        const uint64_t range = (uint64_t)(experts - k + i) + 1;
        if (i % 4 == 0)
            bits = nf_device_rng_block(mixed, (uint64_t)row, (uint64_t)position + ((uint64_t)(i / 4) << 32));
        const uint32_t word = i % 4 == 0 ? bits.x : i % 4 == 1 ? bits.y : i % 4 == 2 ? bits.z : bits.w;
        int32_t one = (int32_t)((word * range) >> 32);
        for (int seen = 0; seen < i; seen++)
            if (ids[seen] == one) {
                one = (int32_t)(range - 1);
                break;
            }
        ids[i] = one;
    }
}

struct job {
    struct nf_route_arg arg;
    const float *logits, *correction;
    float *scores, *weights;
    int32_t *ids, *load;
    int64_t tokens, ld_logits, ld_scores;
    int experts;
};

/* Scores of one row; every lane has written its own. */
__device__ void score(const job &j, float *s, const float *l)
{
    const int lane = threadIdx.x % 32;
    if (j.arg.score == NF_SCORE_SIGMOID) {
        for (int e = lane; e < j.experts; e += 32)
            s[e] = nf_sigmoid(l[e]);
        return;
    }
    float most = -INFINITY, sum = 0;
    for (int e = lane; e < j.experts; e += 32)
        most = fmaxf(most, l[e]);
    most = warp_max(most);
    for (int e = lane; e < j.experts; e += 32) {
        s[e] = expf(l[e] - most);
        sum += s[e];
    }
    sum = nf_warp_sum(sum);
    for (int e = lane; e < j.experts; e += 32)
        s[e] /= sum;
}

/* By lane 0, in fp64: k is small */
__device__ void weigh(const job &j, float *weights, const int32_t *ids, const float *scores, const float *logits)
{
    const nf_route_arg &a = j.arg;
    double sum = 0;

    if (a.score == NF_SCORE_SIGMOID || (a.score == NF_SCORE_SOFTMAX && !a.normalise)) {
        for (int i = 0; i < a.k; i++)
            sum += (double)scores[ids[i]];
        const double factor = a.normalise ? (double)a.scale / (sum + 1e-20) : (double)a.scale;
        for (int i = 0; i < a.k; i++)
            weights[i] = (float)((double)scores[ids[i]] * factor);
        return;
    }
    float most = -INFINITY;
    for (int i = 0; i < a.k; i++)
        most = fmaxf(most, logits[ids[i]]);
    for (int i = 0; i < a.k; i++)
        sum += exp((double)logits[ids[i]] - (double)most);
    for (int i = 0; i < a.k; i++)
        weights[i] = (float)((double)a.scale * exp((double)logits[ids[i]] - (double)most) / sum);
}

__global__ void __launch_bounds__(32 * WARPS) forward(job j)
{
    extern __shared__ float shared[]; /* [WARPS][2][experts]: scores, choices */
    const nf_route_arg &a = j.arg;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t t = (int64_t)blockIdx.x * WARPS + warp;
    if (t >= j.tokens)
        return;
    float *scores = shared + (size_t)warp * 2 * j.experts, *choice = scores + j.experts;
    const float *logits = j.logits + t * j.ld_logits;
    int32_t *ids = j.ids + t * a.k;
    float *weights = j.weights + t * a.k;

    score(j, scores, logits);
    for (int e = lane; e < j.experts; e += 32)
        j.scores[t * j.ld_scores + e] = scores[e];
    if (a.seq.segment && a.seq.segment[t] == 0) {
        for (int i = lane; i < a.k; i += 32) {
            ids[i] = -1;
            weights[i] = 0;
        }
        return;
    }
    const int64_t row = t / a.seq.len, position = t % a.seq.len;
    if (a.gate == NF_GATE_RANDOM) {
        if (lane == 0)
            choose_random(ids, j.experts, a.k, nf_device_rng_mix(a.seed, (uint64_t)a.vars->step, NF_RNG_GATE, a.layer),
                          a.global_row[row], position);
    } else if (a.gate == NF_GATE_CONTIGUOUS) {
        const uint64_t token = (uint64_t)(a.global_row[row] * a.seq.len + position);
        for (int i = lane; i < a.k; i += 32)
            ids[i] = (int32_t)((token * (uint64_t)a.k + (uint64_t)i) % (uint64_t)j.experts);
    } else if (a.gate == NF_GATE_ROUTER) {
        unsigned long long taken = 0;
        for (int e = lane; e < j.experts; e += 32)
            choice[e] = (a.score == NF_SCORE_SOFTMAX_TOPK ? logits[e] : scores[e]) + (j.correction ? j.correction[e] : 0.0f);
        __syncwarp();
        if (a.groups > 1 && a.groups_kept < a.groups)
            drop_groups(taken, choice, j.experts, a.groups, a.groups_kept);
        for (int i = 0; i < a.k; i++) {
            const best b = pick(choice, 0, j.experts, taken);
            take(taken, b.id);
            if (lane == 0)
                ids[i] = b.id;
        }
    }
    __syncwarp(); /* ids and scores of all lanes are there */
    if (lane == 0)
        weigh(j, weights, ids, scores, logits);
    for (int i = lane; j.load && i < a.k; i += 32)
        atomicAdd(&j.load[ids[i]], 1);
}

struct job_bwd {
    struct nf_route_arg arg;
    float *dlogits;
    const float *dweights, *weights, *scores;
    const int32_t *ids;
    int64_t tokens, ld_dlogits, ld_scores;
    int experts;
};

/* A warp a token: zeros, or all of a softmax's gradient, then the k chosen. Sums over k by every lane alike, in fp64. */
__global__ void __launch_bounds__(32 * WARPS) backward(job_bwd j)
{
    const nf_route_arg &a = j.arg;
    const int lane = threadIdx.x % 32, k = a.k;
    const int64_t t = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (t >= j.tokens)
        return;
    float *dl = j.dlogits + t * j.ld_dlogits;
    const float *dw = j.dweights + t * k, *w = j.weights + t * k, *s = j.scores + t * j.ld_scores;
    const int32_t *ids = j.ids + t * k;
    const double scale = (double)a.scale;
    const bool routed = ids[0] >= 0, whole = a.score == NF_SCORE_SOFTMAX && !a.normalise;
    double sum = 0, mean = 0, z = 1;

    if (routed && a.score == NF_SCORE_SIGMOID) {
        for (int i = 0; i < k; i++)
            sum += (double)s[ids[i]];
        z = a.normalise ? sum + 1e-20 : 1.0;
        for (int i = 0; i < k && a.normalise; i++)
            mean += (double)dw[i] * (double)s[ids[i]] / z;
    } else if (routed && whole) {
        for (int i = 0; i < k; i++)
            mean += (double)dw[i] * (double)s[ids[i]];
    } else if (routed) {
        for (int i = 0; i < k && scale != 0.0; i++)
            mean += (double)dw[i] * (double)w[i] / scale;
    }
    for (int e = lane; e < j.experts; e += 32)
        dl[e] = routed && whole ? (float)(-scale * (double)s[e] * mean) : 0.0f;
    __syncwarp();
    for (int i = lane; routed && i < k; i += 32) {
        const double se = (double)s[ids[i]], di = (double)dw[i] - mean;
        dl[ids[i]] = (float)(a.score == NF_SCORE_SIGMOID ? scale / z * se * (1.0 - se) * di
                             : whole                     ? scale * se * di
                                                         : (double)w[i] * di);
    }
}

__global__ void __launch_bounds__(256)
    bias(float *correction, const int32_t *load, int experts, float rate, const struct nf_decision *decision)
{
    if (decision->skip)
        return;
    int64_t sum = 0;
    for (int e = threadIdx.x; e < experts; e += 256)
        sum += load[e];
    sum = nf_block_sum<256>(sum);
    for (int e = threadIdx.x; e < experts; e += 256) {
        const int64_t scaled = (int64_t)load[e] * experts;
        correction[e] += rate * (float)((sum > scaled) - (sum < scaled));
    }
}

} // namespace

extern "C" nf_status nf_cuda_route(nf_queue *q, int32_t *ids, float *weights, nf_out scores, int32_t *load, nf_in logits,
                                   const float *correction, const struct nf_route_arg *arg, void *)
{
    const job j = {*arg,
                   logits->data ? (const float *)logits->data : NULL,
                   correction,
                   (float *)scores->data,
                   weights,
                   ids,
                   load,
                   logits->dim[0],
                   logits->stride[0],
                   scores->stride[0],
                   (int)logits->dim[1]};
    const size_t shared = (size_t)WARPS * 2 * (size_t)j.experts * sizeof(float);

    if (j.experts > MOST || arg->groups > GROUPS)
        return nf_cuda_fail(NF_EBUG, "route: %d experts in %d groups; the CUDA backend has room for %d in %d", j.experts,
                            arg->groups, (int)MOST, (int)GROUPS);
    if (j.tokens == 0)
        return NF_OK;
    NF_SHARED("route", forward, shared);
    forward<<<(unsigned)nf_ceil_div(j.tokens, WARPS), 32 * WARPS, shared, nf_stream(q)>>>(j);
    return nf_launched("route");
}

extern "C" nf_status nf_cuda_route_bwd(nf_queue *q, nf_out dlogits, const float *dweights, const int32_t *ids,
                                       const float *weights, nf_in scores, const struct nf_route_arg *arg, void *)
{
    const job_bwd j = {*arg, (float *)dlogits->data, dweights,           weights,           (const float *)scores->data,
                       ids,  scores->dim[0],         dlogits->stride[0], scores->stride[0], (int)scores->dim[1]};
    if (j.tokens == 0)
        return NF_OK;
    backward<<<(unsigned)nf_ceil_div(j.tokens, WARPS), 32 * WARPS, 0, nf_stream(q)>>>(j);
    return nf_launched("route_bwd");
}

extern "C" nf_status nf_cuda_router_bias(nf_queue *q, nf_out correction, const int32_t *load, float rate,
                                         const struct nf_decision *decision)
{
    if (correction->dim[0] == 0)
        return NF_OK;
    bias<<<1, 256, 0, nf_stream(q)>>>((float *)correction->data, load, (int)correction->dim[0], rate, decision);
    return nf_launched("router_bias");
}
