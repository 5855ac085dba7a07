/* SPDX-License-Identifier: Apache-2.0 */
/* ref_attention.h: A plain softmax in fp64 and the analytic gradients of it, written from the formulas. */
#ifndef NEMAFIT_VALIDATION_REF_ATTENTION_H
#define NEMAFIT_VALIDATION_REF_ATTENTION_H

#include "oprig.h"

struct shape {
    const char *what;
    int64_t rows, len;
    int heads, kv, dqk, dv;
    int64_t window;
    bool sinks;
    int segments; /* 0: none; 1: two and padding; 2: padding in front, three segments */
    double spread;
};

static inline int32_t *segments_of(const struct shape *s)
{
    int32_t *seg = s->segments ? grab(s->rows * s->len, sizeof *seg) : NULL;
    for (int64_t t = 0; seg && t < s->rows * s->len; t++) {
        const int64_t i = t % s->len, a = s->len / 3 + t / s->len, b = s->len - s->len / 5;
        if (s->segments == 1)
            seg[t] = i < a ? 1 : i < b ? 2 : 0;
        else
            seg[t] = i < 2 ? 0 : i < a ? 1 : i < b ? 2 : 3;
    }
    return seg;
}

static inline bool sees(const struct shape *s, const int32_t *seg, int64_t row, int64_t i, int64_t j)
{
    const int32_t *g = seg ? seg + row * s->len : NULL;
    return j <= i && (s->window == 0 || i - j < s->window) && (!g || (g[i] == g[j] && g[i] != 0));
}

/* One row and head in fp64. p [len] is work. */
static inline double probabilities(const struct shape *s, const int32_t *seg, const double *q, const double *k,
                                   const double *sinks, int64_t row, int h, int64_t i, double *p)
{
    const int64_t nq = (int64_t)s->heads * s->dqk, nk = (int64_t)s->kv * s->dqk, t = row * s->len;
    const int g = h / (s->heads / s->kv);
    const double scale = s->spread / sqrt((double)s->dqk);
    double max = sinks ? sinks[h] : -INFINITY, sum = 0.0;
    bool any = false;
    for (int64_t j = 0; j <= i; j++) {
        p[j] = 0.0;
        if (!sees(s, seg, row, i, j))
            continue;
        for (int c = 0; c < s->dqk; c++)
            p[j] += scale * q[(t + i) * nq + h * s->dqk + c] * k[(t + j) * nk + g * s->dqk + c];
        max = p[j] > max ? p[j] : max;
        any = true;
    }
    if (!any)
        return NAN;
    for (int64_t j = 0; j <= i; j++)
        if (sees(s, seg, row, i, j))
            sum += exp(p[j] - max);
    if (sinks)
        sum += exp(sinks[h] - max);
    for (int64_t j = 0; j <= i; j++)
        p[j] = sees(s, seg, row, i, j) ? exp(p[j] - max) / sum : 0.0;
    return max + log(sum);
}

static inline void reference(const struct shape *s, const int32_t *seg, const double *q, const double *k, const double *v,
                             const double *sinks, double *o, double *lse)
{
    const int64_t no = (int64_t)s->heads * s->dv, nv = (int64_t)s->kv * s->dv, T = s->rows * s->len;
    double *p = grab(s->len, sizeof *p);
    for (int64_t t = 0; t < T; t++)
        for (int h = 0; h < s->heads; h++) {
            const int64_t row = t / s->len, i = t % s->len;
            const double l = probabilities(s, seg, q, k, sinks, row, h, i, p);
            const int g = h / (s->heads / s->kv);
            lse[h * T + t] = l;
            for (int c = 0; c < s->dv; c++) {
                double sum = 0.0;
                for (int64_t j = 0; l == l && j <= i; j++)
                    sum += p[j] * v[(row * s->len + j) * nv + g * s->dv + c];
                o[t * no + h * s->dv + c] = sum;
            }
        }
    free(p);
}

