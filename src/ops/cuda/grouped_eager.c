/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_eager.c: the experts one after the other: a product of cuBLASLt a group. Its sizes are counts, so the host reads them
 * and waits for them: no other kernel of ours does. Counts change with every step; a product takes the plan of a size that is
 * rounded up, so that few are timed and the same count always meets the same algorithm.
 */
#include "grouped_products.h"
#include "launch.h"
#include "slots.h"

/* What the plug-in keeps for a process: it has one GPU and one thread. */
struct nf_eager_lists {
    int32_t *host; /* pinned: begin, end, expert, each `room` long */
    int room;
};
struct nf_eager_lists nf_eager_lists;

struct lists {
    const int32_t *begin, *end, *expert;
};

static nf_status room_for(const char *op, int count)
{
    if (count <= nf_eager_lists.room)
        return NF_OK;
    if (nf_eager_lists.host)
        cudaFreeHost(nf_eager_lists.host);
    nf_eager_lists = (struct nf_eager_lists){0};
    const int room = count < 512 ? 512 : 2 * count; /* the first call of a run makes it */
    const cudaError_t e =
        cudaHostAlloc((void **)&nf_eager_lists.host, 3 * (size_t)room * sizeof(int32_t), cudaHostAllocDefault);
    if (e != cudaSuccess)
        return nf_cuda_launched(op, e);
    nf_eager_lists.room = room;
    return NF_OK;
}

/* The groups as the host sees them. Errors  NF_EBUG: rows or experts that are not there */
static nf_status read_lists(const struct nf_cuda_experts *x, int64_t rows, int64_t experts, struct lists *out)
{
    const struct nf_groups *g = x->groups;
    const int32_t *const from[3] = {g->begin, g->end, g->expert};
    const cudaStream_t s = nf_cuda_stream_of(x->queue);
    cudaError_t e = cudaSuccess;

    NF_TRY(room_for(x->op, g->count));
    const size_t n = (size_t)g->count, room = (size_t)nf_eager_lists.room;
    int32_t *host = nf_eager_lists.host;
    for (size_t i = 0; i < 3 && e == cudaSuccess; i++)
        e = cudaMemcpyAsync(host + i * room, from[i], n * sizeof(int32_t), cudaMemcpyDeviceToHost, s);
    if (e == cudaSuccess)
        e = cudaStreamSynchronize(s);
    if (e != cudaSuccess)
        return nf_cuda_launched(x->op, e);
    nf_cuda_host->waited(x->queue);
    *out = (struct lists){host, host + room, host + 2 * room};
    for (int i = 0; i < g->count; i++)
        if (out->begin[i] > out->end[i] ||
            (out->begin[i] < out->end[i] &&
             (out->begin[i] < g->base || out->end[i] - g->base > rows || out->expert[i] < 0 || out->expert[i] >= experts)))
            return nf_cuda_fail(
                NF_EBUG, "%s: group %d is rows %d to %d of expert %d; there are %lld rows from %lld and %lld experts", x->op, i,
                out->begin[i], out->end[i], out->expert[i], (long long)rows, (long long)g->base, (long long)experts);
    return NF_OK;
}

/* 128, 192, 256, 384, 512, ... */
static int64_t rounded(int64_t rows)
{
    int64_t n = 128;

    while (n < rows)
        n = n % 3 ? n / 2 * 3 : n / 3 * 4;
    return n;
}

/* Plans for all counts that can come, made when a product is first met: they are timed before step 1 whatever its counts were.
 * What varies is m, or the length of the sum. */
static nf_status expect(const char *op, struct nf_gemm g, bool sum, int64_t rows)
{
    int64_t *size = sum ? &g.plan_k : &g.plan_m;
    bool made, other;

    *size = rounded(rows);
    NF_TRY(nf_cuda_lt_expect(op, &g, &made));
    for (int64_t n = rounded(1); made && n < rounded(rows); n = rounded(n + 1)) {
        *size = n;
        NF_TRY(nf_cuda_lt_expect(op, &g, &other));
    }
    return NF_OK;
}

static const void *row_at(const void *data, int64_t row, int64_t ld, nf_dtype type)
{
    return (const char *)data + (size_t)(row * ld) * nf_real_size(type);
}

