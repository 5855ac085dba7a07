/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mlp.c: out = W_down act(W_up x). Keeps the pre-activation alone; the activation is rebuilt by the backward's first GEMM.
 */
#include "mixers.h"

static nf_status keep_always(nf_run *run, const void *conf, union nf_keep *keep)
{
    (void)run, (void)conf, (void)keep;
    return NF_OK;
}

static nf_status keep(nf_run *run, const void *conf, union nf_keep *keep)
{
    const struct nf_mlp_conf *c = conf;
    return nf_layer_new(run, "mlp pre-activation", c->dtype, run->tokens, nf_layer_pre_width(&c->act, c->width),
                        &keep->mlp.pre);
}

static nf_status forward(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const void *conf, void *weights,
                         union nf_keep *keep)
{
    const struct nf_mlp_conf *c = conf;
    struct nf_mlp_w *w = weights;
    struct nf_linear_arg up = {.bias = nf_layer_weight(&w->up_bias)};
    struct nf_linear_arg down = {.bias = nf_layer_weight(&w->down_bias)};
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor act;

    if (run->replay) /* the backward reads no more than the pre-activation */
        return nf_linear(run->q, &keep->mlp.pre, NULL, x, &w->up.w, &up);
    up.act = c->act;
    NF_TRY(nf_layer_new(run, "mlp activation", c->dtype, run->tokens, c->width, &act));
    NF_TRY(nf_linear(run->q, &act, &keep->mlp.pre, x, &w->up.w, &up));
    NF_TRY(nf_linear(run->q, branch, NULL, &act, &w->down.w, &down));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

static nf_status backward(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x, const void *conf,
                          void *weights, union nf_keep *keep)
{
    const struct nf_mlp_conf *c = conf;
    struct nf_mlp_w *w = weights;
    const struct nf_linear_arg through_act = {.act = c->act}, plain = {0};
    const nf_tensor *pre = &keep->mlp.pre;
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor dpre, act;

    NF_TRY(nf_layer_new(run, "mlp d pre-activation", c->dtype, run->tokens, pre->dim[1], &dpre));
    NF_TRY(nf_layer_new(run, "mlp activation", c->dtype, run->tokens, c->width, &act));
    NF_TRY(nf_linear_dgrad(run->q, &dpre, &act, dbranch, &w->down.w, pre, &through_act));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->down), nf_grad_use(&w->down_bias), dbranch, &act));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &dpre, &w->up.w, NULL, &plain));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->up), nf_grad_use(&w->up_bias), &dpre, x));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

const struct nf_mixer nf_mixer_mlp = {"mlp", keep_always, keep, forward, backward};
