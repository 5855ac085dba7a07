/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd_bwd_chunk.cu: the gradients of each chunk by itself; the formulas are those of ops/cpu/ssd_bwd_chunk.c. Kernels, in
 * order:
 *
 *   input_gradient    dx, the direct part of ddt, e, skip        a tile of tokens of one head
 *   state_share       o                                          a tile of tokens of one head
 *   decay_gradient    da                                         a head of a chunk: prefix sums over the whole Q x Q
 *   product_gradient  W summed over the heads of a group         a tile of Q x Q of one group
 *   group_gradient    dc, then db                                a tile of tokens x state of one group
 *
 * g_i . x_j is made twice (decay_gradient, product_gradient): 64 multiply-adds a pair cost less than storing it a head.
 */
#include "ssd_bwd.cuh"

namespace
{

/* acc_j = el_j R B_j + sum_{i >= j} L_ij CB_ij g_i;  dx_j = dt_j acc_j + D g_j;  ddt_j = acc_j . x_j */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) input_gradient(ssd_grads<T> w)
{
    __shared__ nf_tile_space<T> space;
    __shared__ ssd_head s;
    __shared__ float leave[NF_SSD_Q];
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int h = blockIdx.y, j0 = blockIdx.z * NF_TILE;
    const int64_t group = (int64_t)(h / c.ratio) * c.N, own = (int64_t)h * c.T + k.t0 + j0;
    const float *cb = w.d.cb + ((int64_t)blockIdx.x * c.groups + h / c.ratio) * NF_SSD_Q * NF_SSD_Q;
    const float *r = w.r + ssd_state_at(c, blockIdx.x, h);
    float part[2], e[2] = {0.0f, 0.0f}, ddt[2] = {0.0f, 0.0f}, skip[2] = {0.0f, 0.0f};

    if (j0 >= k.n)
        return;
    ssd_load_head(s, w.d, k, h);
    for (int j = threadIdx.x; j < NF_SSD_Q; j += NF_TILE_THREADS)
        leave[j] = ssd_leave(s, j, k.n);
    for (int p0 = 0; p0 < c.P; p0 += NF_TILE) {
        const int64_t col = (int64_t)h * c.P + p0;
        auto inside = [&](int j, int p) { return j0 + j < k.n && p0 + p < c.P; };
        auto times_x = [&](int j, int p, float v) { return inside(j, p) ? v * ssd_read(w.d.x, k.t0 + j0 + j, col + p) : 0.0f; };
        nf_tile acc;
        nf_tile_zero(acc);
        if (!k.last) { /* else R is 0 */
            nf_tile_product<NF_ALONG_K, NF_ALONG_K>(
                acc, space, 0, c.N,
                [&](int j, int n) {
                    const float l = leave[j0 + j];
                    return l != 0.0f ? l * ssd_read(w.d.b, k.t0 + j0 + j, group + n) : 0.0f;
                },
                [&](int p, int n) { return p0 + p < c.P ? r[(p0 + p) * c.N + n] : 0.0f; });
            nf_tile_row_sums(acc, part, times_x);
            e[0] += part[0], e[1] += part[1];
        }
        nf_tile_product<NF_ALONG_ROWS, NF_ALONG_ROWS>(
            acc, space, j0, k.n,
            [&](int j, int i) {
                const float l = ssd_pair(s, i, j0 + j);
                return l != 0.0f ? l * cb[i * NF_SSD_Q + j0 + j] : 0.0f;
            },
            [&](int p, int i) { return p0 + p < c.P ? ssd_read(w.g, k.t0 + i, col + p) : 0.0f; });
        nf_tile_row_sums(acc, part, times_x);
        ddt[0] += part[0], ddt[1] += part[1];
        nf_tile_row_sums(acc, part, [&](int j, int p, float) {
            return inside(j, p) ? ssd_read(w.g, k.t0 + j0 + j, col + p) * ssd_read(w.d.x, k.t0 + j0 + j, col + p) : 0.0f;
        });
        skip[0] += part[0], skip[1] += part[1];
        nf_tile_each(acc, [&](int j, int p, float v) {
            if (inside(j, p)) {
                const int64_t t = k.t0 + j0 + j;
                w.dx[t * w.ld_dx + col + p] = nf_from_float<T>(s.dt[j0 + j] * v + w.through[h] * ssd_read(w.g, t, col + p));
            }
        });
    }
    if (threadIdx.x % 4 == 0)
        for (int second = 0; second < 2; second++) {
            const int j = nf_tile_row(second);
            if (j0 + j < k.n) {
                w.e[own + j] = s.dt[j0 + j] * e[second];
                w.ddt[own + j] = ddt[second];
                w.skip[own + j] = skip[second];
            }
        }
}

