/* SPDX-License-Identifier: Apache-2.0 */
/* ref_ssd.h: The sequential recurrence of the scan in fp64 and the adjoint of it. */
#ifndef NEMAFIT_VALIDATION_REF_SSD_H
#define NEMAFIT_VALIDATION_REF_SSD_H

#include "oprig.h"

struct shape {
    const char *what;
    int64_t rows, len;
    int heads, P, groups, N, chunk;
    double lo, hi;       /* of dt */
    double dt0, dt1;     /* raw dt is dt0 +- dt1 */
    double rate0, rate1; /* a_log is rate0 +- rate1 */
    int segments;        /* 0: none; 1: two and padding; 2: padding in front, then many short ones */
};

enum { X, B, C, DT, BIAS, ALOG, D, INPUTS };
static const char *const names[INPUTS] = {"x", "b", "c", "dt", "dt_bias", "a_log", "d"};

struct numbers {
    int64_t T, count[INPUTS], cols[INPUTS];
    int32_t *seg;
    float *in[INPUTS], *g;
    double *IN[INPUTS], *GRAD[INPUTS], *Y, *G;
};

static inline double softplus(double v)
{
    return v > 0 ? v + log1p(exp(-v)) : log1p(exp(v));
}

static inline bool starts(const struct shape *s, const int32_t *seg, int64_t t)
{
    return t % s->len == 0 || (seg && seg[t] != seg[t - 1]);
}

/* y, and with `back` the gradients of sum(g y) */
static inline void reference(const struct shape *s, const struct numbers *n, bool back)
{
    const int64_t I = (int64_t)s->heads * s->P, GN = (int64_t)s->groups * s->N, size = (int64_t)s->P * s->N;
    double *states = grab((s->len + 1) * size, sizeof *states), *adj = grab(size, sizeof *adj);
    for (int i = 0; back && i < INPUTS; i++)
        memset(n->GRAD[i], 0, (size_t)n->count[i] * sizeof(double));
    for (int64_t row = 0; row < s->rows; row++)
        for (int h = 0; h < s->heads; h++) {
            const double A = -exp(n->IN[ALOG][h]), Dh = n->IN[D][h];
            const int64_t bc = (int64_t)(h / (s->heads / s->groups)) * s->N;
            for (int64_t i = 0; i < s->len; i++) {
                const int64_t t = row * s->len + i;
                const double sp = softplus(n->IN[DT][t * s->heads + h] + n->IN[BIAS][h]), dt = fmin(fmax(sp, s->lo), s->hi);
                const double keep = starts(s, n->seg, t) ? 0.0 : exp(dt * A);
                const double *x = n->IN[X] + t * I + h * s->P, *b = n->IN[B] + t * GN + bc, *c = n->IN[C] + t * GN + bc;
                const double *before = states + i * size;
                double *now = states + (i + 1) * size;
                for (int p = 0; p < s->P; p++) {
                    double y = Dh * x[p];
                    for (int k = 0; k < s->N; k++) {
                        now[p * s->N + k] = keep * before[p * s->N + k] + dt * x[p] * b[k];
                        y += now[p * s->N + k] * c[k];
                    }
                    n->Y[t * I + h * s->P + p] = y;
                }
            }
            memset(adj, 0, (size_t)size * sizeof *adj);
            for (int64_t i = s->len - 1; back && i >= 0; i--) {
                const int64_t t = row * s->len + i;
                const double v = n->IN[DT][t * s->heads + h] + n->IN[BIAS][h], sp = softplus(v),
                             dt = fmin(fmax(sp, s->lo), s->hi);
                const double keep = starts(s, n->seg, t) ? 0.0 : exp(dt * A);
                const double *x = n->IN[X] + t * I + h * s->P, *b = n->IN[B] + t * GN + bc, *c = n->IN[C] + t * GN + bc;
                const double *g = n->G + t * I + h * s->P, *before = states + i * size, *now = states + (i + 1) * size;
                double *dx = n->GRAD[X] + t * I + h * s->P, *db = n->GRAD[B] + t * GN + bc, *dc = n->GRAD[C] + t * GN + bc;
                double ddt = 0.0, da = 0.0;
                for (int p = 0; p < s->P; p++) {
                    double xb = 0.0;
                    for (int k = 0; k < s->N; k++) {
                        double *e = &adj[p * s->N + k];
                        *e += g[p] * c[k];
                        dc[k] += now[p * s->N + k] * g[p];
                        db[k] += dt * *e * x[p];
                        xb += *e * b[k];
                        da += keep * *e * before[p * s->N + k];
                        *e *= keep;
                    }
                    dx[p] += dt * xb + Dh * g[p];
                    ddt += x[p] * xb;
                    n->GRAD[D][h] += g[p] * x[p];
                }
                n->GRAD[ALOG][h] += A * dt * da;
                ddt = (ddt + A * da) * (sp >= s->lo && sp <= s->hi ? 1.0 / (1.0 + exp(-v)) : 0.0);
                n->GRAD[DT][t * s->heads + h] = ddt;
                n->GRAD[BIAS][h] += ddt;
            }
        }
    free(states);
    free(adj);
}

static inline struct numbers numbers_new(const struct shape *s, nf_dtype type)
{
    const int64_t T = s->rows * s->len, I = (int64_t)s->heads * s->P, GN = (int64_t)s->groups * s->N;
    struct numbers n = {.T = T, .cols = {I, GN, GN, s->heads, s->heads, s->heads, s->heads}};
    n.seg = s->segments ? grab(T, sizeof(int32_t)) : NULL;
    for (int64_t t = 0; n.seg && t < T; t++) {
        const int64_t i = t % s->len, a = s->len / 3 + t / s->len;
        if (s->segments == 1)
            n.seg[t] = i < a ? 1 : i < s->len - s->len / 5 ? 2 : 0;
        else
            n.seg[t] = (int32_t)(i < 3 ? 0 : 1 + i / 7);
    }
    for (int i = 0; i < INPUTS; i++) {
        n.count[i] = i < BIAS ? T * n.cols[i] : n.cols[i];
        n.in[i] = grab(n.count[i], sizeof(float));
        fill_random(n.in[i], n.count[i], i == DT ? s->dt1 : i == ALOG ? s->rate1 : 1.0, (uint64_t)i + 11);
        for (int64_t e = 0; e < n.count[i]; e++) {
            n.in[i][e] += (float)(i == DT ? s->dt0 : i == ALOG ? s->rate0 : 0.0);
            if (type == NF_BF16 && i <= DT)
                n.in[i][e] = nf_bf16_to_f32(nf_f32_to_bf16(n.in[i][e]));
        }
        n.IN[i] = widen(n.in[i], n.count[i]);
        n.GRAD[i] = grab(n.count[i], sizeof(double));
    }
    n.g = grab(n.count[X], sizeof(float));
    fill_random(n.g, n.count[X], 1.0, 5);
    for (int64_t e = 0; e < n.count[X] && type == NF_BF16; e++)
        n.g[e] = nf_bf16_to_f32(nf_f32_to_bf16(n.g[e]));
    n.G = widen(n.g, n.count[X]);
    n.Y = grab(n.count[X], sizeof(double));
    reference(s, &n, true);
    return n;
}

static inline void numbers_free(struct numbers *n)
{
    for (int i = 0; i < INPUTS; i++) {
        free(n->in[i]);
        free(n->IN[i]);
        free(n->GRAD[i]);
    }
    free(n->seg);
    free(n->g);
    free(n->G);
    free(n->Y);
}

#endif
