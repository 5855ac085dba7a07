/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd_bwd.cu: the scan backward (mathematics: ops/cpu/ssd_bwd.c): the gradients of the states, then each chunk by itself
 * (ssd_bwd_chunk.cu), and last the sums over tokens, in fp64 and a fixed order.
 */
#include "ssd_bwd.cuh"

namespace
{

/* r[chunk - 1] = sum over carried tokens of exp(s_i) g_i C_iT */
template <typename T> __global__ void __launch_bounds__(NF_TILE_THREADS) chunk_gradient(ssd_grads<T> w)
{
    __shared__ nf_tile_space<T> space;
    __shared__ ssd_head s;
    __shared__ float weight[NF_SSD_Q];
    const ssd_cut &c = w.d.cut;
    const ssd_chunk k = ssd_chunk_of(c, blockIdx.x);
    const int h = blockIdx.y, wide = ssd_tiles(c.N), p0 = blockIdx.z / wide * NF_TILE, n0 = blockIdx.z % wide * NF_TILE;
    const int64_t col = (int64_t)h * c.P, group = (int64_t)(h / c.ratio) * c.N;
    nf_tile acc;

    if (k.number == 0)
        return;
    ssd_load_head(s, w.d, k, h);
    for (int i = threadIdx.x; i < NF_SSD_Q; i += NF_TILE_THREADS)
        weight[i] = ssd_enter(s, i);
    nf_tile_zero(acc);
    nf_tile_product<NF_ALONG_ROWS, NF_ALONG_ROWS>(
        acc, space, 0, k.n,
        [&](int p, int i) { return p0 + p < c.P ? weight[i] * ssd_read(w.g, k.t0 + i, col + p0 + p) : 0.0f; },
        [&](int n, int i) { return n0 + n < c.N ? ssd_read(w.d.c, k.t0 + i, group + n0 + n) : 0.0f; });
    float *to = w.r + ssd_state_at(c, blockIdx.x - 1, h);
    nf_tile_each(acc, [&](int p, int n, float v) {
        if (p0 + p < c.P && n0 + n < c.N)
            to[(p0 + p) * c.N + n0 + n] = v;
    });
}

/* R_{c-1} += exp(s_e) R_c where the segment goes through chunk c */
template <typename T> __global__ void __launch_bounds__(256) pass_gradients(ssd_grads<T> w)
{
    const ssd_cut &c = w.d.cut;
    const int64_t size = (int64_t)c.P * c.N, e = (int64_t)blockIdx.x * 256 + threadIdx.x;
    const int h = blockIdx.y, row = blockIdx.z;
    if (e >= size)
        return;
    float r = 0.0f;
    w.r[ssd_state_at(c, (int64_t)row * c.chunks + c.chunks - 1, h) + e] = 0.0f;
    for (int chunk = c.chunks - 1; chunk > 0; chunk--) {
        const int end = (chunk + 1) * NF_SSD_Q < c.S ? (chunk + 1) * NF_SSD_Q : c.S;
        const int64_t t = (int64_t)row * c.S + end - 1, at = ssd_state_at(c, (int64_t)row * c.chunks + chunk - 1, h) + e;
        const float decay = w.d.first[t] == -1 ? expf(w.d.hi[(int64_t)h * c.T + t]) : 0.0f;
        r = w.r[at] + (decay > 0.0f ? decay * r : 0.0f);
        w.r[at] = r;
    }
}

template <typename T> void state_gradients(cudaStream_t s, const ssd_grads<T> &w)
{
    const ssd_cut &c = w.d.cut;
    const unsigned heads = (unsigned)c.heads, tiles = (unsigned)(ssd_tiles(c.P) * ssd_tiles(c.N));
    if (c.chunks > 1)
        chunk_gradient<T><<<dim3((unsigned)c.all, heads, tiles), NF_TILE_THREADS, 0, s>>>(w);
    pass_gradients<T>
        <<<dim3((unsigned)nf_ceil_div((int64_t)c.P * c.N, 256), heads, (unsigned)(c.all / c.chunks)), 256, 0, s>>>(w);
}

struct head_sums {
    float *bias, *a_log, *skip; /* NULL: not wanted */
    bool add_bias, add_a_log, add_skip;
};

__device__ void put(float *out, bool add, int h, double sum)
{
    if (out)
        out[h] = (float)((add ? (double)out[h] : 0.0) + sum);
}

/* ddt_raw, and the sums of one head */
template <typename T>
__global__ void __launch_bounds__(256) sum_head(ssd_grads<T> w, ssd_in<T> dt, T *ddt, int64_t ld, const float *bias,
                                                const float *a_log, float low, float high, head_sums out)
{
    const int h = blockIdx.x;
    const int64_t own = (int64_t)h * w.d.cut.T;
    const double rate = -exp((double)a_log[h]);
    double sum_a = 0.0, sum_bias = 0.0, sum_skip = 0.0;
    for (int64_t t = threadIdx.x; t < w.d.cut.T; t += 256) {
        const float v = ssd_read(dt, t, h) + bias[h], step = (v > 0.0f ? v : 0.0f) + log1pf(expf(-fabsf(v)));
        const double da = (double)w.da[own + t];
        const float dv = (step >= low && step <= high ? nf_sigmoid(v) : 0.0f) * (float)((double)w.ddt[own + t] + rate * da);
        ddt[t * ld + h] = nf_from_float<T>(dv);
        sum_a += (double)w.d.dt[own + t] * da;
        sum_bias += (double)dv;
        sum_skip += (double)w.skip[own + t];
    }
    sum_a = nf_block_sum<256>(sum_a);
    sum_bias = nf_block_sum<256>(sum_bias);
    sum_skip = nf_block_sum<256>(sum_skip);
    if (threadIdx.x == 0) {
        put(out.a_log, out.add_a_log, h, rate * sum_a);
        put(out.bias, out.add_bias, h, sum_bias);
        put(out.skip, out.add_skip, h, sum_skip);
    }
}

template <typename T>
nf_status backward(nf_queue *q, nf_out dx, nf_out db, nf_out dc, nf_out ddt, head_sums sums, nf_in dy, const void *kept,
                   nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d, const nf_ssd_arg *arg,
                   void *scratch)
{
    nf_carving carve = {(char *)scratch, nf_cuda_ssd_bwd_scratch(x, b, arg)};
    const cudaStream_t s = nf_stream(q);
    const int64_t T_heads = arg->seq.rows * arg->seq.len * arg->heads;
    ssd_data<T> data;
    nf_status status = ssd_prepare<T>(q, &carve, &data, x, b, c, dt, dt_bias, a_log, arg);
    if (status != NF_OK)
        return status;
    const ssd_cut &cut = data.cut;
    NF_CARVE(&carve, float, r, nf_cuda_ssd_states(arg));
    NF_CARVE(&carve, float, products, (int64_t)cut.all *cut.groups *NF_SSD_Q *NF_SSD_Q);
    NF_CARVE(&carve, float, direct, T_heads);
    NF_CARVE(&carve, float, da, T_heads);
    NF_CARVE(&carve, float, skip, T_heads);
    NF_CARVE(&carve, float, o, T_heads);
    NF_CARVE(&carve, float, e, T_heads);
    const ssd_grads<T> w = {data,
                            {(const T *)dy->data, dy->stride[0]},
                            (const T *)kept,
                            r,
                            products,
                            direct,
                            da,
                            skip,
                            o,
                            e,
                            (const float *)d->data,
                            (T *)dx->data,
                            (T *)db->data,
                            (T *)dc->data,
                            dx->stride[0],
                            db->stride[0],
                            dc->stride[0]};
    if (cut.all > 0) {
        state_gradients<T>(s, w);
        status = ssd_chunk_gradients<T>(s, w);
        if (status != NF_OK)
            return status;
    }
    sum_head<T><<<(unsigned)cut.heads, 256, 0, s>>>(w, ssd_in<T>{(const T *)dt->data, dt->stride[0]}, (T *)ddt->data,
                                                    ddt->stride[0], (const float *)dt_bias->data, (const float *)a_log->data,
                                                    arg->dt_lo, arg->dt_hi, sums);
    return nf_launched("ssd_bwd");
}

} // namespace

extern "C" nf_status nf_cuda_ssd_bwd(nf_queue *q, nf_out dx, nf_out db, nf_out dc, nf_out ddt, nf_grad ddt_bias, nf_grad da_log,
                                     nf_grad dd, nf_in dy, const void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias,
                                     nf_in a_log, nf_in d, const struct nf_ssd_arg *arg, void *scratch)
{
    const head_sums sums = {(float *)ddt_bias.t.data, (float *)da_log.t.data, (float *)dd.t.data,
                            ddt_bias.accumulate,      da_log.accumulate,      dd.accumulate};
    return NF_BY_TYPE(x->dtype, backward, q, dx, db, dc, ddt, sums, dy, kept, x, b, c, dt, dt_bias, a_log, d, arg, scratch);
}