/* o_i = es_i g_i . (H C_i) */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) state_share(ssd_grads<T> w)
{
    __shared__ nf_tile_space<T> space;
    __shared__ ssd_head s;
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int h = blockIdx.y, i0 = blockIdx.z * NF_TILE;
    const int64_t group = (int64_t)(h / c.ratio) * c.N, own = (int64_t)h * c.T + k.t0 + i0;
    const T *state = w.entering + ssd_state_at(c, blockIdx.x, h);
    float part[2], o[2] = {0.0f, 0.0f};

    if (i0 >= k.n)
        return;
    ssd_load_head(s, w.d, k, h);
    if (s.first[i0] == -1)
        for (int p0 = 0; p0 < c.P; p0 += NF_TILE) {
            const int64_t col = (int64_t)h * c.P + p0;
            nf_tile acc;
            nf_tile_zero(acc);
            nf_tile_product<NF_ALONG_K, NF_ALONG_K>(
                acc, space, 0, c.N,
                [&](int i, int n) { return s.first[i0 + i] == -1 ? ssd_read(w.d.c, k.t0 + i0 + i, group + n) : 0.0f; },
                [&](int p, int n) { return p0 + p < c.P ? nf_to_float(state[(p0 + p) * c.N + n]) : 0.0f; });
            nf_tile_row_sums(acc, part, [&](int i, int p, float v) {
                return s.first[i0 + i] == -1 && p0 + p < c.P ? v * ssd_read(w.g, k.t0 + i0 + i, col + p) : 0.0f;
            });
            o[0] += part[0], o[1] += part[1];
        }
    if (threadIdx.x % 4 == 0)
        for (int second = 0; second < 2; second++) {
            const int i = nf_tile_row(second);
            if (i0 + i < k.n)
                w.o[own + i] = ssd_enter(s, i0 + i) * o[second];
        }
}

/* g_i . x_j of one head for a tile at (i0, j0) */
template <typename T>
__device__ __forceinline__ void pair_products(nf_tile &acc, nf_tile_space<T> &space, const ssd_grads<T> &w, const ssd_chunk &k,
                                              int h, int i0, int j0)
{
    const int64_t col = (int64_t)h * w.d.cut.P;
    nf_tile_zero(acc);
    nf_tile_product<NF_ALONG_K, NF_ALONG_K>(
        acc, space, 0, w.d.cut.P, [&](int i, int p) { return i0 + i < k.n ? ssd_read(w.g, k.t0 + i0 + i, col + p) : 0.0f; },
        [&](int j, int p) { return j0 + j < k.n ? ssd_read(w.d.x, k.t0 + j0 + j, col + p) : 0.0f; });
}

/* da_m = sum_{i >= m > j} W_ij CB_ij + sum_{j < m} e_j + sum_{i >= m} o_i + exp(s_e) <R, H>; not as a difference of sums
 * (ops/cpu/) */
enum { PAIR_PITCH = NF_SSD_Q + 1 };
struct decay_space {
    float pair[NF_SSD_Q * PAIR_PITCH];
    float e[NF_SSD_Q], o[NF_SSD_Q];
    ssd_head s;
};
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) decay_gradient(ssd_grads<T> w)
{
    static_assert(NF_TILE_THREADS == NF_SSD_Q, "a thread is a token");
    extern __shared__ float dynamic[];
    __shared__ nf_tile_space<T> space;
    decay_space &b = *reinterpret_cast<decay_space *>(dynamic);
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int h = blockIdx.y, m = threadIdx.x;
    const int64_t own = (int64_t)h * c.T + k.t0, at = ssd_state_at(c, blockIdx.x, h);
    const float *cb = w.d.cb + ((int64_t)blockIdx.x * c.groups + h / c.ratio) * NF_SSD_Q * NF_SSD_Q;

    ssd_load_head(b.s, w.d, k, h);
    b.e[m] = m < k.n ? w.e[own + m] : 0.0f;
    b.o[m] = m < k.n ? w.o[own + m] : 0.0f;
    for (int tile = 0; tile < 3; tile++) {
        const int i0 = tile > 0 ? NF_TILE : 0, j0 = tile > 1 ? NF_TILE : 0;
        nf_tile acc;
        if (i0 >= k.n)
            break;
        pair_products(acc, space, w, k, h, i0, j0);
        nf_tile_each(acc, [&](int i, int j, float v) {
            const float l = ssd_pair(b.s, i0 + i, j0 + j);
            b.pair[(i0 + i) * PAIR_PITCH + j0 + j] =
                l != 0.0f ? l * b.s.dt[j0 + j] * v * cb[(i0 + i) * NF_SSD_Q + j0 + j] : 0.0f;
        });
    }
    float before = 0.0f;
    if (!k.last && b.s.first[k.n - 1] == -1) {
        for (int i = m; i < c.P * c.N; i += NF_TILE_THREADS)
            before += w.r[at + i] * nf_to_float(w.entering[at + i]);
        before = nf_block_sum<NF_TILE_THREADS>(before) * expf(b.s.hi[k.n - 1]);
    }
    __syncthreads();
    float run = 0.0f;
    for (int j = 0; j <= m && m < k.n; j++) { /* row m becomes its prefix sums */
        const float v = b.pair[m * PAIR_PITCH + j];
        b.pair[m * PAIR_PITCH + j] = run;
        run += v;
    }
    __syncthreads();
    if (m < k.n) {
        float da = before, after = 0.0f;
        for (int j = 0; j < m; j++)
            da += b.e[j];
        for (int i = k.n - 1; i >= m; i--)
            after += b.o[i] + b.pair[i * PAIR_PITCH + m];
        w.da[own + m] = da + after;
    }
}