nf_status nf_cuda_eager_rows(const struct nf_cuda_experts *x, bool dgrad, const struct nf_cuda_rows *call, nf_in in, nf_in w)
{
    const bool in_out = x->arg->in_out, bf16 = in->dtype == NF_BF16;
    const bool finished =
        dgrad ? nf_cuda_dgrad_finishes(call->pre.data, x->arg) : nf_cuda_forward_finishes(call->pre.data, x->arg);
    const int64_t rows = in->dim[0], cols = call->cols * (!dgrad && nf_cuda_gated(&x->arg->act) ? 2 : 1);
    struct nf_carving c = x->scratch;
    void *workspace = nf_carve(&c, NF_CUDA_GEMM_WORKSPACE);
    float *product = finished ? nf_carve(&c, (size_t)(rows * cols) * sizeof *product) : NULL;
    struct nf_gemm g = {.n = cols,
                        .k = call->depth,
                        .a = in->data,
                        .lda = in->stride[0],
                        .b = w->data,
                        .ldb = w->stride[1],
                        .d = finished ? (void *)product : call->out.data,
                        .ldd = finished ? cols : call->out.ld,
                        .type = in->dtype,
                        .out = finished ? NF_F32 : in->dtype,
                        .trans_b = dgrad == in_out};
    struct lists l;

    if (!workspace || (finished && !product))
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", x->op);
    NF_TRY(expect(x->op, g, false, rows));
    NF_TRY(read_lists(x, rows, w->dim[0], &l));
    for (int i = 0; i < x->groups->count; i++) {
        const int first = l.begin[i] - (int)x->groups->base;
        g.m = l.end[i] - l.begin[i];
        if (g.m == 0)
            continue;
        g.plan_m = rounded(g.m);
        g.a = row_at(in->data, first, in->stride[0], in->dtype);
        g.b = row_at(w->data, l.expert[i], w->stride[0], w->dtype);
        if (!finished)
            g.d = (void *)(uintptr_t)row_at(call->out.data, first, call->out.ld, in->dtype);
        NF_TRY(nf_cuda_gemm(x->queue, x->op, &g, workspace));
        if (!finished)
            continue;
        const struct nf_cuda_entries e = {NULL, (int)g.m, first, l.expert[i], (int)g.m};
        const cudaError_t error = dgrad ? nf_cuda_finish_dgrad(call, &e, product, bf16, nf_cuda_stream_of(x->queue))
                                        : nf_cuda_finish_forward(call, &e, product, bf16, nf_cuda_stream_of(x->queue));
        if (error != cudaSuccess)
            return nf_cuda_launched(x->op, error);
    }
    return NF_OK;
}

/* ---- gradients of weights ----------------------------------------------------------------------------------------------- */

/* An expert's gradient on its way: into place, or as a sum in fp32 where bf16 would be rounded after each group. */
struct target {
    nf_tensor here;  /* [m, n] of dw */
    nf_tensor sum;   /* data NULL: none */
    bool accumulate; /* here has been written, or was to be added to */
};

static nf_status add_group(const struct nf_cuda_experts *x, struct nf_gemm *g, struct target *t, void *workspace)
{
    const nf_tensor *to = t->sum.data ? &t->sum : &t->here;

    g->d = to->data;
    g->ldd = to->stride[0];
    g->out = to->dtype;
    g->c = t->accumulate ? g->d : NULL;
    g->ldc = g->ldd;
    t->accumulate = true;
    return nf_cuda_gemm(x->queue, x->op, g, workspace);
}

static nf_status clear(const struct nf_cuda_experts *x, const nf_tensor *t)
{
    const size_t size = nf_real_size(t->dtype);
    const cudaError_t e = cudaMemset2DAsync(t->data, (size_t)t->stride[0] * size, 0, (size_t)t->dim[1] * size,
                                            (size_t)t->dim[0], nf_cuda_stream_of(x->queue));
    return e == cudaSuccess ? NF_OK : nf_cuda_launched(x->op, e);
}

/* Rows of one group: dyT x, or xT dy where weights are stored [K, N]; dy times the row weights, through `weighed`. */
static nf_status operands(const struct nf_cuda_experts *x, struct nf_gemm *g, nf_in dy, nf_in in, int first, void *weighed)
{
    const void *left = row_at(dy->data, first, dy->stride[0], dy->dtype),
               *right = row_at(in->data, first, in->stride[0], in->dtype);
    int64_t left_ld = dy->stride[0];

    if (weighed) {
        const struct nf_cuda_operand from = {dy->data, dy->stride[0], 0};
        const struct nf_cuda_entries e = {NULL, (int)g->k, first, 0, (int)g->k};
        const cudaError_t error = nf_cuda_gather_rows(weighed, from, (int)dy->dim[1], &e, x->arg->row_weight,
                                                      dy->dtype == NF_BF16, nf_cuda_stream_of(x->queue));
        if (error != cudaSuccess)
            return nf_cuda_launched(x->op, error);
        left = weighed;
        left_ld = dy->dim[1];
    }
    g->a = x->arg->in_out ? right : left;
    g->lda = x->arg->in_out ? in->stride[0] : left_ld;
    g->b = x->arg->in_out ? left : right;
    g->ldb = x->arg->in_out ? left_ld : in->stride[0];
    return NF_OK;
}

