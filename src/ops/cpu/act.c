/* SPDX-License-Identifier: Apache-2.0 */
/* act.c: activations on one row (act.h). Comparisons are written so that NaN stays NaN. */
#include "act.h"

#include "vmath.h"

#include <string.h>

NF_CLONES static void relu2(float *a, const float *u, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float r = u[i] < 0.0f ? 0.0f : u[i];
        a[i] = r * r;
    }
}

NF_CLONES static void relu2_grad(float *du, const float *g, const float *u, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float r = u[i] < 0.0f ? 0.0f : u[i];
        du[i] = 2.0f * r * g[i];
    }
}

NF_CLONES static void swiglu(float *a, const float *u, const float *v, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        a[i] = nf_vsilu(u[i]) * v[i];
}

NF_CLONES static void swiglu_grad(float *du, float *dv, const float *g, const float *u, const float *v, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i], s = nf_vsilu(u[i]), ds = nf_vsilu_grad(u[i]);
        du[i] = gi * v[i] * ds;
        dv[i] = gi * s;
    }
}

NF_CLONES static void clamped(float *a, const float *u, const float *v, int64_t n, float alpha, float limit)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float p = u[i] > limit ? limit : u[i];
        float c = v[i] > limit ? limit : v[i];
        c = c < -limit ? -limit : c;
        a[i] = (c + 1.0f) * (p * nf_vsigmoid(alpha * p));
    }
}

NF_CLONES static void clamped_grad(float *du, float *dv, const float *g, const float *u, const float *v, int64_t n, float alpha,
                                   float limit)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float p = u[i] > limit ? limit : u[i];
        float c = v[i] > limit ? limit : v[i];
        c = c < -limit ? -limit : c;
        float s = nf_vsigmoid(alpha * p), gi = g[i];
        float d = gi * (c + 1.0f) * nf_vsilu_grad(alpha * p); /* s (1 + alpha p (1 - s)) is silu' at alpha p */
        float e = gi * p * s;
        du[i] = u[i] > limit ? 0.0f : d;
        dv[i] = v[i] > limit ? 0.0f : v[i] < -limit ? 0.0f : e;
    }
}

void nf_act_row(const struct nf_act_arg *act, float *a, const float *u, const float *v, int64_t n)
{
    switch (act->kind) {
    case NF_ACT_NONE:
        if (a != u)
            memcpy(a, u, (size_t)n * sizeof *a);
        break;
    case NF_ACT_RELU2: relu2(a, u, n); break;
    case NF_ACT_SWIGLU: swiglu(a, u, v, n); break;
    case NF_ACT_SWIGLU_CLAMP: clamped(a, u, v, n, act->alpha, act->limit); break;
    }
}

void nf_act_grad_row(const struct nf_act_arg *act, float *du, float *dv, const float *g, const float *u, const float *v,
                     int64_t n)
{
    switch (act->kind) {
    case NF_ACT_NONE:
        if (du != g)
            memcpy(du, g, (size_t)n * sizeof *du);
        break;
    case NF_ACT_RELU2: relu2_grad(du, g, u, n); break;
    case NF_ACT_SWIGLU: swiglu_grad(du, dv, g, u, v, n); break;
    case NF_ACT_SWIGLU_CLAMP: clamped_grad(du, dv, g, u, v, n, act->alpha, act->limit); break;
    }
}