/* W_ij = sum over the group's heads of L_ij dt_j g_i . x_j */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) product_gradient(ssd_grads<T> w)
{
    __shared__ nf_tile_space<T> space;
    __shared__ ssd_head s;
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int group = blockIdx.y, i0 = blockIdx.z > 0 ? NF_TILE : 0, j0 = blockIdx.z > 1 ? NF_TILE : 0;
    nf_tile sum, acc;

    if (i0 >= k.n)
        return;
    nf_tile_zero(sum);
    for (int h = group * c.ratio; h < (group + 1) * c.ratio; h++) {
        __syncthreads(); /* s may still be read */
        ssd_load_head(s, w.d, k, h);
        pair_products(acc, space, w, k, h, i0, j0);
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int col = j0 + nf_tile_col(j, i % 2);
                const float l = ssd_pair(s, i0 + nf_tile_row(i / 2), col);
                if (l != 0.0f)
                    sum.v[j][i] += l * s.dt[col] * acc.v[j][i];
            }
    }
    float *to = w.w + ((int64_t)blockIdx.x * c.groups + group) * NF_SSD_Q * NF_SSD_Q;
    nf_tile_each(sum, [&](int i, int j, float v) { to[(i0 + i) * NF_SSD_Q + j0 + j] = v; });
}

/* Factors es_i (FORWARD) or dt_j el_j of all heads of a group for a tile of tokens: [ratio][tile] */
template <bool ENTER, typename T>
__device__ __forceinline__ void head_factors(float *to, const ssd_data<T> &d, const ssd_chunk &k, int group, int i0)
{
    const int last = k.n - 1;
    for (int x = threadIdx.x; x < d.cut.ratio * NF_TILE; x += NF_TILE_THREADS) {
        const int i = i0 + x % NF_TILE;
        const int64_t own = (int64_t)(group * d.cut.ratio + x / NF_TILE) * d.cut.T + k.t0;
        float f = 0.0f;
        if (i < k.n && ENTER && d.first[k.t0 + i] == -1)
            f = expf(d.hi[own + i]);
        if (i < k.n && !ENTER && d.first[k.t0 + i] == d.first[k.t0 + last])
            f = d.dt[own + i] * ssd_decay(d.hi[own + last], d.lo[own + last], d.hi[own + i], d.lo[own + i]);
        to[x] = f;
    }
    __syncthreads();
}

/* dC_i = sum_{j <= i} W_ij B_j + sum_h es_i HT g_i */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) group_gradient_c(ssd_grads<T> w)
{
    extern __shared__ float factor[];
    __shared__ nf_tile_space<T> space;
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int group = blockIdx.y, wide = ssd_tiles(c.N), i0 = blockIdx.z / wide * NF_TILE, n0 = blockIdx.z % wide * NF_TILE;
    const int64_t col = (int64_t)group * c.N + n0, heads = (int64_t)group * c.ratio * c.P;
    const float *gw = w.w + ((int64_t)blockIdx.x * c.groups + group) * NF_SSD_Q * NF_SSD_Q;
    nf_tile acc;

    if (i0 >= k.n)
        return;
    nf_tile_zero(acc);
    nf_tile_product<NF_ALONG_K, NF_ALONG_ROWS>(
        acc, space, 0, i0 + NF_TILE < k.n ? i0 + NF_TILE : k.n,
        [&](int i, int j) { return j <= i0 + i ? gw[(i0 + i) * NF_SSD_Q + j] : 0.0f; },
        [&](int n, int j) { return n0 + n < c.N ? ssd_read(w.d.b, k.t0 + j, col + n) : 0.0f; });
    if (w.d.first[k.t0 + i0] == -1) {
        const T *state = w.entering + ssd_state_at(c, blockIdx.x, group * c.ratio);
        head_factors<true>(factor, w.d, k, group, i0);
        nf_tile_product<NF_ALONG_K, NF_ALONG_ROWS>(
            acc, space, 0, c.ratio * c.P,
            [&](int i, int x) {
                const float f = factor[x / c.P * NF_TILE + i];
                return f != 0.0f ? f * ssd_read(w.g, k.t0 + i0 + i, heads + x) : 0.0f;
            },
            [&](int n, int x) { return n0 + n < c.N ? nf_to_float(state[(int64_t)x * c.N + n0 + n]) : 0.0f; });
    }
    nf_tile_each(acc, [&](int i, int n, float v) {
        if (i0 + i < k.n && n0 + n < c.N)
            w.dc[(k.t0 + i0 + i) * w.ld_dc + col + n] = nf_from_float<T>(v);
    });
}

