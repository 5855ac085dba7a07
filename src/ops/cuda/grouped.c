/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.c: the experts' linear layers of the CUDA backend: which kernels take a call, and with what.
 *
 *   grouped   own kernels, one launch for all groups: tensor cores take bf16 whose rows start on 16 bytes, plain arithmetic
 *             takes fp32 and all else
 *   batched   one batch of products of cuBLASLt, each expert padded to the same rows; own kernels take what is beyond
 *   eager     a product of cuBLASLt a group; the only one that reads counts on the host
 */
#include "grouped.h"
#include "grouped_plan.h"
#include "grouped_products.h"
#include "launch.h"
#include "maps.h"
#include "slots.h"

#include <stdint.h>

static struct nf_cuda_groups groups_of(const struct nf_groups *g)
{
    return (struct nf_cuda_groups){g->begin, g->end, g->expert, g->count, (int)g->base};
}

static struct nf_cuda_operand operand_of(nf_in t)
{
    return t->nd == 3 ? (struct nf_cuda_operand){t->data, t->stride[1], t->stride[0]}
                      : (struct nf_cuda_operand){t->data, t->stride[0], 0};
}

/* `half`: columns to the second half of a gated activation, 0 without one */
static struct nf_cuda_matrix matrix_of(nf_in t, int64_t half)
{
    return t ? (struct nf_cuda_matrix){t->data, t->stride[0], nf_cuda_mappable(t->data, t->stride[0]) && half % 8 == 0}
             : (struct nf_cuda_matrix){0};
}

static bool has(nf_in t)
{
    return t && t->data;
}

static nf_status same_type(const char *op, nf_in a, nf_in b)
{
    if (!has(b) || a->dtype == b->dtype)
        return NF_OK;
    return nf_cuda_fail(NF_EBUG, "%s: operands of types %d and %d; the CUDA backend wants one", op, (int)a->dtype,
                        (int)b->dtype);
}

static nf_status rows_call(const char *op, bool dgrad, nf_out out, nf_out pre, nf_out again, float *dot, nf_in in, nf_in w,
                           const struct nf_groups *groups, const struct nf_grouped_arg *arg, struct nf_cuda_rows *call)
{
    const bool gated = nf_cuda_gated(&arg->act);
    const int64_t N = arg->in_out ? w->dim[2] : w->dim[1], K = arg->in_out ? w->dim[1] : w->dim[2];
    const int64_t cols = dgrad ? K : gated ? N / 2 : N, half = gated ? cols : 0;

    *call = (struct nf_cuda_rows){.groups = groups_of(groups),
                                  .rows = (int)in->dim[0],
                                  .cols = (int)cols,
                                  .depth = (int)(dgrad ? N : K),
                                  .out = matrix_of(out, half),
                                  .pre = matrix_of(pre, half),
                                  .again = matrix_of(again, 0),
                                  .act = arg->act,
                                  .row_weight = arg->row_weight,
                                  .dot = dot};
    if (!dgrad && has(arg->bias)) {
        call->bias = arg->bias->data;
        call->bias_ld = arg->bias->stride[0];
    }
    NF_TRY(same_type(op, in, w));
    NF_TRY(same_type(op, in, out));
    NF_TRY(same_type(op, in, pre));
    NF_TRY(same_type(op, in, again));
    return same_type(op, in, arg->bias);
}

static bool on_tensor_cores(nf_in in, nf_in w, const struct nf_groups *groups)
{
    return in->dtype == NF_BF16 && nf_cuda_mappable(in->data, in->stride[0]) && nf_cuda_mappable(w->data, w->stride[1]) &&
           w->stride[0] % 8 == 0 && groups->count <= NF_CUDA_GROUPS_MOST;
}

/* One launch; on tensor cores with maps a and b and tiles of `width` columns,
 * else (width 0) plain. */
