/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd.c: the scan forward, by chunks as GEMMs.
 *
 *   U_c = sum_j exp(s_e - s_j) dt_j x_j B_jT;   H_{c+1} = exp(s_e) H_c + U_c
 *   y_i = sum_{j <= i} exp(s_i - s_j) (C_i . B_j) dt_j x_j + exp(s_i) H_c C_i + D x_i
 *
 * with factors that are 0 between segments (ssd.h). The entering states H_c are what the backward keeps.
 */
#include "ssd.h"

#include <math.h>
#include <string.h>

size_t nf_cpu_ssd_kept(const struct nf_ssd_arg *arg)
{
    const struct ssd_cut c = nf_cpu_ssd_cut(arg);
    return (size_t)(arg->seq.rows * c.chunks * arg->heads * c.P * c.N) * sizeof(float);
}

struct forward {
    struct ssd_job j;
    nf_tensor y; /* fp32 */
    const float *d;
};

/* U of the chunk, into the state that enters the next one */
static void chunk_state(void *ctx, int64_t task, int64_t lane)
{
    const struct forward *f = ctx;
    const struct ssd_job *j = &f->j;
    const struct ssd_cut *c = &j->cut;
    const struct ssd_chunk k = nf_cpu_ssd_chunk(j, task);
    const int64_t m = k.n - k.leaving, t1 = k.t0 + k.leaving;

    float *pack = j->lanes + lane * j->lane;

    if (k.chunk == c->chunks - 1)
        return;
    for (int64_t first = 0; first < c->ratio; first += c->stack) {
        const int64_t heads = c->ratio - first < c->stack ? c->ratio - first : c->stack, h0 = k.group * c->ratio + first;
        const int64_t width = heads * c->P;
        for (int64_t h = 0; h < heads; h++) {
            const float *hi = j->hi + (h0 + h) * c->T, *lo = j->lo + (h0 + h) * c->T, *dt = j->dt + (h0 + h) * c->T;
            const int64_t e = k.t0 + k.n - 1;
            for (int64_t i = 0; i < m; i++) {
                const float w = dt[t1 + i] * ssd_decay(hi, lo, e, hi[t1 + i], lo[t1 + i]);
                const float *x = ssd_at(&j->x, t1 + i, (h0 + h) * c->P);
                float *to = pack + i * width + h * c->P;
                for (int64_t p = 0; p < c->P; p++)
                    to[p] = w * x[p];
            }
        }
        nf_cpu_gemm(true, false, width, c->N, m, 1.0f, pack, width, ssd_at(&j->b, t1, k.group * c->N), j->b.stride[0], 0.0f,
                    ssd_state(j->states, j, k.row, k.chunk + 1, h0), c->N);
    }
}

/* H_{c+1} += exp(s_e) H_c where the segment goes through */
static void pass_states(void *ctx, int64_t task, int64_t lane)
{
    const struct forward *f = ctx;
    const struct ssd_job *j = &f->j;
    const struct ssd_cut *c = &j->cut;
    const int64_t row = task / j->arg->heads, h = task % j->arg->heads, size = c->P * c->N;

    (void)lane;
    memset(ssd_state(j->states, j, row, 0, h), 0, (size_t)size * sizeof(float));
    for (int64_t chunk = 1; chunk + 1 < c->chunks; chunk++) {
        const struct ssd_chunk k = nf_cpu_ssd_chunk(j, (row * c->chunks + chunk) * j->arg->groups);
        const float decay = k.through ? expf(j->hi[h * c->T + k.t0 + k.n - 1]) : 0.0f;
        const float *from = ssd_state(j->states, j, row, chunk, h);
        float *to = ssd_state(j->states, j, row, chunk + 1, h);
        if (decay > 0.0f)
            for (int64_t i = 0; i < size; i++)
                to[i] += decay * from[i];
    }
}

/* w[j][i] = exp(s_i - s_j) cb[j][i] dt_j for i in [j, end), else 0 */
NF_CLONES static void weights_row(float *restrict w, const float *restrict cb, const float *hi, const float *lo, float dt,
                                  int64_t block, int64_t at, int64_t end, int64_t n)
{
    const float hij = hi[at], loj = lo[at];

    for (int64_t i = block; i < at; i++)
        w[i] = 0.0f;
#pragma omp simd
    for (int64_t i = at; i < end; i++)
        w[i] = ssd_decay(hi, lo, i, hij, loj) * cb[i] * dt;
    for (int64_t i = end; i < n; i++)
        w[i] = 0.0f;
}