static inline void reference_bwd(const struct shape *s, const int32_t *seg, const double *q, const double *k, const double *v,
                                 const double *sinks, const double *o, const double *go, double *dq, double *dk, double *dv,
                                 double *dsinks)
{
    const int64_t nq = (int64_t)s->heads * s->dqk, nk = (int64_t)s->kv * s->dqk, no = (int64_t)s->heads * s->dv,
                  nv = (int64_t)s->kv * s->dv, T = s->rows * s->len;
    const double scale = s->spread / sqrt((double)s->dqk);
    double *p = grab(s->len, sizeof *p);
    memset(dq, 0, (size_t)(T * nq) * sizeof *dq);
    memset(dk, 0, (size_t)(T * nk) * sizeof *dk);
    memset(dv, 0, (size_t)(T * nv) * sizeof *dv);
    memset(dsinks, 0, (size_t)s->heads * sizeof *dsinks);
    for (int64_t t = 0; t < T; t++)
        for (int h = 0; h < s->heads; h++) {
            const int64_t row = t / s->len, i = t % s->len;
            const double l = probabilities(s, seg, q, k, sinks, row, h, i, p);
            const int g = h / (s->heads / s->kv);
            double delta = 0.0;
            if (!(l == l))
                continue;
            for (int c = 0; c < s->dv; c++)
                delta += go[t * no + h * s->dv + c] * o[t * no + h * s->dv + c];
            if (sinks)
                dsinks[h] -= exp(sinks[h] - l) * delta;
            for (int64_t j = 0; j <= i; j++) {
                const int64_t u = row * s->len + j;
                double dp = 0.0, ds;
                for (int c = 0; c < s->dv; c++) {
                    dp += go[t * no + h * s->dv + c] * v[u * nv + g * s->dv + c];
                    dv[u * nv + g * s->dv + c] += p[j] * go[t * no + h * s->dv + c];
                }
                ds = scale * p[j] * (dp - delta);
                for (int c = 0; c < s->dqk; c++) {
                    dq[t * nq + h * s->dqk + c] += ds * k[u * nk + g * s->dqk + c];
                    dk[u * nk + g * s->dqk + c] += ds * q[t * nq + h * s->dqk + c];
                }
            }
        }
    free(p);
}

struct numbers {
    int64_t T, nq, nk, no, nv;
    int32_t *seg;
    float *q, *k, *v, *go, *sinks;
    double *Q, *K, *V, *GO, *SINKS, *O, *LSE, *DQ, *DK, *DV, *DS;
};

static inline float *drawn(int64_t n, double spread, uint64_t seed, nf_dtype type)
{
    float *x = grab(n, sizeof *x);
    fill_random(x, n, spread, seed);
    for (int64_t i = 0; i < n && type == NF_BF16; i++)
        x[i] = nf_bf16_to_f32(nf_f32_to_bf16(x[i]));
    return x;
}

static inline struct numbers numbers_new(const struct shape *s, nf_dtype type)
{
    struct numbers n = {.T = s->rows * s->len,
                        .nq = (int64_t)s->heads * s->dqk,
                        .nk = (int64_t)s->kv * s->dqk,
                        .no = (int64_t)s->heads * s->dv,
                        .nv = (int64_t)s->kv * s->dv};
    n.seg = segments_of(s);
    n.q = drawn(n.T * n.nq, 1, 1, type);
    n.k = drawn(n.T * n.nk, 1, 2, type);
    n.v = drawn(n.T * n.nv, 1, 3, type);
    n.go = drawn(n.T * n.no, 1, 4, type);
    n.sinks = s->sinks ? drawn(s->heads, 2, 5, NF_F32) : NULL;
    n.Q = widen(n.q, n.T * n.nq);
    n.K = widen(n.k, n.T * n.nk);
    n.V = widen(n.v, n.T * n.nv);
    n.GO = widen(n.go, n.T * n.no);
    n.SINKS = s->sinks ? widen(n.sinks, s->heads) : NULL;
    n.O = grab(n.T * n.no, sizeof(double));
    n.LSE = grab(n.T * s->heads, sizeof(double));
    n.DQ = grab(n.T * n.nq, sizeof(double));
    n.DK = grab(n.T * n.nk, sizeof(double));
    n.DV = grab(n.T * n.nv, sizeof(double));
    n.DS = grab(s->heads, sizeof(double));
    reference(s, n.seg, n.Q, n.K, n.V, n.SINKS, n.O, n.LSE);
    reference_bwd(s, n.seg, n.Q, n.K, n.V, n.SINKS, n.O, n.GO, n.DQ, n.DK, n.DV, n.DS);
    return n;
}

static inline void numbers_free(struct numbers *n)
{
    void *all[] = {n->seg, n->q,     n->k, n->v,   n->go, n->sinks, n->Q,  n->K, n->V,
                   n->GO,  n->SINKS, n->O, n->LSE, n->DQ, n->DK,    n->DV, n->DS};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

#endif