static nf_status expert_gradient(const struct nf_cuda_experts *x, const struct lists *l, int expert, struct nf_gemm *g,
                                 struct target *t, nf_in dy, nf_in in, void *weighed, void *workspace)
{
    int groups = 0;

    for (int i = 0; i < x->groups->count; i++)
        groups += l->expert[i] == expert && l->end[i] > l->begin[i];
    if (groups == 0)
        return t->accumulate ? NF_OK : clear(x, &t->here);
    if (groups == 1 || t->here.dtype == NF_F32)
        t->sum.data = NULL;
    if (t->sum.data && t->accumulate)
        NF_TRY(nf_cuda_cast(x->queue, &t->sum, &t->here));
    for (int i = 0; i < x->groups->count; i++) {
        g->k = l->end[i] - l->begin[i];
        if (l->expert[i] != expert || g->k == 0)
            continue;
        g->plan_k = rounded(g->k);
        NF_TRY(operands(x, g, dy, in, l->begin[i] - (int)x->groups->base, weighed));
        NF_TRY(add_group(x, g, t, workspace));
    }
    return t->sum.data ? nf_cuda_cast(x->queue, &t->here, &t->sum) : NF_OK;
}

/* The plans of both ways to write a gradient. */
static nf_status expect_gradients(const struct nf_cuda_experts *x, struct nf_gemm g, const struct target *t, nf_in dy, nf_in in,
                                  void *weighed)
{
    g.k = 0; /* nothing is weighed yet */
    NF_TRY(operands(x, &g, dy, in, 0, NULL));
    if (weighed && x->arg->in_out)
        g.b = weighed, g.ldb = dy->dim[1];
    else if (weighed)
        g.a = weighed, g.lda = dy->dim[1];
    for (int added = 0; added < 2; added++)
        for (int sum = 0; sum < (t->sum.data ? 2 : 1); sum++) {
            const nf_tensor *to = sum ? &t->sum : &t->here;
            g.d = to->data;
            g.ldd = g.ldc = to->stride[0];
            g.out = to->dtype;
            g.c = added ? g.d : NULL;
            NF_TRY(expect(x->op, g, true, dy->dim[0]));
        }
    return NF_OK;
}

nf_status nf_cuda_eager_wgrad(const struct nf_cuda_experts *x, nf_grad dw, nf_in dy, nf_in in)
{
    const int64_t experts = dw.t.dim[0], m = dw.t.dim[1], n = dw.t.dim[2];
    const bool sums = dw.t.dtype == NF_BF16 && x->groups->count > experts;
    struct nf_carving c = x->scratch;
    void *workspace = nf_carve(&c, NF_CUDA_GEMM_WORKSPACE);
    void *weighed = x->arg->row_weight ? nf_carve(&c, (size_t)(dy->dim[0] * dy->dim[1]) * nf_real_size(dy->dtype)) : NULL;
    float *sum = sums ? nf_carve(&c, (size_t)(m * n) * sizeof *sum) : NULL;
    struct nf_gemm g = {.m = m, .n = n, .type = dy->dtype, .trans_a = true};
    struct lists l;

    if (!workspace || (x->arg->row_weight && !weighed) || (sums && !sum))
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", x->op);
    NF_TRY(read_lists(x, dy->dim[0], experts, &l));
    for (int e = 0; e < experts; e++) {
        struct target t = {.here = {(char *)dw.t.data + (size_t)(e * dw.t.stride[0]) * nf_real_size(dw.t.dtype),
                                    dw.t.dtype,
                                    2,
                                    {m, n, 0},
                                    {dw.t.stride[1], 0}},
                           .sum = {sum, NF_F32, 2, {m, n, 0}, {n, 0}},
                           .accumulate = dw.accumulate};
        if (e == 0)
            NF_TRY(expect_gradients(x, g, &t, dy, in, weighed));
        NF_TRY(expert_gradient(x, &l, e, &g, &t, dy, in, weighed, workspace));
    }
    return NF_OK;
}