/* dB_j = sum_{i >= j} W_ij C_i + sum_h dt_j el_j RT x_j */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) group_gradient_b(ssd_grads<T> w)
{
    extern __shared__ float factor[];
    __shared__ nf_tile_space<T> space;
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int group = blockIdx.y, wide = ssd_tiles(c.N), j0 = blockIdx.z / wide * NF_TILE, n0 = blockIdx.z % wide * NF_TILE;
    const int64_t col = (int64_t)group * c.N + n0, heads = (int64_t)group * c.ratio * c.P;
    const float *gw = w.w + ((int64_t)blockIdx.x * c.groups + group) * NF_SSD_Q * NF_SSD_Q;
    nf_tile acc;

    if (j0 >= k.n)
        return;
    nf_tile_zero(acc);
    nf_tile_product<NF_ALONG_ROWS, NF_ALONG_ROWS>(
        acc, space, j0, k.n, [&](int j, int i) { return j0 + j <= i ? gw[i * NF_SSD_Q + j0 + j] : 0.0f; },
        [&](int n, int i) { return n0 + n < c.N ? ssd_read(w.d.c, k.t0 + i, col + n) : 0.0f; });
    if (!k.last) {
        const float *r = w.r + ssd_state_at(c, blockIdx.x, group * c.ratio);
        head_factors<false>(factor, w.d, k, group, j0);
        nf_tile_product<NF_ALONG_K, NF_ALONG_ROWS>(
            acc, space, 0, c.ratio * c.P,
            [&](int j, int x) {
                const float f = factor[x / c.P * NF_TILE + j];
                return f != 0.0f ? f * ssd_read(w.d.x, k.t0 + j0 + j, heads + x) : 0.0f;
            },
            [&](int n, int x) { return n0 + n < c.N ? r[(int64_t)x * c.N + n0 + n] : 0.0f; });
    }
    nf_tile_each(acc, [&](int j, int n, float v) {
        if (j0 + j < k.n && n0 + n < c.N)
            w.db[(k.t0 + j0 + j) * w.ld_db + col + n] = nf_from_float<T>(v);
    });
}

/* More than 48 KiB of dynamic shared memory must be asked for. */
template <typename K> nf_status allow(K kernel, size_t bytes)
{
    const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    return e == cudaSuccess ? NF_OK
                            : nf_cuda_fail(NF_EDEVICE, "ssd_bwd: %zu bytes of shared memory: %s", bytes, cudaGetErrorString(e));
}

} // namespace

template <typename T> nf_status ssd_chunk_gradients(cudaStream_t s, const ssd_grads<T> &w)
{
    const ssd_cut &c = w.d.cut;
    const unsigned all = (unsigned)c.all, heads = (unsigned)c.heads, groups = (unsigned)c.groups, tall = NF_SSD_Q / NF_TILE;
    const dim3 group_tiles(all, groups, tall * (unsigned)ssd_tiles(c.N));
    const size_t factors = (size_t)c.ratio * NF_TILE * sizeof(float);

    nf_status status = allow(decay_gradient<T>, sizeof(decay_space));
    if (status == NF_OK && factors > 24 * 1024) {
        status = allow(group_gradient_c<T>, factors);
        if (status == NF_OK)
            status = allow(group_gradient_b<T>, factors);
    }
    if (status != NF_OK)
        return status;
    input_gradient<T><<<dim3(all, heads, tall), NF_TILE_THREADS, 0, s>>>(w);
    state_share<T><<<dim3(all, heads, tall), NF_TILE_THREADS, 0, s>>>(w);
    decay_gradient<T><<<dim3(all, heads), NF_TILE_THREADS, sizeof(decay_space), s>>>(w);
    product_gradient<T><<<dim3(all, groups, 3), NF_TILE_THREADS, 0, s>>>(w);
    group_gradient_c<T><<<group_tiles, NF_TILE_THREADS, factors, s>>>(w);
    group_gradient_b<T><<<group_tiles, NF_TILE_THREADS, factors, s>>>(w);
    return nf_launched("ssd_bwd");
}

template nf_status ssd_chunk_gradients<float>(cudaStream_t, const ssd_grads<float> &);
template nf_status ssd_chunk_gradients<bf16>(cudaStream_t, const ssd_grads<bf16> &);