static void from_state(const struct forward *f, const struct ssd_chunk *k)
{
    const struct ssd_job *j = &f->j;
    const struct ssd_cut *c = &j->cut;
    const int64_t g0 = k->group * c->ratio;

    if (k->carried)
        nf_cpu_gemm(false, true, k->carried, c->ratio * c->P, c->N, 1.0f, ssd_at(&j->c, k->t0, k->group * c->N), j->c.stride[0],
                    ssd_state(j->states, j, k->row, k->chunk, g0), c->N, 0.0f, ssd_out(&f->y, k->t0, g0 * c->P),
                    f->y.stride[0]);
    for (int64_t i = 0; i < k->n; i++)
        for (int64_t h = g0; h < g0 + c->ratio; h++) {
            const float *x = ssd_at(&j->x, k->t0 + i, h * c->P), d = f->d[h];
            float *y = ssd_out(&f->y, k->t0 + i, h * c->P);
            if (i < k->carried) {
                const float es = nf_vexp(j->hi[h * c->T + k->t0 + i]);
                for (int64_t p = 0; p < c->P; p++)
                    y[p] = es * y[p] + d * x[p];
            } else
                for (int64_t p = 0; p < c->P; p++)
                    y[p] = d * x[p];
        }
}

static void chunk_output(void *ctx, int64_t task, int64_t lane)
{
    const struct forward *f = ctx;
    const struct ssd_job *j = &f->j;
    const struct ssd_cut *c = &j->cut;
    const struct ssd_chunk k = nf_cpu_ssd_chunk(j, task);
    float *cb = j->lanes + lane * j->lane, *w = cb + c->Q * c->Q;

    from_state(f, &k);
    nf_cpu_ssd_cb(j, &k, cb);
    for (int64_t h = k.group * c->ratio; h < (k.group + 1) * c->ratio; h++) {
        const float *hi = j->hi + h * c->T + k.t0, *lo = j->lo + h * c->T + k.t0, *dt = j->dt + h * c->T + k.t0;
        for (int64_t at = 0; at < k.n; at++) {
            int64_t end = j->end[k.t0 + at] - k.in0;
            weights_row(w + at * k.n, cb + at * k.n, hi, lo, dt[at], at / SSD_BLOCK * SSD_BLOCK, at, end < k.n ? end : k.n,
                        k.n);
        }
        for (int64_t i0 = 0; i0 < k.n; i0 += SSD_BLOCK) {
            const int64_t ni = k.n - i0 < SSD_BLOCK ? k.n - i0 : SSD_BLOCK;
            nf_cpu_gemm(true, false, ni, c->P, i0 + ni, 1.0f, w + i0, k.n, ssd_at(&j->x, k.t0, h * c->P), j->x.stride[0], 1.0f,
                        ssd_out(&f->y, k.t0 + i0, h * c->P), f->y.stride[0]);
        }
    }
}

static size_t lay(struct forward *f, nf_in y, void *kept, nf_in x, nf_in b, nf_in c, const struct nf_ssd_arg *arg,
                  void *scratch)
{
    struct nf_bump bump = {.base = scratch};
    struct ssd_job *j = &f->j;
    int64_t states, pack;

    nf_cpu_ssd_lay(j, &bump, arg);
    states = arg->seq.rows * j->cut.chunks * arg->heads * j->cut.P * j->cut.N;
    j->x = nf_stage(&bump, x);
    j->b = nf_stage(&bump, b);
    j->c = nf_stage(&bump, c);
    f->y = nf_stage(&bump, y);
    j->states = kept ? kept : nf_bump_floats(&bump, states);
    pack = j->cut.Q * j->cut.stack * j->cut.P;
    j->lane = 2 * j->cut.Q * j->cut.Q > pack ? 2 * j->cut.Q * j->cut.Q : pack;
    j->lane = (j->lane + 15) & ~(int64_t)15;
    j->lanes = nf_bump_floats(&bump, nf_lanes(j->cut.tasks) * j->lane);
    return bump.at;
}

size_t nf_cpu_ssd_scratch(nf_in y, bool kept, nf_in x, nf_in b, nf_in c, const struct nf_ssd_arg *arg)
{
    struct forward f;
    char some;
    return lay(&f, y, kept ? &some : NULL, x, b, c, arg, NULL);
}

nf_status nf_cpu_ssd(nf_queue *q, nf_out y, void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log,
                     nf_in d, const struct nf_ssd_arg *arg, void *scratch)
{
    struct forward f = {0};
    struct ssd_job *j = &f.j;

    lay(&f, y, kept, x, b, c, arg, scratch);
    f.d = d->data;
    nf_stage_load(q, &j->x, x);
    nf_stage_load(q, &j->b, b);
    nf_stage_load(q, &j->c, c);
    nf_cpu_ssd_prepare(q, j, dt, dt_bias, a_log);
    nf_cpu_lanes(q, j->cut.tasks, chunk_state, &f);
    nf_cpu_lanes(q, arg->seq.rows * arg->heads, pass_states, &f);
    nf_cpu_lanes(q, j->cut.tasks, chunk_output, &f);
    nf_stage_store(q, y, &f.y);
    return NF_OK;
}
