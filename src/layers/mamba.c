/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mamba.c: the Mamba-2 mixer. One projection gives [z | x B C | dt]; the convolution sees x B C as one block; the scan runs on
 * its output; the gated norm and the output projection close it. All parts are column slices, used where they lie, and the
 * gradients of the parts land in the slots of one d zxbcdt, so the projection's backward is two GEMMs.
 */
#include "mixers.h"

struct widths {
    int64_t inner, bc, conv, all; /* I, G N, I + 2 G N, projection */
};

static struct widths widths(const struct nf_mamba_conf *c)
{
    int64_t inner = (int64_t)c->heads * c->head_dim, bc = (int64_t)c->groups * c->state;
    return (struct widths){inner, bc, inner + 2 * bc, 2 * inner + 2 * bc + c->heads};
}

static struct nf_ssd_arg ssd_arg(const nf_run *run, const struct nf_mamba_conf *c)
{
    return (struct nf_ssd_arg){.heads = c->heads,
                               .head_dim = c->head_dim,
                               .groups = c->groups,
                               .state = c->state,
                               .chunk = c->chunk,
                               .dtype = c->dtype,
                               .dt_lo = c->dt_lo,
                               .dt_hi = c->dt_hi,
                               .seq = run->seq};
}

/* The gated norm's 1/rms is a few numbers a token: keeping it lets a replay stop after the scan. */
static nf_status keep_always(nf_run *run, const void *conf, union nf_keep *keep)
{
    const struct nf_mamba_conf *c = conf;
    return nf_layer_bytes(run, "mamba gated norm 1/rms", (size_t)run->tokens * (size_t)c->groups * sizeof(float),
                          &keep->mamba.rstd);
}

static nf_status keep(nf_run *run, const void *conf, union nf_keep *keep)
{
    const struct nf_mamba_conf *c = conf;
    const struct widths n = widths(c);
    const struct nf_ssd_arg arg = ssd_arg(run, c);
    struct nf_mamba_keep *k = &keep->mamba;

    NF_TRY(nf_layer_new(run, "mamba projection", c->dtype, run->tokens, n.all, &k->zxbcdt));
    NF_TRY(nf_layer_new(run, "mamba scan output", c->dtype, run->tokens, n.inner, &k->y));
    NF_TRY(nf_layer_bytes(run, "mamba chunk states", nf_ssd_kept(run->q, &arg), &k->scan));
    k->conv = (nf_tensor){0};
    if (run->recompute != NF_RECOMPUTE_SELECTIVE) /* else made again from the projection */
        NF_TRY(nf_layer_new(run, "mamba convolution", c->dtype, run->tokens, n.conv, &k->conv));
    return NF_OK;
}

static nf_status convolve(nf_run *run, const struct nf_mamba_conf *c, struct nf_mamba_w *w, const struct nf_mamba_keep *k,
                          const nf_tensor *conv)
{
    const struct widths n = widths(c);
    nf_tensor in = nf_columns(k->zxbcdt, n.inner, n.conv);
    return nf_conv_silu(run->q, conv, &in, &w->conv.w, nf_layer_weight(&w->conv_bias), &run->seq);
}

static nf_status forward(nf_run *run, const nf_tensor *branch, const nf_tensor *x, const void *conf, void *weights,
                         union nf_keep *keep)
{
    const struct nf_mamba_conf *c = conf;
    struct nf_mamba_w *w = weights;
    struct nf_mamba_keep *k = &keep->mamba;
    const struct widths n = widths(c);
    const struct nf_ssd_arg arg = ssd_arg(run, c);
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor conv = k->conv, o;

