/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_graph.c: the two graphs of attention_graph.h. The order of the operations is the one that cuDNN's matcher knows;
 * another order of the same arithmetic finds no plan.
 *
 *   forward    S = mask(scale Q Kt);  lse = max S + log sum exp(S - max S);  O = (exp(S - max S) / sum) V
 *   backward   delta = sum dO O;  P = exp(mask(scale Q Kt - lse));  dV = Pt dO;  dS = scale P (dO Vt - delta);
 *              dK = dSt Q;  dQ = dS K
 *
 * Dimensions are [row, head, token, column]; q, k, v and their gradients are read and written where they lie, as columns of
 * wider matrices. dK and dV are summed over the query heads of a kv head.
 */
#include "attention_graph.h"

#define F32 CUDNN_DATA_FLOAT
#define BF16 CUDNN_DATA_BFLOAT16

static struct nf_dnn_shape matrix(const struct nf_attn_shape *s, int64_t heads, int64_t d, int64_t ld)
{
    return (struct nf_dnn_shape){{s->rows, heads, s->len, d}, {s->len * ld, d, ld, 1}};
}

/* The same memory with tokens and columns exchanged. */
static struct nf_dnn_shape across(struct nf_dnn_shape m)
{
    return (struct nf_dnn_shape){{m.dim[0], m.dim[1], m.dim[3], m.dim[2]},
                                 {m.stride[0], m.stride[1], m.stride[3], m.stride[2]}};
}

static struct nf_dnn_shape dense(const struct nf_attn_shape *s, int64_t heads, int64_t cols)
{
    return (struct nf_dnn_shape){{s->rows, heads, s->len, cols}, {heads * s->len * cols, s->len * cols, cols, 1}};
}

static int in_memory(struct nf_dnn_graph *g, struct nf_dnn_shape shape, cudnnDataType_t type)
{
    return nf_dnn_tensor(g, NF_DNN_MEMORY, type, &shape);
}

static int between(struct nf_dnn_graph *g, struct nf_dnn_shape shape, cudnnDataType_t type)
{
    return nf_dnn_tensor(g, NF_DNN_VIRTUAL, type, &shape);
}

/* lse lies [heads, rows len] with us. */
static int lse_of(struct nf_dnn_graph *g, const struct nf_attn_shape *s)
{
    return in_memory(g, (struct nf_dnn_shape){{s->rows, s->heads, s->len, 1}, {s->len, s->rows * s->len, 1, 1}}, F32);
}

static int scores(struct nf_dnn_graph *g, const struct nf_attn_shape *s)
{
    return between(g, dense(s, s->heads, s->len), F32);
}

static void apply(struct nf_dnn_graph *g, cudnnPointwiseMode_t mode, int x, int b, int y)
{
    nf_dnn_pointwise(g, mode, F32, x, b, -1, y);
}

/* y = x where the query's place is at or behind the key's, else -infinity */
static int causal(struct nf_dnn_graph *g, int x, int least)
{
    const int row = nf_dnn_like(g, x, CUDNN_DATA_INT32), col = nf_dnn_like(g, x, CUDNN_DATA_INT32);
    const int seen = nf_dnn_like(g, x, CUDNN_DATA_BOOLEAN), y = nf_dnn_like(g, x, F32);

    nf_dnn_index(g, 2, x, row);
    nf_dnn_index(g, 3, x, col);
    nf_dnn_pointwise(g, CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, row, col, -1, seen);
    nf_dnn_pointwise(g, CUDNN_POINTWISE_BINARY_SELECT, F32, x, least, seen, y);
    return y;
}

void nf_attn_forward_graph(struct nf_dnn_graph *g, const struct nf_attn_shape *s, struct nf_attn_tensors *t)
{
    const struct nf_dnn_shape stat = dense(s, s->heads, 1);

    t->q = in_memory(g, matrix(s, s->heads, s->d_qk, s->ld.q), BF16);
    t->k = in_memory(g, across(matrix(s, s->kv_heads, s->d_qk, s->ld.k)), BF16);
    t->v = in_memory(g, matrix(s, s->kv_heads, s->d_v, s->ld.v), BF16);
    t->o = in_memory(g, matrix(s, s->heads, s->d_v, s->ld.o), BF16);
    t->lse = lse_of(g, s);
    t->scale = nf_dnn_number(g);
    t->least = nf_dnn_number(g);

    const int product = scores(g, s), scaled = scores(g, s);
    nf_dnn_matmul(g, t->q, t->k, product);
    apply(g, CUDNN_POINTWISE_MUL, product, t->scale, scaled);
    const int masked = causal(g, scaled, t->least);
    const int most = between(g, stat, F32), shifted = scores(g, s), mass = scores(g, s), sum = between(g, stat, F32);
    const int log_sum = between(g, stat, F32), p = nf_dnn_like(g, mass, BF16);
    nf_dnn_reduce(g, CUDNN_REDUCE_TENSOR_MAX, masked, most);
    apply(g, CUDNN_POINTWISE_SUB, masked, most, shifted);
    apply(g, CUDNN_POINTWISE_EXP, shifted, -1, mass);
    nf_dnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, mass, sum);
    apply(g, CUDNN_POINTWISE_LOG, sum, -1, log_sum);
    apply(g, CUDNN_POINTWISE_ADD, most, log_sum, t->lse);
    apply(g, CUDNN_POINTWISE_DIV, mass, sum, p);
    nf_dnn_matmul(g, p, t->v, t->o);
}

