/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flat.cu: element by element: cast, add, fill; the sum of squares. Tensors without gaps are one row; others go row by row, 8
 * elements at a time where addresses allow. Squares are summed in fp64: per block over a run of its own, then the blocks in
 * order.
 */
#include "kit.cuh"

namespace
{

/* A tensor of up to three dimensions as rows of contiguous elements: row r begins at r / inner * outer_stride + r % inner *
 * stride */
struct rows {
    char *data;
    int64_t inner, outer_stride, stride;
};

struct walk {
    int64_t count, cols; /* rows, elements in one */
};

bool dense(nf_in t)
{
    return t->nd == 1 || (t->nd == 2 ? t->dim[0] <= 1 || t->stride[0] == t->dim[1]
                                     : (t->dim[0] <= 1 || t->stride[0] == t->dim[1] * t->dim[2]) &&
                                           (t->dim[1] <= 1 || t->stride[1] == t->dim[2]));
}

rows rows_of(nf_in t, bool whole)
{
    if (!t || whole || t->nd == 1)
        return {t ? (char *)t->data : NULL, 1, 0, 0};
    return t->nd == 2 ? rows{(char *)t->data, 1, t->stride[0], 0}
                      : rows{(char *)t->data, t->dim[1], t->stride[0], t->stride[1]};
}

template <typename T> __device__ T *row_at(const rows &r, int64_t row, int64_t col)
{
    return (T *)r.data + row / r.inner * r.outer_stride + row % r.inner * r.stride + col;
}

/* f(y, a, b) over packs of V; A and B are read only if the operation takes them */
template <int V, typename F, typename Y, typename A, typename B>
__global__ void __launch_bounds__(256) each(walk w, rows y, rows a, rows b, F f)
{
    const int64_t across = w.cols / V, n = w.count * across;
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < n; i += (int64_t)gridDim.x * 256) {
        const int64_t row = i / across, col = i % across * V;
        f.template run<V>(row_at<Y>(y, row, col), a.data ? row_at<A>(a, row, col) : (A *)NULL,
                          b.data ? row_at<B>(b, row, col) : (B *)NULL);
    }
}

template <typename F, typename Y, typename A, typename B>
nf_status launch(nf_queue *q, const char *op, nf_in y, nf_in a, nf_in b, F f)
{
    const bool whole = dense(y) && (!a || dense(a)) && (!b || dense(b));
    int64_t count = 1;
    for (int i = 0; i < y->nd; i++)
        count *= y->dim[i];
    if (count == 0)
        return NF_OK;
    walk w = {1, count};
    if (!whole)
        w = {count / y->dim[y->nd - 1], y->dim[y->nd - 1]};
    const rows ry = rows_of(y, whole), ra = rows_of(a, whole), rb = rows_of(b, whole);
    /* a run without gaps may have any number of rows, only its length counts */
    nf_tensor flat_y = *y, flat_a, flat_b;
    if (whole) {
        flat_y = nf_tensor{y->data, y->dtype, 1, {count}, {0}};
        if (a)
            flat_a = nf_tensor{a->data, a->dtype, 1, {count}, {0}}, a = &flat_a;
        if (b)
            flat_b = nf_tensor{b->data, b->dtype, 1, {count}, {0}}, b = &flat_b;
    }
    const cudaStream_t s = nf_stream(q);
    if (nf_packable(&flat_y, 8) && nf_packable(a, 8) && nf_packable(b, 8))
        each<8, F, Y, A, B><<<nf_blocks(count / 8, 256), 256, 0, s>>>(w, ry, ra, rb, f);
    else
        each<1, F, Y, A, B><<<nf_blocks(count, 256), 256, 0, s>>>(w, ry, ra, rb, f);
    return nf_launched(op);
}

template <typename Y, typename A> struct do_cast {
    template <int V> __device__ void run(Y *y, const A *a, const void *)
    {
        float x[V];
        nf_load_floats<V>(x, a);
        nf_store_floats<V>(y, x);
    }
};

template <typename T> struct do_copy {
    template <int V> __device__ void run(T *y, const T *a, const void *)
    {
        nf_store<V>(y, nf_load<V>(a));
    }
};

template <typename T> struct do_add {
    template <int V> __device__ void run(T *y, const T *a, const T *b)
    {
        float x[V], z[V];
        nf_load_floats<V>(x, a);
        nf_load_floats<V>(z, b);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] += z[i];
        nf_store_floats<V>(y, x);
    }
};

template <typename T> struct do_fill {
    float value;
    template <int V> __device__ void run(T *y, const void *, const void *)
    {
        float x[V];
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] = value;
        nf_store_floats<V>(y, x);
    }
};

template <typename Y, typename A> nf_status cast(nf_queue *q, nf_in y, nf_in x)
{
    return launch<do_cast<Y, A>, Y, A, char>(q, "cast", y, x, NULL, do_cast<Y, A>());
}
template <typename Y> nf_status cast_to(nf_queue *q, nf_in y, nf_in x)
{
    return x->dtype == NF_F32    ? cast<Y, float>(q, y, x)
           : x->dtype == NF_BF16 ? cast<Y, bf16>(q, y, x)
                                 : cast<Y, __half>(q, y, x);
}
template <typename T> nf_status copy(nf_queue *q, nf_in y, nf_in x)
{
    return launch<do_copy<T>, T, T, char>(q, "cast", y, x, NULL, do_copy<T>());
}
template <typename T> nf_status add(nf_queue *q, nf_in y, nf_in a, nf_in b)
{
    return launch<do_add<T>, T, T, T>(q, "add", y, a, b, do_add<T>());
}
template <typename T> nf_status fill(nf_queue *q, nf_in y, float value)
{
    return launch<do_fill<T>, T, char, char>(q, "fill", y, NULL, NULL, do_fill<T>{value});
}