    NF_TRY(nf_linear(run->q, &k->zxbcdt, NULL, x, &w->in.w, &(struct nf_linear_arg){.bias = nf_layer_weight(&w->in_bias)}));
    if (!conv.nd)
        NF_TRY(nf_layer_new(run, "mamba convolution", c->dtype, run->tokens, n.conv, &conv));
    NF_TRY(convolve(run, c, w, k, &conv));
    nf_tensor z = nf_columns(k->zxbcdt, 0, n.inner), dt = nf_columns(k->zxbcdt, n.inner + n.conv, c->heads);
    nf_tensor sx = nf_columns(conv, 0, n.inner), sb = nf_columns(conv, n.inner, n.bc);
    nf_tensor sc = nf_columns(conv, n.inner + n.bc, n.bc);
    NF_TRY(nf_ssd(run->q, &k->y, k->scan, &sx, &sb, &sc, &dt, &w->dt_bias.w, &w->a_log.w, &w->d.w, &arg));
    if (!run->replay) {
        NF_TRY(nf_layer_new(run, "mamba normed", c->dtype, run->tokens, n.inner, &o));
        NF_TRY(nf_gated_norm(run->q, &o, k->rstd, &k->y, &z, &w->norm.w, c->groups, c->eps));
        NF_TRY(nf_linear(run->q, branch, NULL, &o, &w->out.w, &(struct nf_linear_arg){.bias = nf_layer_weight(&w->out_bias)}));
    }
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

static nf_status backward(nf_run *run, const nf_tensor *dx, const nf_tensor *dbranch, const nf_tensor *x, const void *conf,
                          void *weights, union nf_keep *keep)
{
    const struct nf_mamba_conf *c = conf;
    struct nf_mamba_w *w = weights;
    struct nf_mamba_keep *k = &keep->mamba;
    const struct widths n = widths(c);
    const struct nf_ssd_arg arg = ssd_arg(run, c);
    const struct nf_linear_arg plain = {0};
    nf_mark mark = nf_arena_mark(run->step);
    nf_tensor conv = k->conv, dzxbcdt, dconv, d_o, dy, o;

    NF_TRY(nf_layer_new(run, "mamba d projection", c->dtype, run->tokens, n.all, &dzxbcdt));
    NF_TRY(nf_layer_new(run, "mamba d convolution", c->dtype, run->tokens, n.conv, &dconv));
    NF_TRY(nf_layer_new(run, "mamba d scan output", c->dtype, run->tokens, n.inner, &dy));
    if (!conv.nd) {
        NF_TRY(nf_layer_new(run, "mamba convolution", c->dtype, run->tokens, n.conv, &conv));
        NF_TRY(convolve(run, c, w, k, &conv));
    }
    nf_tensor z = nf_columns(k->zxbcdt, 0, n.inner), dt = nf_columns(k->zxbcdt, n.inner + n.conv, c->heads);
    nf_tensor dz = nf_columns(dzxbcdt, 0, n.inner), ddt = nf_columns(dzxbcdt, n.inner + n.conv, c->heads);
    nf_tensor in = nf_columns(k->zxbcdt, n.inner, n.conv), din = nf_columns(dzxbcdt, n.inner, n.conv);
    nf_tensor sx = nf_columns(conv, 0, n.inner), sb = nf_columns(conv, n.inner, n.bc);
    nf_tensor sc = nf_columns(conv, n.inner + n.bc, n.bc);
    nf_tensor dsx = nf_columns(dconv, 0, n.inner), dsb = nf_columns(dconv, n.inner, n.bc);
    nf_tensor dsc = nf_columns(dconv, n.inner + n.bc, n.bc);

    nf_mark inner = nf_arena_mark(run->step);
    NF_TRY(nf_layer_new(run, "mamba d normed", c->dtype, run->tokens, n.inner, &d_o));
    NF_TRY(nf_layer_new(run, "mamba normed", c->dtype, run->tokens, n.inner, &o));
    NF_TRY(nf_linear_dgrad(run->q, &d_o, NULL, dbranch, &w->out.w, NULL, &plain));
    NF_TRY(nf_gated_norm_bwd(run->q, &dy, &dz, &o, nf_grad_use(&w->norm), &d_o, &k->y, &z, k->rstd, &w->norm.w, c->groups));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->out), nf_grad_use(&w->out_bias), dbranch, &o));
    nf_arena_reset(run->step, NF_LOW, inner);

    NF_TRY(nf_ssd_bwd(run->q, &dsx, &dsb, &dsc, &ddt, nf_grad_use(&w->dt_bias), nf_grad_use(&w->a_log), nf_grad_use(&w->d), &dy,
                      k->scan, &sx, &sb, &sc, &dt, &w->dt_bias.w, &w->a_log.w, &w->d.w, &arg));
    NF_TRY(nf_conv_silu_bwd(run->q, &din, nf_grad_use(&w->conv), nf_grad_use(&w->conv_bias), &dconv, &in, &w->conv.w,
                            nf_layer_weight(&w->conv_bias), &run->seq));
    NF_TRY(nf_linear_dgrad(run->q, dx, NULL, &dzxbcdt, &w->in.w, NULL, &plain));
    NF_TRY(nf_linear_wgrad(run->q, nf_grad_use(&w->in), nf_grad_use(&w->in_bias), &dzxbcdt, x));
    nf_arena_reset(run->step, NF_LOW, mark);
    return NF_OK;
}

const struct nf_mixer nf_mixer_mamba = {"mamba", keep_always, keep, forward, backward};
