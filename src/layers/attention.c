/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.c: grouped-query causal attention without positional encoding. q, k and v are column slices of one tensor, so the
 * three gradients of x are accumulated by the dgrads themselves.
 */
#include "mixers.h"

struct slices {
    nf_tensor q, k, v;
};

static struct slices cut(const nf_tensor *qkv, const struct nf_attn_conf *c)
{
    int64_t nq = (int64_t)c->heads * c->head_dim, nkv = (int64_t)c->kv_heads * c->head_dim;
    return (struct slices){nf_columns(*qkv, 0, nq), nf_columns(*qkv, nq, nkv), nf_columns(*qkv, nq + nkv, nkv)};
}

static struct nf_attention_arg attention_arg(const nf_run *run, const struct nf_attn_conf *c)
{
    return (struct nf_attention_arg){.heads = c->heads,
                                     .kv_heads = c->kv_heads,
                                     .d_qk = c->head_dim,
                                     .d_v = c->head_dim,
                                     .scale = c->scale,
                                     .window = c->window,
                                     .seq = run->seq,
                                     .backend = c->backend,
                                     .training = run->train};
}

static nf_status keep_always(nf_run *run, const void *conf, union nf_keep *keep)
{
    (void)run, (void)conf, (void)keep;
    return NF_OK;
}

static nf_status keep(nf_run *run, const void *conf, union nf_keep *keep)
{
    const struct nf_attn_conf *c = conf;
    int64_t nq = (int64_t)c->heads * c->head_dim, nkv = (int64_t)c->kv_heads * c->head_dim;
    NF_TRY(nf_layer_new(run, "attention qkv", c->dtype, run->tokens, nq + 2 * nkv, &keep->attn.qkv));
    NF_TRY(nf_layer_new(run, "attention output", c->dtype, run->tokens, nq, &keep->attn.o));
    return nf_layer_bytes(run, "attention log-sum-exp", (size_t)run->tokens * (size_t)c->heads * sizeof(float),
                          &keep->attn.lse);
}

static nf_status forward(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const void *conf, void *weights,
                         union nf_keep *keep)
{
    const struct nf_attn_conf *c = conf;
    struct nf_attn_w *w = weights;
    struct nf_attn_keep *k = &keep->attn;
    const struct nf_attention_arg arg = attention_arg(run, c);
    struct slices s = cut(&k->qkv, c);

    NF_TRY(nf_linear(run->q, &s.q, NULL, x, &w->q.w, &(struct nf_linear_arg){.bias = nf_layer_weight(&w->q_bias)}));
    NF_TRY(nf_linear(run->q, &s.k, NULL, x, &w->k.w, &(struct nf_linear_arg){.bias = nf_layer_weight(&w->k_bias)}));
    NF_TRY(nf_linear(run->q, &s.v, NULL, x, &w->v.w, &(struct nf_linear_arg){.bias = nf_layer_weight(&w->v_bias)}));
    NF_TRY(nf_attention(run->q, &k->o, k->lse, &s.q, &s.k, &s.v, &arg));
    if (run->replay)
        return NF_OK;
    return nf_linear(run->q, branch, NULL, &k->o, &w->o.w, &(struct nf_linear_arg){.bias = nf_layer_weight(&w->o_bias)});
}

static nf_status backward(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x, const void *conf,
                          void *weights, union nf_keep *keep)
{
    const struct nf_attn_conf *c = conf;
    struct nf_attn_w *w = weights;
    struct nf_attn_keep *k = &keep->attn;
    const struct nf_attention_arg arg = attention_arg(run, c);
    const struct nf_linear_arg plain = {0}, onto_dx = {.add = dx};
    struct slices s = cut(&k->qkv, c), d;
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor d_o, dqkv;

    NF_TRY(nf_layer_new(run, "attention d output", c->dtype, run->tokens, k->o.dim[1], &d_o));
    NF_TRY(nf_layer_new(run, "attention d qkv", c->dtype, run->tokens, k->qkv.dim[1], &dqkv));
    d = cut(&dqkv, c);
    NF_TRY(nf_linear_dgrad(run->q, &d_o, NULL, dbranch, &w->o.w, NULL, &plain));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->o), nf_grad_use(&w->o_bias), dbranch, &k->o));
    NF_TRY(nf_attention_bwd(run->q, &d.q, &d.k, &d.v, (nf_grad){0}, &d_o, &s.q, &s.k, &s.v, &k->o, k->lse, &arg));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &d.q, &w->q.w, NULL, &plain));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &d.k, &w->k.w, NULL, &onto_dx));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &d.v, &w->v.w, NULL, &onto_dx));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->q), nf_grad_use(&w->q_bias), &d.q, x));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->k), nf_grad_use(&w->k_bias), &d.k, x));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->v), nf_grad_use(&w->v_bias), &d.v, x));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

const struct nf_mixer nf_mixer_attention = {"attention", keep_always, keep, forward, backward};
