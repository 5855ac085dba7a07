/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd_bwd_chunk.c: the gradients of one chunk of one group, from the state H that enters it and the gradient R of the state
 * that leaves it. With L_ij = exp(s_i - s_j), es_i = exp(s_i), el_j = exp(s_e - s_j), all 0 between segments, per head:
 *
 *   acc_j = sum_{i >= j} L_ij CB_ij g_i + el_j R B_j;   dx_j = dt_j acc_j + D g_j;   ddt_j = acc_j . x_j
 *   W_ij  = L_ij dt_j g_i . x_j
 *   dC_i += sum_{j <= i} W_ij B_j + es_i HT g_i;   dB_j += sum_{i >= j} W_ij C_i + dt_j el_j RT x_j
 *   da_m  = sum_{i >= m > j} W_ij CB_ij + sum_{j < m} e_j + sum_{i >= m} o_i + exp(s_e) <R, H>
 *   o_i   = es_i g_i . (H C_i),   e_j = dt_j el_j x_j . (R B_j)
 *
 * The double sum is not taken as row sums minus column sums, which nearly cancel: for each i a prefix over j < m is carried,
 * and da_m adds up the prefixes of i >= m. W is summed over the heads of a group before it meets B and C.
 */
#include "ssd_bwd.h"

#include <math.h>
#include <string.h>

struct space {
    float *cb, *gx, *w, *sum, *pack, *acc, *prefix, *o, *e;
};

int64_t nf_cpu_ssd_bwd_lane(const struct ssd_cut *c)
{
    return 4 * c->Q * c->Q + 2 * c->Q * c->stack * c->P + (1 + 2 * c->stack) * c->Q;
}

static struct space space_in(float *lane, const struct ssd_cut *c)
{
    struct space s;
    s.cb = lane;
    s.gx = s.cb + c->Q * c->Q;
    s.w = s.gx + c->Q * c->Q;
    s.sum = s.w + c->Q * c->Q;
    s.pack = s.sum + c->Q * c->Q;
    s.acc = s.pack + c->Q * c->stack * c->P;
    s.prefix = s.acc + c->Q * c->stack * c->P;
    s.o = s.prefix + c->Q; /* [stack, Q] */
    s.e = s.o + c->stack * c->Q;
    return s;
}

NF_CLONES static float dot(const float *a, const float *b, int64_t n)
{
    float s = 0.0f;

#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

void nf_cpu_ssd_pack_g(const struct ssd_bwd *w, const struct ssd_chunk *k, int64_t h0, int64_t heads, float *to)
{
    const struct ssd_cut *c = &w->j.cut;

    for (int64_t i = 0; i < k->carried; i++)
        for (int64_t h = 0; h < heads; h++) {
            const float es = nf_vexp(w->j.hi[(h0 + h) * c->T + k->t0 + i]), *g = ssd_at(&w->g, k->t0 + i, (h0 + h) * c->P);
            float *y = to + (i * heads + h) * c->P;
            for (int64_t p = 0; p < c->P; p++)
                y[p] = es * g[p];
        }
}

/* o_i, and dC += es g H */
static void with_state(const struct ssd_bwd *w, const struct ssd_chunk *k, int64_t h0, int64_t heads, struct space *s)
{
    const struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;
    const int64_t width = heads * c->P;
    const float *state = ssd_state(j->states, j, k->row, k->chunk, h0);

    memset(s->o, 0, (size_t)(heads * c->Q) * sizeof(float));
    if (!k->carried)
        return;
    nf_cpu_gemm(false, true, k->carried, width, c->N, 1.0f, ssd_at(&j->c, k->t0, k->group * c->N), j->c.stride[0], state, c->N,
                0.0f, s->acc, width);
    nf_cpu_ssd_pack_g(w, k, h0, heads, s->pack);
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < k->carried; i++)
            s->o[h * c->Q + i] = dot(s->pack + i * width + h * c->P, s->acc + i * width + h * c->P, c->P);
    nf_cpu_gemm(false, false, k->carried, c->N, width, 1.0f, s->pack, width, state, c->N, 1.0f,
                ssd_out(&w->dc, k->t0, k->group * c->N), w->dc.stride[0]);
}