static cudaError_t launch_rows(const struct nf_cuda_rows *call, bool dgrad, nf_in in, nf_in w, bool across,
                               const CUtensorMap *a, const CUtensorMap *b, int width, int blocks, cudaStream_t s)
{
    const struct nf_cuda_operand x = operand_of(in), y = operand_of(w);
    const bool bf16 = in->dtype == NF_BF16;

    if (width && dgrad)
        return nf_cuda_rows_dgrad(call, a, b, width, across, blocks, s);
    if (width)
        return nf_cuda_rows_forward(call, a, b, width, across, blocks, s);
    if (dgrad)
        return nf_cuda_plain_dgrad(call, x, y, across, bf16, 4 * blocks, s);
    return nf_cuda_plain_forward(call, x, y, across, bf16, 4 * blocks, s);
}

/* Forward or dgrad by the kernel that fits. */
static nf_status run_rows(nf_queue *q, const char *op, bool dgrad, const struct nf_cuda_rows *call, nf_in in, nf_in w,
                          const struct nf_groups *groups, const struct nf_grouped_arg *arg)
{
    const bool across = dgrad != arg->in_out, halves = !dgrad && nf_cuda_gated(&arg->act);
    struct nf_cuda_rows here = *call;
    CUtensorMap a, b;
    int blocks, width = 0;

    here.groups = groups_of(groups);

    if (call->rows == 0 || call->cols == 0)
        return NF_OK;
    NF_TRY(nf_cuda_processors(&blocks));
    if (on_tensor_cores(in, w, groups) && call->depth > 0) {
        width = nf_cuda_tile_width(call->cols, halves, dgrad == across);
        const int box = across ? NF_CUDA_TILE_STEP : halves ? width / 2 : width;
        NF_TRY(nf_cuda_map(&a, in->data, call->depth, call->rows, 1, in->stride[0], 0, NF_CUDA_TILE_ROWS));
        NF_TRY(nf_cuda_map(&b, w->data, w->dim[2], w->dim[1], w->dim[0], w->stride[1], w->stride[0], box));
    }
    return nf_cuda_launched(op, launch_rows(&here, dgrad, in, w, across, &a, &b, width, blocks, nf_cuda_stream_of(q)));
}

/* Groups of which the first rows are done. */
static struct nf_groups rest_of(const struct nf_groups *groups, const int32_t *over)
{
    struct nf_groups rest = *groups;
    rest.begin = over;
    return rest;
}

static struct nf_groups done_of(const struct nf_groups *groups, const int32_t *over)
{
    struct nf_groups done = *groups;
    done.end = over;
    return done;
}

nf_status nf_cuda_grouped_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                 const struct nf_grouped_arg *arg, void *scratch)
{
    const char *op = "grouped_linear";
    const struct nf_cuda_experts e = {q, op, groups, arg, {scratch, nf_cuda_grouped_linear_scratch(y, pre, x, w, groups, arg)}};
    struct nf_groups rest = *groups;
    struct nf_cuda_rows call;
    const int32_t *over;

    NF_TRY(rows_call(op, false, y, pre, NULL, NULL, x, w, groups, arg, &call));
    if (call.rows == 0 || call.cols == 0 || groups->count == 0)
        return NF_OK;
    if (arg->backend == NF_EXPERTS_EAGER)
        return nf_cuda_eager_rows(&e, false, &call, x, w);
    if (arg->backend == NF_EXPERTS_BATCHED) {
        NF_TRY(nf_cuda_batched_rows(&e, false, &call, x, w, &over));
        rest = rest_of(groups, over);
    }
    return run_rows(q, op, false, &call, x, w, &rest, arg);
}

