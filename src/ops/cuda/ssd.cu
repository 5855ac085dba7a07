/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd.cu: the scan forward (mathematics: ops/cpu/ssd.c): what each chunk adds to the state, the passing of states from chunk to
 * chunk, the outputs. The states that enter the chunks are kept for the backward in the type of x; sums between are fp32.
 */
#include "ssd.cuh"

namespace
{

/* sums[chunk + 1][h][p][n] = U of the chunk */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) chunk_state(ssd_data<T> d, float *sums)
{
    __shared__ nf_tile_space<T> space;
    __shared__ ssd_head s;
    __shared__ float weight[NF_SSD_Q];
    const ssd_cut &c = d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int h = blockIdx.y, wide = ssd_tiles(c.N), p0 = blockIdx.z / wide * NF_TILE, n0 = blockIdx.z % wide * NF_TILE;
    const int64_t col = (int64_t)h * c.P, group = (int64_t)(h / c.ratio) * c.N;
    nf_tile acc;

    if (k.last)
        return;
    ssd_load_head(s, d, k, h);
    for (int j = threadIdx.x; j < NF_SSD_Q; j += NF_TILE_THREADS)
        weight[j] = s.dt[j] * ssd_leave(s, j, k.n);
    nf_tile_zero(acc);
    nf_tile_product<NF_ALONG_ROWS, NF_ALONG_ROWS>(
        acc, space, 0, k.n,
        [&](int p, int j) { return p0 + p < c.P ? weight[j] * ssd_read(d.x, k.t0 + j, col + p0 + p) : 0.0f; },
        [&](int n, int j) { return n0 + n < c.N ? ssd_read(d.b, k.t0 + j, group + n0 + n) : 0.0f; });
    float *to = sums + ssd_state_at(c, blockIdx.x + 1, h);
    nf_tile_each(acc, [&](int p, int n, float v) {
        if (p0 + p < c.P && n0 + n < c.N)
            to[(p0 + p) * c.N + n0 + n] = v;
    });
}

/* H_{c+1} = U_c + exp(s_e) H_c where the segment goes through; a thread is one element of the states of one head and row. */
template <typename T> __global__ void __launch_bounds__(256) pass_states(ssd_data<T> d, const float *sums, T *entering)
{
    const ssd_cut &c = d.cut;
    const int64_t size = (int64_t)c.P * c.N, e = (int64_t)blockIdx.x * 256 + threadIdx.x;
    const int h = blockIdx.y, row = blockIdx.z;
    if (e >= size)
        return;
    float state = 0.0f;
    entering[ssd_state_at(c, (int64_t)row * c.chunks, h) + e] = nf_from_float<T>(0.0f);
    for (int chunk = 0; chunk + 1 < c.chunks; chunk++) {
        const int64_t all = (int64_t)row * c.chunks + chunk, t = (int64_t)row * c.S + (chunk + 1) * NF_SSD_Q - 1;
        const float decay = d.first[t] == -1 ? expf(d.hi[(int64_t)h * c.T + t]) : 0.0f;
        /* also where the state is infinite, a decay of zero must forget it */
        state = sums[ssd_state_at(c, all + 1, h) + e] + (decay > 0.0f ? decay * state : 0.0f);
        entering[ssd_state_at(c, all + 1, h) + e] = nf_from_float<T>(state);
    }
}