/* out [.., kv_heads, ..] = xt y, summed over the query heads of each kv head; x [.., heads, len, len] */
static void key_gradient(struct nf_dnn_graph *g, const struct nf_attn_shape *s, int x, int y, int64_t d, int out)
{
    const int xt = between(g, across(dense(s, s->heads, s->len)), BF16);

    nf_dnn_reshape(g, x, xt);
    if (s->heads == s->kv_heads) {
        nf_dnn_matmul(g, xt, y, out);
        return;
    }
    const int each = between(g, dense(s, s->heads, d), BF16);
    nf_dnn_matmul(g, xt, y, each);
    nf_dnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, each, out);
}

static void backward_tensors(struct nf_dnn_graph *g, const struct nf_attn_shape *s, struct nf_attn_tensors *t)
{
    t->q = in_memory(g, matrix(s, s->heads, s->d_qk, s->ld.q), BF16);
    t->k = in_memory(g, across(matrix(s, s->kv_heads, s->d_qk, s->ld.k)), BF16);
    t->v = in_memory(g, across(matrix(s, s->kv_heads, s->d_v, s->ld.v)), BF16);
    t->o = in_memory(g, matrix(s, s->heads, s->d_v, s->ld.o), BF16);
    t->g = in_memory(g, matrix(s, s->heads, s->d_v, s->ld.g), BF16);
    t->lse = lse_of(g, s);
    t->dq = in_memory(g, matrix(s, s->heads, s->d_qk, s->ld.dq), BF16);
    t->dk = in_memory(g, matrix(s, s->kv_heads, s->d_qk, s->ld.dk), BF16);
    t->dv = in_memory(g, matrix(s, s->kv_heads, s->d_v, s->ld.dv), BF16);
    t->scale = nf_dnn_number(g);
    t->least = nf_dnn_number(g);
    t->one = nf_dnn_number(g);
    t->delta = in_memory(g, dense(s, s->heads, 1), F32);
    t->dq_sum = in_memory(g, dense(s, s->heads, s->d_qk), F32);
}

void nf_attn_backward_graph(struct nf_dnn_graph *g, const struct nf_attn_shape *s, struct nf_attn_tensors *t)
{
    backward_tensors(g, s, t);

    const int products = between(g, dense(s, s->heads, s->d_v), F32), sums = between(g, dense(s, s->heads, 1), F32);
    apply(g, CUDNN_POINTWISE_MUL, t->g, t->o, products);
    nf_dnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, products, sums);
    apply(g, CUDNN_POINTWISE_MUL, sums, t->one, t->delta);

    const int product = scores(g, s), scaled = scores(g, s), shifted = scores(g, s), p = scores(g, s);
    nf_dnn_matmul(g, t->q, t->k, product);
    apply(g, CUDNN_POINTWISE_MUL, product, t->scale, scaled);
    apply(g, CUDNN_POINTWISE_SUB, scaled, t->lse, shifted);
    apply(g, CUDNN_POINTWISE_EXP, causal(g, shifted, t->least), -1, p);
    key_gradient(g, s, p, t->g, s->d_v, t->dv);

    const int dp = scores(g, s), centred = scores(g, s), weighted = scores(g, s), ds = scores(g, s);
    nf_dnn_matmul(g, t->g, t->v, dp);
    apply(g, CUDNN_POINTWISE_SUB, dp, t->delta, centred);
    apply(g, CUDNN_POINTWISE_MUL, centred, p, weighted);
    apply(g, CUDNN_POINTWISE_MUL, weighted, t->scale, ds);
    key_gradient(g, s, ds, t->q, s->d_qk, t->dk);

    const int keys = between(g, matrix(s, s->kv_heads, s->d_qk, s->ld.k), BF16);
    nf_dnn_reshape(g, t->k, keys);
    nf_dnn_matmul(g, ds, keys, t->dq_sum);
    apply(g, CUDNN_POINTWISE_IDENTITY, t->dq_sum, -1, t->dq);
}