/* acc = el R B, e_j, and dB += dt el x R */
static void with_gradient(const struct ssd_bwd *w, const struct ssd_chunk *k, int64_t h0, int64_t heads, struct space *s)
{
    const struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;
    const int64_t width = heads * c->P, m = k->n - k->leaving, t1 = k->t0 + k->leaving, te = k->t0 + k->n - 1;
    const float *r = ssd_state(w->r, j, k->row, k->chunk, h0);

    memset(s->e, 0, (size_t)(heads * c->Q) * sizeof(float));
    if (k->chunk == c->chunks - 1) { /* R = 0 */
        memset(s->acc, 0, (size_t)(k->n * width) * sizeof(float));
        return;
    }
    memset(s->acc, 0, (size_t)(k->leaving * width) * sizeof(float));
    nf_cpu_gemm(false, true, m, width, c->N, 1.0f, ssd_at(&j->b, t1, k->group * c->N), j->b.stride[0], r, c->N, 0.0f,
                s->acc + k->leaving * width, width);
    for (int64_t i = 0; i < m; i++)
        for (int64_t h = 0; h < heads; h++) {
            const float *hi = j->hi + (h0 + h) * c->T, *lo = j->lo + (h0 + h) * c->T;
            const float el = ssd_decay(hi, lo, te, hi[t1 + i], lo[t1 + i]), dt = j->dt[(h0 + h) * c->T + t1 + i];
            const float *x = ssd_at(&j->x, t1 + i, (h0 + h) * c->P);
            float *acc = s->acc + (k->leaving + i) * width + h * c->P, *pack = s->pack + i * width + h * c->P;
            for (int64_t p = 0; p < c->P; p++) {
                acc[p] *= el;
                pack[p] = dt * el * x[p];
            }
            s->e[h * c->Q + k->leaving + i] = dt * dot(acc, x, c->P);
        }
    nf_cpu_gemm(false, false, m, c->N, width, 1.0f, s->pack, width, r, c->N, 1.0f, ssd_out(&w->db, t1, k->group * c->N),
                w->db.stride[0]);
}

/* One j: row of L CB to w, of W added to sum; returns the sum of the prefixes over i >= j and moves them on. */
NF_CLONES static float pair_row(float *restrict w, float *restrict sum, float *restrict prefix, const float *restrict cb,
                                const float *restrict gx, const float *hi, const float *lo, float dt, int64_t block, int64_t at,
                                int64_t end, int64_t n)
{
    const float hij = hi[at], loj = lo[at];
    float da = 0.0f;

    for (int64_t i = block; i < at; i++)
        w[i] = 0.0f;
#pragma omp simd reduction(+ : da)
    for (int64_t i = at; i < end; i++) {
        float l = ssd_decay(hi, lo, i, hij, loj), wij = l * dt * gx[i];
        w[i] = l * cb[i];
        sum[i] += wij;
        da += prefix[i];
        prefix[i] += wij * cb[i];
    }
    for (int64_t i = end; i < n; i++)
        w[i] = 0.0f;
    return da;
}

