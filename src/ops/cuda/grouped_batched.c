/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_batched.c: all experts as one batch of equal products of cuBLASLt. Each expert's rows are packed to the same number,
 * with zeros behind; that number follows from the shape (sizes_grouped.h), so no count is read on the host. Rows of an expert
 * beyond it are left to the own kernels: no row is dropped, and memory does not depend on the routing.
 */
#include "grouped_products.h"
#include "launch.h"

struct batch {
    void *workspace;
    int32_t *row, *over;
    int64_t experts, each;
    struct nf_cuda_entries entries;
};

/* Places for the rows; what is left of the scratch is the caller's. */
static nf_status begin(const struct nf_cuda_experts *x, int64_t rows, int64_t experts, struct nf_carving *c, struct batch *b)
{
    const struct nf_groups *g = x->groups;
    const struct nf_cuda_groups groups = {g->begin, g->end, g->expert, g->count, (int)g->base};

    *b = (struct batch){.experts = experts, .each = nf_cuda_batch_rows(rows, experts)};
    b->workspace = nf_carve(c, NF_CUDA_GEMM_WORKSPACE);
    b->row = nf_carve(c, (size_t)(experts * b->each) * sizeof *b->row);
    b->over = nf_carve(c, (size_t)g->count * sizeof *b->over);
    if (!b->workspace || !b->row || !b->over)
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", x->op);
    b->entries = (struct nf_cuda_entries){b->row, (int)(experts * b->each), 0, 0, (int)b->each};
    return nf_cuda_launched(
        x->op, nf_cuda_place_rows(b->row, b->over, &groups, (int)experts, (int)b->each, nf_cuda_stream_of(x->queue)));
}

/* Packed rows [experts, each, cols] of t */
static nf_status pack(const struct nf_cuda_experts *x, const struct batch *b, nf_in t, const float *weight,
                      struct nf_carving *c, void **packed)
{
    const struct nf_cuda_operand from = {t->data, t->stride[0], 0};

    *packed = nf_carve(c, (size_t)(b->experts * b->each * t->dim[1]) * nf_real_size(t->dtype));
    if (!*packed)
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", x->op);
    return nf_cuda_launched(x->op, nf_cuda_gather_rows(*packed, from, (int)t->dim[1], &b->entries, weight, t->dtype == NF_BF16,
                                                       nf_cuda_stream_of(x->queue)));
}

nf_status nf_cuda_batched_rows(const struct nf_cuda_experts *x, bool dgrad, const struct nf_cuda_rows *call, nf_in in, nf_in w,
                               const int32_t **over)
{
    const int64_t cols = call->cols * (!dgrad && nf_cuda_gated(&x->arg->act) ? 2 : 1), depth = call->depth;
    const bool bf16 = in->dtype == NF_BF16;
    const bool finished =
        dgrad ? nf_cuda_dgrad_finishes(call->pre.data, x->arg) : nf_cuda_forward_finishes(call->pre.data, x->arg);
    const nf_dtype type = finished ? NF_F32 : in->dtype;
    struct nf_carving c = x->scratch;
    struct batch b;
    void *packed;

    NF_TRY(begin(x, in->dim[0], w->dim[0], &c, &b));
    NF_TRY(pack(x, &b, in, NULL, &c, &packed));
    void *product = nf_carve(&c, (size_t)(b.experts * b.each * cols) * nf_real_size(type));
    if (!product)
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", x->op);
    const struct nf_gemm g = {.m = b.each,
                              .n = cols,
                              .k = depth,
                              .a = packed,
                              .lda = depth,
                              .b = w->data,
                              .ldb = w->stride[1],
                              .d = product,
                              .ldd = cols,
                              .type = in->dtype,
                              .out = type,
                              .trans_b = dgrad == x->arg->in_out,
                              .batch = b.experts,
                              .stride_a = b.each * depth,
                              .stride_b = w->stride[0],
                              .stride_d = b.each * cols};
    NF_TRY(nf_cuda_gemm(x->queue, x->op, &g, b.workspace));
    *over = b.over;
    if (!finished)
        return nf_cuda_launched(
            x->op, nf_cuda_scatter_rows(call->out, product, (int)cols, &b.entries, bf16, nf_cuda_stream_of(x->queue)));
    return nf_cuda_launched(x->op, dgrad
                                       ? nf_cuda_finish_dgrad(call, &b.entries, product, bf16, nf_cuda_stream_of(x->queue))
                                       : nf_cuda_finish_forward(call, &b.entries, product, bf16, nf_cuda_stream_of(x->queue)));
}

nf_status nf_cuda_batched_wgrad(struct nf_cuda_experts *x, nf_grad dw, nf_in dy, nf_in in, const int32_t **over)
{
    const bool in_out = x->arg->in_out;
    struct nf_carving c = x->scratch;
    struct batch b;
    void *left, *right;

    NF_TRY(begin(x, dy->dim[0], dw.t.dim[0], &c, &b));
    NF_TRY(pack(x, &b, dy, x->arg->row_weight, &c, &left));
    NF_TRY(pack(x, &b, in, NULL, &c, &right));
    const struct nf_gemm g = {.m = dw.t.dim[1],
                              .n = dw.t.dim[2],
                              .k = b.each,
                              .a = in_out ? right : left,
                              .lda = dw.t.dim[1],
                              .b = in_out ? left : right,
                              .ldb = dw.t.dim[2],
                              .c = dw.accumulate ? dw.t.data : NULL,
                              .d = dw.t.data,
                              .ldc = dw.t.stride[1],
                              .ldd = dw.t.stride[1],
                              .type = dy->dtype,
                              .out = dw.t.dtype,
                              .trans_a = true,
                              .batch = b.experts,
                              .stride_a = b.each * dw.t.dim[1],
                              .stride_b = b.each * dw.t.dim[2],
                              .stride_c = dw.t.stride[0],
                              .stride_d = dw.t.stride[0]};
    *over = b.over;
    x->scratch = c;
    return nf_cuda_gemm(x->queue, x->op, &g, b.workspace);
}
