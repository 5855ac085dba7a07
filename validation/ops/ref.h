/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ref.h: the mathematics in fp64, written from the formulas and not from the code under test, and central differences: each
 * test first holds its reference's gradient to the differences of its reference's forward, then the op to the reference.
 *
 * Errors are over the largest value (oprig.h). ROUND_F32 sqrt(n) is what n roundings of fp32 add up to when they are
 * independent; a bf16 result has one rounding of its own, ROUND_BF16, on top.
 */
#ifndef NEMAFIT_VALIDATION_REF_H
#define NEMAFIT_VALIDATION_REF_H

#include "oprig.h"

#define ROUND_F32 0x1p-24
#define ROUND_BF16 0x1p-8 /* of a value near a power of two, half a unit of 8 bits, and half as much again for its operands */

static inline double ref_sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}
static inline double ref_silu(double x)
{
    return x * ref_sigmoid(x);
}
static inline double ref_silu_grad(double x)
{
    double s = ref_sigmoid(x);
    return s * (1 + x * ref_sigmoid(-x));
}

static inline bool ref_gated(const struct nf_act_arg *a)
{
    return a->kind == NF_ACT_SWIGLU || a->kind == NF_ACT_SWIGLU_CLAMP;
}
static inline double ref_act(const struct nf_act_arg *a, double u, double v)
{
    const double limit = (double)a->limit, alpha = (double)a->alpha;
    switch (a->kind) {
    case NF_ACT_NONE: return u;
    case NF_ACT_RELU2: return u > 0 ? u * u : 0;
    case NF_ACT_SWIGLU: return ref_silu(u) * v;
    case NF_ACT_SWIGLU_CLAMP: break;
    }
    const double p = fmin(u, limit), c = fmax(-limit, fmin(v, limit));
    return (c + 1) * p * ref_sigmoid(alpha * p);
}
static inline void ref_act_grad(const struct nf_act_arg *a, double g, double u, double v, double *du, double *dv)
{
    const double limit = (double)a->limit, alpha = (double)a->alpha;
    *dv = 0;
    switch (a->kind) {
    case NF_ACT_NONE: *du = g; return;
    case NF_ACT_RELU2: *du = 2 * fmax(u, 0) * g; return;
    case NF_ACT_SWIGLU:
        *du = g * v * ref_silu_grad(u);
        *dv = g * ref_silu(u);
        return;
    case NF_ACT_SWIGLU_CLAMP: break;
    }
    const double p = fmin(u, limit), c = fmax(-limit, fmin(v, limit)), s = ref_sigmoid(alpha * p);
    *du = u <= limit ? g * (c + 1) * s * (1 + alpha * p * (1 - s)) : 0;
    *dv = v >= -limit && v <= limit ? g * p * s : 0;
}

/* c [m, n] += op(a) op(b), dense */
static inline void ref_product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++) {
            const double x = ta ? a[p * m + i] : a[i * k + p];
            for (int64_t j = 0; j < n; j++)
                c[i * n + j] += x * (tb ? b[j * k + p] : b[p * n + j]);
        }
}

/* Largest difference between a gradient and the central differences of f, over the largest gradient. */
static inline double ref_differences(double (*f)(void *), void *ctx, double *x, int64_t n, const double *grad)
{
    const double h = 1e-5;
    double worst = 0, top = 1e-3;
    for (int64_t i = 0; i < n; i++) {
        const double keep = x[i];
        x[i] = keep + h;
        double up = f(ctx);
        x[i] = keep - h;
        double down = f(ctx);
        x[i] = keep;
        const double d = fabs((up - down) / (2 * h) - grad[i]);
        worst = d > worst || !(d == d) ? d : worst;
        top = fmax(top, fabs(grad[i]));
    }
    return worst / top;
}
/* h^2 of the differences, and rounding of fp64 over h */
#define DIFFERENCES 1e-7

static inline double *doubles(int64_t n, double spread, uint64_t seed)
{
    float *f = grab(n, sizeof *f);
    fill_random(f, n, spread, seed);
    double *d = widen(f, n);
    free(f);
    return d;
}

/* A slice filled with values that its type holds exactly, and those values. */
static inline struct slice slice_random(nf_dtype type, int64_t rows, int64_t cols, int64_t first, int64_t wide, double spread,
                                        uint64_t seed, double **values)
{
    float *f = grab(rows * cols, sizeof *f);
    fill_random(f, rows * cols, spread, seed);
    struct slice s = slice_new(type, rows, cols, first, wide, f);
    free(f);
    f = slice_get(&s);
    *values = widen(f, rows * cols);
    free(f);
    return s;
}

/* A slice against its reference. */
static inline bool slice_near(const struct slice *s, const double *want, double size, double bound, const char *what,
                              const char *name)
{
    float *got = slice_get(s);
    bool ok = near(got, want, s->t.dim[0] * s->t.dim[1], size, bound, what, name) &&
              tap_ok(slice_guarded(s), "%s: %s: nothing beside it written", what, name);
    free(got);
    return ok;
}

#endif