/* Gradients of the row weights from `parts` sums a row and, with a bias, from it. */
static nf_status sum_dots(nf_queue *q, const char *op, float *drow_weight, const struct nf_cuda_rows *call, int parts,
                          const struct nf_groups *groups, nf_in dy, const struct nf_grouped_arg *arg)
{
    const struct nf_cuda_groups g = groups_of(groups);
    const void *bias = has(arg->bias) ? arg->bias->data : NULL;

    return nf_cuda_launched(op, nf_cuda_row_dots(drow_weight, call->dot, parts, call->rows, &g, operand_of(dy), (int)dy->dim[1],
                                                 bias, bias ? arg->bias->stride[0] : 0, dy->dtype == NF_BF16,
                                                 nf_cuda_stream_of(q)));
}

nf_status nf_cuda_grouped_dgrad(nf_queue *q, nf_out dx, nf_out act_again, float *drow_weight, nf_in dy, nf_in w, nf_in pre,
                                const struct nf_groups *groups, const struct nf_grouped_arg *arg, void *scratch)
{
    const char *op = "grouped_dgrad";
    const int64_t K = arg->in_out ? w->dim[1] : w->dim[2];
    struct nf_cuda_experts e = {
        q, op, groups, arg, {scratch, nf_cuda_grouped_dgrad_scratch(dx, act_again, drow_weight, dy, w, pre, groups, arg)}};
    float *dot = nf_carve(&e.scratch, nf_cuda_dots_scratch(drow_weight, dy, K));
    struct nf_groups done = *groups, rest = *groups;
    struct nf_cuda_rows call;
    const int32_t *over;

    NF_TRY(rows_call(op, true, dx, pre, act_again, drow_weight ? dot : NULL, dy, w, groups, arg, &call));
    if (call.rows == 0 || call.cols == 0 || groups->count == 0)
        return NF_OK;
    if (arg->backend == NF_EXPERTS_EAGER)
        NF_TRY(nf_cuda_eager_rows(&e, true, &call, dy, w));
    if (arg->backend == NF_EXPERTS_BATCHED) {
        NF_TRY(nf_cuda_batched_rows(&e, true, &call, dy, w, &over));
        done = done_of(groups, over);
        rest = rest_of(groups, over);
    }
    if (drow_weight && arg->backend != NF_EXPERTS_GROUPED)
        NF_TRY(sum_dots(q, op, drow_weight, &call, 1, &done, dy, arg));
    if (arg->backend == NF_EXPERTS_EAGER)
        return NF_OK;
    NF_TRY(run_rows(q, op, true, &call, dy, w, &rest, arg));
    if (!drow_weight)
        return NF_OK;
    const int tile =
        on_tensor_cores(dy, w, groups) ? nf_cuda_tile_width(call.cols, false, arg->in_out == false) : NF_CUDA_PLAIN_TILE;
    return sum_dots(q, op, drow_weight, &call, (call.cols + tile - 1) / tile, &rest, dy, arg);
}

static struct nf_cuda_wgrad wgrad_call(nf_grad dw, const struct nf_groups *groups)
{
    const nf_tensor *t = &dw.t;
    struct nf_cuda_wgrad call = {.groups = groups_of(groups),
                                 .experts = (int)t->dim[0],
                                 .m = (int)t->dim[1],
                                 .n = (int)t->dim[2],
                                 .dw = t->data,
                                 .ld = t->stride[1],
                                 .expert_ld = t->stride[0],
                                 .fp32 = t->dtype == NF_F32,
                                 .accumulate = dw.accumulate};
    const bool pairs = (uintptr_t)t->data % 8 == 0 && call.ld % 2 == 0 && call.expert_ld % 2 == 0 && call.n % 2 == 0;

    call.vec = call.fp32 ? pairs : nf_cuda_mappable(t->data, call.ld) && call.expert_ld % 8 == 0;
    return call;
}

/* Gradient of the weights; on tensor cores the rows of dy are weighted first,
 * into scratch. */