template <typename T>
__global__ void __launch_bounds__(NF_TILE_THREADS)
    chunk_output(ssd_data<T> d, const T *entering, const float *skip, T *y, int64_t ld)
{
    __shared__ nf_tile_space<T> space;
    __shared__ ssd_head s;
    const ssd_cut &c = d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int h = blockIdx.y, wide = ssd_tiles(c.P), i0 = blockIdx.z / wide * NF_TILE, p0 = blockIdx.z % wide * NF_TILE;
    const int64_t col = (int64_t)h * c.P, group = (int64_t)(h / c.ratio) * c.N;
    nf_tile acc;

    if (i0 >= k.n)
        return;
    ssd_load_head(s, d, k, h);
    nf_tile_zero(acc);
    if (s.first[i0] == -1) { /* carried tokens come first */
        const T *state = entering + ssd_state_at(c, blockIdx.x, h);
        nf_tile_product<NF_ALONG_K, NF_ALONG_K>(
            acc, space, 0, c.N,
            [&](int i, int n) {
                return s.first[i0 + i] == -1 ? expf(s.hi[i0 + i]) * ssd_read(d.c, k.t0 + i0 + i, group + n) : 0.0f;
            },
            [&](int p, int n) { return p0 + p < c.P ? nf_to_float(state[(p0 + p) * c.N + n]) : 0.0f; });
    }
    const float *cb = d.cb + ((int64_t)blockIdx.x * c.groups + h / c.ratio) * NF_SSD_Q * NF_SSD_Q;
    const int end = i0 + NF_TILE < k.n ? i0 + NF_TILE : k.n;
    nf_tile_product<NF_ALONG_K, NF_ALONG_ROWS>(
        acc, space, 0, end,
        [&](int i, int j) {
            const float l = ssd_pair(s, i0 + i, j);
            return l != 0.0f ? l * cb[(i0 + i) * NF_SSD_Q + j] * s.dt[j] : 0.0f;
        },
        [&](int p, int j) { return p0 + p < c.P ? ssd_read(d.x, k.t0 + j, col + p0 + p) : 0.0f; });
    nf_tile_each(acc, [&](int i, int p, float v) {
        if (i0 + i < k.n && p0 + p < c.P) {
            const int64_t t = k.t0 + i0 + i;
            y[t * ld + col + p0 + p] = nf_from_float<T>(v + skip[h] * ssd_read(d.x, t, col + p0 + p));
        }
    });
}

template <typename T>
nf_status forward(nf_queue *q, nf_out y, void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log,
                  nf_in skip, const nf_ssd_arg *arg, void *scratch)
{
    nf_carving carve = {(char *)scratch, nf_cuda_ssd_scratch(y, kept != NULL, x, b, c, arg)};
    const cudaStream_t s = nf_stream(q);
    ssd_data<T> d;
    nf_status status = ssd_prepare<T>(q, &carve, &d, x, b, c, dt, dt_bias, a_log, arg);
    if (status != NF_OK)
        return status;
    NF_CARVE(&carve, float, sums, nf_cuda_ssd_states(arg));
    T *entering = (T *)kept;
    if (!kept) {
        NF_CARVE(&carve, T, own, nf_cuda_ssd_states(arg));
        entering = own;
    }
    const ssd_cut &cut = d.cut;
    if (cut.all == 0)
        return NF_OK;
    const unsigned all = (unsigned)cut.all, heads = (unsigned)cut.heads;
    const unsigned tall = (unsigned)ssd_tiles(NF_SSD_Q), across = (unsigned)ssd_tiles(cut.P);
    if (cut.chunks > 1)
        chunk_state<T><<<dim3(all, heads, across * (unsigned)ssd_tiles(cut.N)), NF_TILE_THREADS, 0, s>>>(d, sums);
    pass_states<T><<<dim3((unsigned)nf_ceil_div((int64_t)cut.P * cut.N, 256), heads, (unsigned)arg->seq.rows), 256, 0, s>>>(
        d, sums, entering);
    chunk_output<T><<<dim3(all, heads, tall * across), NF_TILE_THREADS, 0, s>>>(d, entering, (const float *)skip->data,
                                                                                (T *)y->data, y->stride[0]);
    return nf_launched("ssd");
}

} // namespace

extern "C" nf_status nf_cuda_ssd(nf_queue *q, nf_out y, void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias,
                                 nf_in a_log, nf_in d, const struct nf_ssd_arg *arg, void *scratch)
{
    return NF_BY_TYPE(x->dtype, forward, q, y, kept, x, b, c, dt, dt_bias, a_log, d, arg, scratch);
}