/* Block b sums its own run of elements: 16 loads under way in a thread, packs as the alignment of the run allows. */
/* Whole numbers: the order in which atomics add does not matter. */
template <int V, typename T>
__global__ void __launch_bounds__(256) mismatches(unsigned long long *count, const T *a, const T *b, int64_t n)
{
    unsigned long long other = 0;
    for (int64_t i = ((int64_t)blockIdx.x * 256 + threadIdx.x) * V; i < n; i += (int64_t)gridDim.x * 256 * V) {
        if (i + V <= n) {
            const nf_pack<T, V> x = nf_load<V>(a + i), y = nf_load<V>(b + i);
#pragma unroll
            for (int k = 0; k < V; k++)
                other += x.v[k] != y.v[k];
        } else {
            for (int64_t k = i; k < n; k++)
                other += a[k] != b[k];
        }
    }
    other = nf_warp_sum(other);
    if (threadIdx.x % 32 == 0 && other)
        atomicAdd(count, other);
}

/* T: whole numbers of the elements' size */
template <typename T> nf_status mismatch(nf_queue *q, int64_t *count, nf_in a, nf_in b)
{
    constexpr int V = 16 / sizeof(T);
    const int64_t n = a->dim[0];
    const bool packs = ((uintptr_t)a->data | (uintptr_t)b->data) % 16 == 0;
    const auto kernel = packs ? mismatches<V, T> : mismatches<1, T>;

    if (n == 0)
        return NF_OK;
    kernel<<<nf_blocks(n, 256 * (packs ? V : 1)), 256, 0, nf_stream(q)>>>((unsigned long long *)count, (const T *)a->data,
                                                                          (const T *)b->data, n);
    return nf_launched("mismatch");
}

template <int V, typename T> __global__ void __launch_bounds__(256) squares(const T *x, int64_t n, int64_t run, double *part)
{
    const int64_t begin = blockIdx.x * run, end = begin + run < n ? begin + run : n;
    double sum = 0;
    for (int64_t i = begin + (int64_t)threadIdx.x * V; i < end; i += 256 * V) {
        if (i + V <= end) {
            float v[V];
            nf_load_floats<V>(v, x + i);
#pragma unroll
            for (int k = 0; k < V; k++)
                sum += (double)v[k] * (double)v[k];
        } else {
            for (int64_t k = i; k < end; k++)
                sum += (double)nf_to_float(x[k]) * (double)nf_to_float(x[k]);
        }
    }
    sum = nf_block_sum<256>(sum);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(256) add_parts(double *sum, const double *part, int n)
{
    double s = 0;
    for (int i = threadIdx.x; i < n; i += 256)
        s += part[i];
    s = nf_block_sum<256>(s);
    if (threadIdx.x == 0)
        *sum += s;
}

template <typename T> nf_status sumsq(nf_queue *q, double *sum, nf_in x, double *part)
{
    const int64_t n = x->dim[0], blocks = nf_cuda_sum_blocks(n);
    const int64_t run = nf_ceil_div(nf_ceil_div(n, blocks), 8) * 8;
    const cudaStream_t s = nf_stream(q);
    const T *data = (const T *)x->data;

    if ((uintptr_t)data % 16 == 0)
        squares<8><<<(unsigned)blocks, 256, 0, s>>>(data, n, run, part);
    else /* other bits than an aligned run: places are the same in each run of the program */
        squares<1><<<(unsigned)blocks, 256, 0, s>>>(data, n, run, part);
    add_parts<<<1, 256, 0, s>>>(sum, part, (int)blocks);
    return nf_launched("sumsq");
}

} // namespace

extern "C" nf_status nf_cuda_cast(nf_queue *q, nf_out y, nf_in x)
{
    if (y->dtype == x->dtype)
        switch (y->dtype) {
        case NF_U8: return copy<uint8_t>(q, y, x);
        case NF_I64:
        case NF_F64: return copy<uint64_t>(q, y, x);
        case NF_F32:
        case NF_I32: return copy<uint32_t>(q, y, x);
        default: return copy<uint16_t>(q, y, x);
        }
    return y->dtype == NF_F32    ? cast_to<float>(q, y, x)
           : y->dtype == NF_BF16 ? cast_to<bf16>(q, y, x)
                                 : cast_to<__half>(q, y, x);
}

extern "C" nf_status nf_cuda_add(nf_queue *q, nf_out y, nf_in a, nf_in b)
{
    return NF_BY_TYPE(y->dtype, add, q, y, a, b);
}

extern "C" nf_status nf_cuda_fill(nf_queue *q, nf_out y, float value)
{
    return NF_BY_TYPE(y->dtype, fill, q, y, value);
}

extern "C" nf_status nf_cuda_mismatch(nf_queue *q, int64_t *count, nf_in a, nf_in b)
{
    switch (a->dtype) {
    case NF_U8: return mismatch<uint8_t>(q, count, a, b);
    case NF_I64:
    case NF_F64: return mismatch<uint64_t>(q, count, a, b);
    case NF_F32:
    case NF_I32: return mismatch<uint32_t>(q, count, a, b);
    default: return mismatch<uint16_t>(q, count, a, b);
    }
}

extern "C" nf_status nf_cuda_sumsq(nf_queue *q, double *sum, nf_in x, void *scratch)
{
    nf_carving c = {(char *)scratch, nf_cuda_sumsq_scratch(x)};
    NF_CARVE(&c, double, part, nf_cuda_sum_blocks(x->dim[0]));

    return NF_BY_TYPE(x->dtype, sumsq, q, sum, x, part);
}