static nf_status weight_gradient(nf_queue *q, nf_grad dw, nf_in dy, nf_in x, const struct nf_groups *groups,
                                 const struct nf_grouped_arg *arg, void *scratch)
{
    const char *op = "grouped_wgrad";
    struct nf_cuda_wgrad call = wgrad_call(dw, groups);
    const int experts = call.experts;
    const bool bf16 = dy->dtype == NF_BF16;
    const bool plain = !bf16 || dy->dim[0] == 0 || groups->count > NF_CUDA_GROUPS_MOST || experts > NF_CUDA_EXPERTS_MOST ||
                       dy->dim[1] % 8 || !nf_cuda_mappable(dy->data, dy->stride[0]) || !nf_cuda_mappable(x->data, x->stride[0]);
    struct nf_cuda_operand of_dy = operand_of(dy), of_x = operand_of(x);
    const cudaStream_t s = nf_cuda_stream_of(q);
    CUtensorMap a, b;
    int blocks;

    if (nf_tensor_count_of(&dw.t) == 0)
        return NF_OK;
    NF_TRY(same_type(op, dy, x));
    NF_TRY(nf_cuda_processors(&blocks));
    if (!plain && arg->row_weight) {
        NF_TRY(nf_cuda_launched(op, nf_cuda_weigh_rows(scratch, of_dy, (int)dy->dim[1], &call.groups, arg->row_weight, s)));
        of_dy = (struct nf_cuda_operand){scratch, dy->dim[1], 0};
    }
    const struct nf_cuda_operand left = arg->in_out ? of_x : of_dy, right = arg->in_out ? of_dy : of_x;
    if (!plain) {
        NF_TRY(nf_cuda_map(&a, left.data, call.m, dy->dim[0], 1, left.ld, 0, NF_CUDA_TILE_STEP));
        NF_TRY(nf_cuda_map(&b, right.data, call.n, dy->dim[0], 1, right.ld, 0, NF_CUDA_TILE_STEP));
    }
    return nf_cuda_launched(op, plain
                                    ? nf_cuda_plain_wgrad(&call, left, right, arg->row_weight, arg->in_out, bf16, 4 * blocks, s)
                                    : nf_cuda_rows_wgrad(&call, &a, &b, nf_cuda_tile_width(call.n, false, true), blocks, s));
}

static nf_status weight_gradient_by(nf_queue *q, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                                    const struct nf_grouped_arg *arg, void *scratch)
{
    const char *op = "grouped_wgrad";
    struct nf_cuda_experts e = {q, op, groups, arg, {scratch, nf_cuda_grouped_wgrad_scratch(dw, dbias, dy, x, groups, arg)}};
    struct nf_groups rest;
    const int32_t *over;

    if (arg->backend == NF_EXPERTS_GROUPED || nf_tensor_count_of(&dw.t) == 0)
        return weight_gradient(q, dw, dy, x, groups, arg, scratch);
    NF_TRY(same_type(op, dy, x));
    if (arg->backend == NF_EXPERTS_EAGER)
        return nf_cuda_eager_wgrad(&e, dw, dy, x);
    NF_TRY(nf_cuda_batched_wgrad(&e, dw, dy, x, &over));
    rest = rest_of(groups, over);
    return weight_gradient(q, (nf_grad){dw.t, true}, dy, x, &rest, arg, e.scratch.at);
}

nf_status nf_cuda_grouped_wgrad(nf_queue *q, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                                const struct nf_grouped_arg *arg, void *scratch)
{
    const struct nf_cuda_groups g = groups_of(groups);

    if (dw.t.data)
        NF_TRY(weight_gradient_by(q, dw, dbias, dy, x, groups, arg, scratch));
    if (!dbias.t.data)
        return NF_OK;
    return nf_cuda_launched("grouped_wgrad",
                            nf_cuda_group_sums(dbias.t.data, dbias.t.stride[0], dbias.t.dtype == NF_F32, dbias.accumulate,
                                               (int)dbias.t.dim[0], (int)dbias.t.dim[1], &g, operand_of(dy), arg->row_weight,
                                               dy->dtype == NF_BF16, nf_cuda_stream_of(q)));
}