/* Inside the chunk: dx, ddt, da of one head; W added to s->sum. */
static void one_head(const struct ssd_bwd *w, const struct ssd_chunk *k, int64_t h, int64_t width, float *acc, const float *o,
                     const float *e, struct space *s)
{
    const struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;
    const int64_t n = k->n, own = h * c->T + k->t0;
    const float *hi = j->hi + own, *lo = j->lo + own, *dt = j->dt + own, d = w->d[h];
    const int64_t size = c->P * c->N;
    float before = 0.0f, after = 0.0f, *da = w->da + own;

    for (int64_t j0 = 0; j0 < n; j0 += SSD_BLOCK) {
        const int64_t nj = n - j0 < SSD_BLOCK ? n - j0 : SSD_BLOCK;
        nf_cpu_gemm(false, true, nj, n - j0, c->P, 1.0f, ssd_at(&j->x, k->t0 + j0, h * c->P), j->x.stride[0],
                    ssd_at(&w->g, k->t0 + j0, h * c->P), w->g.stride[0], 0.0f, s->gx + j0 * n + j0, n);
    }
    memset(s->prefix, 0, (size_t)n * sizeof(float));
    for (int64_t at = 0; at < n; at++) {
        const int64_t end = j->end[k->t0 + at] - k->in0;
        w->skip[own + at] = s->gx[at * n + at];
        da[at] = pair_row(s->w + at * n, s->sum + at * n, s->prefix, s->cb + at * n, s->gx + at * n, hi, lo, dt[at],
                          at / SSD_BLOCK * SSD_BLOCK, at, end < n ? end : n, n);
    }
    for (int64_t j0 = 0; j0 < n; j0 += SSD_BLOCK) {
        const int64_t nj = n - j0 < SSD_BLOCK ? n - j0 : SSD_BLOCK;
        nf_cpu_gemm(false, false, nj, c->P, n - j0, 1.0f, s->w + j0 * n + j0, n, ssd_at(&w->g, k->t0 + j0, h * c->P),
                    w->g.stride[0], 1.0f, acc + j0 * width, width);
    }
    for (int64_t at = 0; at < n; at++) {
        const float *a = acc + at * width, *g = ssd_at(&w->g, k->t0 + at, h * c->P);
        float *dx = ssd_out(&w->dx, k->t0 + at, h * c->P);
        w->ddt[own + at] = dot(a, ssd_at(&j->x, k->t0 + at, h * c->P), c->P);
        for (int64_t p = 0; p < c->P; p++)
            dx[p] = dt[at] * a[p] + d * g[p];
    }
    if (k->through && k->chunk < c->chunks - 1)
        before = nf_vexp(hi[n - 1]) *
                 dot(ssd_state(w->r, j, k->row, k->chunk, h), ssd_state(j->states, j, k->row, k->chunk, h), size);
    for (int64_t at = 0; at < n; at++) {
        da[at] += before;
        before += e[at];
    }
    for (int64_t at = n - 1; at >= 0; at--) {
        after += o[at];
        da[at] += after;
    }
}

void nf_cpu_ssd_bwd_chunk(void *ssd_bwd, int64_t task, int64_t lane)
{
    const struct ssd_bwd *w = ssd_bwd;
    const struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;
    const struct ssd_chunk k = nf_cpu_ssd_chunk(j, task);
    const int64_t n = k.n, col = k.group * c->N;
    struct space s = space_in(j->lanes + lane * j->lane, c);

    for (int64_t i = 0; i < n; i++) {
        memset(ssd_out(&w->db, k.t0 + i, col), 0, (size_t)c->N * sizeof(float));
        memset(ssd_out(&w->dc, k.t0 + i, col), 0, (size_t)c->N * sizeof(float));
    }
    memset(s.sum, 0, (size_t)(n * n) * sizeof(float));
    nf_cpu_ssd_cb(j, &k, s.cb);
    for (int64_t first = 0; first < c->ratio; first += c->stack) {
        const int64_t heads = c->ratio - first < c->stack ? c->ratio - first : c->stack, h0 = k.group * c->ratio + first;
        with_state(w, &k, h0, heads, &s);
        with_gradient(w, &k, h0, heads, &s);
        for (int64_t h = 0; h < heads; h++)
            one_head(w, &k, h0 + h, heads * c->P, s.acc + h * c->P, s.o + h * c->Q, s.e + h * c->Q, &s);
    }
    for (int64_t j0 = 0; j0 < n; j0 += SSD_BLOCK) {
        const int64_t nj = n - j0 < SSD_BLOCK ? n - j0 : SSD_BLOCK;
        nf_cpu_gemm(true, false, nj, c->N, j0 + nj, 1.0f, s.sum + j0, n, ssd_at(&j->b, k.t0, col), j->b.stride[0], 1.0f,
                    ssd_out(&w->dc, k.t0 + j0, col), w->dc.stride[0]);
        nf_cpu_gemm(false, false, nj, c->N, n - j0, 1.0f, s.sum + j0 * n + j0, n, ssd_at(&j->c, k.t0 + j0, col), j->c.stride[0],
                    1.0f, ssd_out(&w->db, k.t0 + j0, col), w->db.stride[0]);
    }
}
