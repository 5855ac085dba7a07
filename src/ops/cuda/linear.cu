/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear.cu: linear layers: a product, with the sum that follows folded into it, and a kernel for what cannot be: bias,
 * activation, derivative. In bf16 the value before an activation is rounded before the activation reads it, kept or not: what
 * the backward rebuilds from it is then what the forward used.
 *
 * bf16 operands are multiplied exactly and summed in fp32 by the tensor cores, which is what fp32_math asks for.
 */
#include "act.cuh"

extern "C" {
#include "gemm.h"
}

namespace
{

struct vector {
    const void *data;
    bool half;
};
template <int V> __device__ __forceinline__ void add_vector(float (&x)[V], const vector &b, int64_t i)
{
#pragma unroll
    for (int k = 0; k < V; k++)
        x[k] += !b.data ? 0.0f : b.half ? nf_to_float(((const bf16 *)b.data)[i + k]) : ((const float *)b.data)[i + k];
}

__host__ __device__ constexpr bool gated(int kind)
{
    return kind == NF_ACT_SWIGLU || kind == NF_ACT_SWIGLU_CLAMP;
}

/* value [T, N] += bias (kept if asked); y = act(value) + add, [T, n]. P: type of value, Y: of y. They may be one matrix. */
template <int V, int KIND, typename P, typename Y>
__global__ void __launch_bounds__(256) finish(nf_strided<Y> y, nf_strided<P> value, bool keep, vector bias, nf_strided<Y> add,
                                              int64_t rows, int64_t n, float alpha, float limit)
{
    const int64_t across = n / V, count = rows * across;
    for (int64_t item = (int64_t)blockIdx.x * 256 + threadIdx.x; item < count; item += (int64_t)gridDim.x * 256) {
        const int64_t row = item / across, col = item % across * V;
        P *p = value.data + row * value.stride + col;
        float u[V], v[V], a[V];
        nf_load_floats<V>(u, p);
        add_vector(u, bias, col);
        if (keep)
            nf_store_floats<V>(p, u);
        if constexpr (gated(KIND)) {
            nf_load_floats<V>(v, p + n);
            add_vector(v, bias, n + col);
            if (keep)
                nf_store_floats<V>(p + n, v);
        }
        if (add.data)
            nf_load_floats<V>(a, (const Y *)add.data + row * add.stride + col);
#pragma unroll
        for (int k = 0; k < V; k++)
            u[k] = nf_act<KIND>(u[k], gated(KIND) ? v[k] : 0.0f, alpha, limit) + (add.data ? a[k] : 0.0f);
        nf_store_floats<V>(y.data + row * y.stride + col, u);
    }
}

/* dx = b act'(pre) + add, again = act(pre); b [T, n] of dx's type, which it may be where nothing is gated */
template <int V, int KIND, typename X, typename P, typename A>
__global__ void __launch_bounds__(256) derive(nf_strided<X> dx, nf_strided<A> again, nf_strided<X> b, nf_strided<P> pre,
                                              nf_strided<X> add, int64_t rows, int64_t n, float alpha, float limit)
{
    const int64_t across = n / V, count = rows * across;
    for (int64_t item = (int64_t)blockIdx.x * 256 + threadIdx.x; item < count; item += (int64_t)gridDim.x * 256) {
        const int64_t row = item / across, col = item % across * V;
        const P *p = pre.data + row * pre.stride + col;
        float g[V], u[V], v[V], du[V], dv[V];
        nf_load_floats<V>(g, (const X *)b.data + row * b.stride + col);
        nf_load_floats<V>(u, p);
        if constexpr (gated(KIND))
            nf_load_floats<V>(v, p + n);
        if (again.data) {
            float a[V];
#pragma unroll
            for (int k = 0; k < V; k++)
                a[k] = nf_act<KIND>(u[k], gated(KIND) ? v[k] : 0.0f, alpha, limit);
            nf_store_floats<V>(again.data + row * again.stride + col, a);
        }
#pragma unroll
        for (int k = 0; k < V; k++)
            nf_act_grad<KIND>(du[k], dv[k], g[k], u[k], gated(KIND) ? v[k] : 0.0f, alpha, limit);
        X *out = dx.data + row * dx.stride + col;
        const X *more = add.data ? add.data + row * add.stride + col : NULL;
        if (more) {
            nf_load_floats<V>(g, more);
#pragma unroll
            for (int k = 0; k < V; k++)
                du[k] += g[k];
        }
        nf_store_floats<V>(out, du);
        if constexpr (gated(KIND)) {
            if (more) {
                nf_load_floats<V>(g, more + n);
#pragma unroll
                for (int k = 0; k < V; k++)
                    dv[k] += g[k];
            }
            nf_store_floats<V>(out + n, dv);
        }
    }
}

/* Sums of columns over the rows of a part */
template <typename T>
__global__ void __launch_bounds__(256) column_parts(float *part, nf_strided<T> x, int64_t rows, int64_t n, int64_t run)
{
    const int64_t col = (int64_t)blockIdx.x * 256 + threadIdx.x, first = blockIdx.y * run;
    if (col >= n)
        return;
    const int64_t last = first + run < rows ? first + run : rows;
    float sum = 0;
    for (int64_t i = first; i < last; i++)
        sum += nf_to_float(x.data[i * x.stride + col]);
    part[blockIdx.y * n + col] = sum;
}

template <int KIND, typename P, typename Y>
nf_status run_finish(nf_queue *q, nf_in y, nf_in value, bool keep, vector bias, nf_in add, const struct nf_act_arg *act)
{
    const int64_t rows = y->dim[0], n = y->dim[1];
    if (rows == 0 || n == 0)
        return NF_OK;
    constexpr int V = 8;
    const bool packs = nf_packable(y, V) && nf_packable(value, V) && nf_packable(add, V) && n % V == 0;
    const auto kernel = packs ? finish<V, KIND, P, Y> : finish<1, KIND, P, Y>;
    kernel<<<nf_blocks(rows * n / (packs ? V : 1), 256), 256, 0, nf_stream(q)>>>(
        nf_strided_of<Y>(y), nf_strided_of<P>(value), keep, bias, nf_strided_of<Y>(add), rows, n, act->alpha, act->limit);
    return nf_launched("linear");
}

template <int KIND, typename X, typename P, typename A>
nf_status run_derive(nf_queue *q, nf_in dx, nf_in again, nf_in b, nf_in pre, nf_in add, const struct nf_act_arg *act)
{
    const int64_t rows = b->dim[0], n = b->dim[1];
    if (rows == 0 || n == 0)
        return NF_OK;
    constexpr int V = 8;
    const bool packs = n % V == 0 && nf_packable(dx, V) && nf_packable(again, V) && nf_packable(b, V) && nf_packable(pre, V) &&
                       nf_packable(add, V);
    const auto kernel = packs ? derive<V, KIND, X, P, A> : derive<1, KIND, X, P, A>;
    kernel<<<nf_blocks(rows * n / (packs ? V : 1), 256), 256, 0, nf_stream(q)>>>(
        nf_strided_of<X>(dx), nf_strided_of<A>(again), nf_strided_of<X>(b), nf_strided_of<P>(pre), nf_strided_of<X>(add), rows,
        n, act->alpha, act->limit);
    return nf_launched("linear_dgrad");
}

#define BY_KIND(kind, f, ...)                                                                                                  \
    ((kind) == NF_ACT_NONE     ? f<NF_ACT_NONE>(__VA_ARGS__)                                                                   \
     : (kind) == NF_ACT_RELU2  ? f<NF_ACT_RELU2>(__VA_ARGS__)                                                                  \
     : (kind) == NF_ACT_SWIGLU ? f<NF_ACT_SWIGLU>(__VA_ARGS__)                                                                 \
                               : f<NF_ACT_SWIGLU_CLAMP>(__VA_ARGS__))

template <int KIND>
nf_status finish_by_type(nf_queue *q, nf_in y, nf_in value, bool keep, vector bias, nf_in add, const struct nf_act_arg *act)
{
    if (value->dtype == NF_F32)
        return y->dtype == NF_F32 ? run_finish<KIND, float, float>(q, y, value, keep, bias, add, act)
                                  : run_finish<KIND, float, bf16>(q, y, value, keep, bias, add, act);
    return y->dtype == NF_F32 ? run_finish<KIND, bf16, float>(q, y, value, keep, bias, add, act)
                              : run_finish<KIND, bf16, bf16>(q, y, value, keep, bias, add, act);
}

template <int KIND>
nf_status derive_by_type(nf_queue *q, nf_in dx, nf_in again, nf_in b, nf_in pre, nf_in add, const struct nf_act_arg *act)
{
    if (again && again->dtype != pre->dtype)
        return nf_cuda_fail(NF_EBUG, "linear_dgrad: the activation again in another type than the value before it");
    if (pre->dtype == NF_F32)
        return dx->dtype == NF_F32 ? run_derive<KIND, float, float, float>(q, dx, again, b, pre, add, act)
                                   : run_derive<KIND, bf16, float, float>(q, dx, again, b, pre, add, act);
    return dx->dtype == NF_F32 ? run_derive<KIND, float, bf16, bf16>(q, dx, again, b, pre, add, act)
                               : run_derive<KIND, bf16, bf16, bf16>(q, dx, again, b, pre, add, act);
}

} // namespace

