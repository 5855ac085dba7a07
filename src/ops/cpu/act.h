/* SPDX-License-Identifier: Apache-2.0 */
/*
 * act.h: activations and their derivatives on one row of fp32.
 *
 *   relu2         a = max(u, 0)^2                  du = 2 max(u, 0) g
 *   SwiGLU        a = silu(u) v                    du = g v silu'(u),  dv = g silu(u)
 *   clamped       with p = min(u, L), c = clamp(v, -L, L), s = sigmoid(alpha p):  a = (c + 1) p s
 *                 du = g (c + 1) s (1 + alpha p (1 - s)) [u <= L],  dv = g p s [-L <= v <= L]
 *
 * u is the gate and v the up half; without a gate v and dv are not looked at.
 */
#ifndef NEMAFIT_OPS_CPU_ACT_H
#define NEMAFIT_OPS_CPU_ACT_H

#include "nemafit/ops.h"

static inline bool nf_act_gated(const struct nf_act_arg *act)
{
    return act->kind == NF_ACT_SWIGLU || act->kind == NF_ACT_SWIGLU_CLAMP;
}

/* a may be u */
void nf_act_row(const struct nf_act_arg *act, float *a, const float *u, const float *v, int64_t n);
/* du may be g */
void nf_act_grad_row(const struct nf_act_arg *act, float *du, float *dv, const float *g, const float *u, const float *v,
                     int64_t n);

#endif
