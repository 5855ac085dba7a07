/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd_prepare.cu: what both directions of the scan begin with: segments within chunks, steps dt, cumulative decays, C BT.
 * Decays are summed in fp64 along a chunk: s_i - s_j must be right where s is large and the difference is small.
 */
#include "ssd.cuh"

namespace
{

__global__ void __launch_bounds__(256) find_first(ssd_cut c, const int32_t *segment, int32_t *first)
{
    const int64_t t = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (t >= c.T)
        return;
    const int in = (int)(t % c.S), in0 = in / NF_SSD_Q * NF_SSD_Q;
    const int32_t *seg = segment ? segment + (t - in) : NULL; /* of the row */
    int i = seg ? in : in0;
    while (i > in0 && seg[i] == seg[i - 1])
        i--;
    const bool before = i == in0 && in0 > 0 && (!seg || seg[in0] == seg[in0 - 1]);
    first[t] = before ? -1 : i - in0;
}

/* A thread is one head of one chunk. */
template <typename T>
__global__ void __launch_bounds__(128)
    steps(ssd_data<T> d, ssd_in<T> dt, const float *bias, const float *a_log, float low, float high)
{
    const ssd_chunk k = ssd_chunk_of(d.cut, blockIdx.x);
    const int h = blockIdx.y * 128 + threadIdx.x;
    if (h >= d.cut.heads)
        return;
    const double rate = -exp((double)a_log[h]);
    const int64_t at = (int64_t)h * d.cut.T + k.t0;
    double s = 0.0;
    for (int i = 0; i < k.n; i++) {
        const float v = ssd_read(dt, k.t0 + i, h) + bias[h];
        float step = (v > 0.0f ? v : 0.0f) + log1pf(expf(-fabsf(v))); /* softplus; NaN stays NaN */
        step = step < low ? low : step;
        step = step > high ? high : step;
        s += rate * (double)step;
        d.dt[at + i] = step;
        d.hi[at + i] = (float)s;
        d.lo[at + i] = (float)(s - (double)(float)s);
    }
}

/* C_i . B_j of one chunk and group; tile z = 0, 1, 2: (0, 0), (1, 0), (1, 1) */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) products(ssd_data<T> d)
{
    __shared__ nf_tile_space<T> space;
    const ssd_chunk k = ssd_chunk_of(d.cut, blockIdx.x);
    const int group = blockIdx.y, N = d.cut.N, i0 = blockIdx.z > 0 ? NF_TILE : 0, j0 = blockIdx.z > 1 ? NF_TILE : 0;
    const int64_t col = (int64_t)group * N;
    nf_tile acc;

    if (i0 >= k.n)
        return;
    nf_tile_zero(acc);
    nf_tile_product<NF_ALONG_K, NF_ALONG_K>(
        acc, space, 0, N, [&](int i, int n) { return i0 + i < k.n ? ssd_read(d.c, k.t0 + i0 + i, col + n) : 0.0f; },
        [&](int j, int n) { return j0 + j < k.n ? ssd_read(d.b, k.t0 + j0 + j, col + n) : 0.0f; });
    float *cb = d.cb + ((int64_t)blockIdx.x * d.cut.groups + group) * NF_SSD_Q * NF_SSD_Q;
    nf_tile_each(acc, [&](int i, int j, float v) { cb[(i0 + i) * NF_SSD_Q + j0 + j] = v; });
}

} // namespace

template <typename T>
nf_status ssd_prepare(nf_queue *q, nf_carving *scratch, ssd_data<T> *d, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias,
                      nf_in a_log, const nf_ssd_arg *arg)
{
    const int64_t rows = arg->seq.rows, S = arg->seq.len, all = nf_cuda_ssd_chunks(arg);
    ssd_cut cut = {rows * S,   (int)S,      (int)nf_ceil_div(S, NF_SSD_Q), arg->head_dim, arg->state,
                   arg->heads, arg->groups, arg->heads / arg->groups,      (int)all};
    const cudaStream_t s = nf_stream(q);
    NF_CARVE(scratch, float, step, cut.T *cut.heads);
    NF_CARVE(scratch, float, hi, cut.T *cut.heads);
    NF_CARVE(scratch, float, lo, cut.T *cut.heads);
    NF_CARVE(scratch, int32_t, first, cut.T);
    NF_CARVE(scratch, float, cb, all *cut.groups *NF_SSD_Q *NF_SSD_Q);

    *d = ssd_data<T>{cut,
                     {(const T *)x->data, x->stride[0]},
                     {(const T *)b->data, b->stride[0]},
                     {(const T *)c->data, c->stride[0]},
                     step,
                     hi,
                     lo,
                     first,
                     cb};
    if (all == 0)
        return NF_OK;
    find_first<<<(unsigned)nf_ceil_div(cut.T, 256), 256, 0, s>>>(cut, arg->seq.segment, first);
    steps<T><<<dim3((unsigned)all, (unsigned)nf_ceil_div(cut.heads, 128)), 128, 0, s>>>(
        *d, ssd_in<T>{(const T *)dt->data, dt->stride[0]}, (const float *)dt_bias->data, (const float *)a_log->data, arg->dt_lo,
        arg->dt_hi);
    products<T><<<dim3((unsigned)all, (unsigned)cut.groups, 3), NF_TILE_THREADS, 0, s>>>(*d);
    return nf_launched("ssd");
}

template nf_status ssd_prepare<float>(nf_queue *, nf_carving *, ssd_data<float> *, nf_in, nf_in, nf_in, nf_in, nf_in, nf_in,
                                      const nf_ssd_arg *);
template nf_status ssd_prepare<bf16>(nf_queue *, nf_carving *, ssd_data<bf16> *, nf_in, nf_in, nf_in, nf_in, nf_in, nf_in,
                                     const nf_ssd_arg *);