extern "C" nf_status nf_cuda_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg,
                                    void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_linear_scratch(y, pre, x, w, arg)};
    const bool biased = arg->bias && arg->bias->data, plain = arg->act.kind == NF_ACT_NONE && !biased;

    if (plain && !pre)
        return nf_cuda_product(q, "linear", y, arg->add, x, false, w, true, c);
    nf_tensor value = pre ? *pre : *y;
    if (!pre && nf_cuda_value_apart(arg)) {
        NF_CARVE(&c, char, apart, (size_t)(x->dim[0] * w->dim[0]) * (y->dtype == NF_F32 ? 4 : 2));
        value = {apart, y->dtype, 2, {x->dim[0], w->dim[0], 0}, {w->dim[0], 0}};
    }
    const nf_status s = nf_cuda_product(q, "linear", &value, NULL, x, false, w, true, c);
    const vector bias = {biased ? arg->bias->data : NULL, biased && arg->bias->dtype != NF_F32};
    return s ? s : BY_KIND(arg->act.kind, finish_by_type, q, y, &value, pre && biased, bias, arg->add, &arg->act);
}

extern "C" nf_status nf_cuda_linear_dgrad(nf_queue *q, nf_out dx, nf_out act_again, nf_in dy, nf_in w, nf_in pre,
                                          const struct nf_linear_arg *arg, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_linear_dgrad_scratch(dx, act_again, dy, w, pre, arg)};

    if (arg->act.kind == NF_ACT_NONE) {
        const nf_status s = nf_cuda_product(q, "linear_dgrad", dx, arg->add, dy, false, w, false, c);
        return s || !act_again ? s : nf_cuda_cast(q, act_again, pre);
    }
    const int64_t T = dy->dim[0], K = w->dim[1];
    NF_CARVE(&c, char, b, (size_t)(T * K) * (dx->dtype == NF_F32 ? 4 : 2));
    const nf_tensor value = {b, dx->dtype, 2, {T, K, 0}, {K, 0}};
    const nf_status s = nf_cuda_product(q, "linear_dgrad", &value, NULL, dy, false, w, false, c);
    return s ? s : BY_KIND(arg->act.kind, derive_by_type, q, dx, act_again, &value, pre, arg->add, &arg->act);
}

extern "C" nf_status nf_cuda_linear_wgrad(nf_queue *q, nf_grad dw, nf_grad db, nf_in dy, nf_in x, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_linear_wgrad_scratch(dw, db, dy, x)};
    const int64_t T = dy->dim[0], N = dy->dim[1], parts = nf_cuda_column_parts(T), run = nf_ceil_div(T, parts);

    if (db.t.data && N) {
        NF_CARVE(&c, float, part, parts *N);
        const dim3 grid((unsigned)nf_ceil_div(N, 256), (unsigned)parts);
        if (dy->dtype == NF_F32)
            column_parts<<<grid, 256, 0, nf_stream(q)>>>(part, nf_strided_of<float>(dy), T, N, run);
        else
            column_parts<<<grid, 256, 0, nf_stream(q)>>>(part, nf_strided_of<bf16>(dy), T, N, run);
        nf_status s = nf_launched("linear_wgrad");
        if (!s)
            s = nf_cuda_add_parts(q, "linear_wgrad", db, N, 1, part, parts);
        if (s)
            return s;
    }
    return dw.t.data ? nf_cuda_product(q, "linear_wgrad", &dw.t, dw.accumulate ? &dw.t : NULL, dy, true, x, false, c) : NF_OK;
}
