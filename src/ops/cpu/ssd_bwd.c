/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd_bwd.c: the scan backward, in the phases of the forward (ssd.h): what each chunk adds to the gradient R of the state that
 * enters it, the passing of R from the last chunk to the first, then each chunk by itself (ssd_bwd_chunk.c), and last the sums
 * over tokens.
 *
 *   R_{c-1} = exp(s_e) R_c + sum_i exp(s_i) g_i C_iT          (R_c: of the state that leaves chunk c)
 *   ddt += A da;  dA_log = A sum dt da;  ddt_raw = ddt [lo <= softplus(v) <= hi] sigma(v)
 */
#include "ssd_bwd.h"

#include <math.h>
#include <string.h>

static void chunk_gradient(void *ctx, int64_t task, int64_t lane)
{
    const struct ssd_bwd *w = ctx;
    const struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;
    const struct ssd_chunk k = nf_cpu_ssd_chunk(j, task);

    float *pack = j->lanes + lane * j->lane;

    if (k.chunk == 0)
        return;
    for (int64_t first = 0; first < c->ratio; first += c->stack) {
        const int64_t heads = c->ratio - first < c->stack ? c->ratio - first : c->stack, h0 = k.group * c->ratio + first;
        const int64_t width = heads * c->P;
        nf_cpu_ssd_pack_g(w, &k, h0, heads, pack);
        nf_cpu_gemm(true, false, width, c->N, k.carried, 1.0f, pack, width, ssd_at(&j->c, k.t0, k.group * c->N), j->c.stride[0],
                    0.0f, ssd_state(w->r, j, k.row, k.chunk - 1, h0), c->N);
    }
}

static void pass_gradients(void *ctx, int64_t task, int64_t lane)
{
    const struct ssd_bwd *w = ctx;
    const struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;
    const int64_t row = task / j->arg->heads, h = task % j->arg->heads, size = c->P * c->N;

    (void)lane;
    memset(ssd_state(w->r, j, row, c->chunks - 1, h), 0, (size_t)size * sizeof(float));
    for (int64_t chunk = c->chunks - 1; chunk > 0; chunk--) {
        const struct ssd_chunk k = nf_cpu_ssd_chunk(j, (row * c->chunks + chunk) * j->arg->groups);
        const float decay = k.through ? expf(j->hi[h * c->T + k.t0 + k.n - 1]) : 0.0f;
        const float *from = ssd_state(w->r, j, row, chunk, h);
        float *to = ssd_state(w->r, j, row, chunk - 1, h);
        if (decay > 0.0f)
            for (int64_t i = 0; i < size; i++)
                to[i] += decay * from[i];
    }
}

struct sums {
    const struct ssd_bwd *w;
    nf_out ddt;
    nf_grad ddt_bias, da_log, dd;
    nf_in dt;
    const float *bias, *a_log;
};

static void add_to(nf_grad g, int64_t i, double sum)
{
    float *out = g.t.data;
    if (out)
        out[i] = (float)((g.accumulate ? (double)out[i] : 0.0) + sum);
}

/* v becomes ddt_raw / ddt: the gradient through clamp and softplus */
NF_CLONES static void through_softplus(float *v, int64_t n, float low, float high)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float dt = nf_vsoftplus(v[i]), s = nf_vsigmoid(v[i]);
        v[i] = dt >= low && dt <= high ? s : 0.0f;
    }
}

static void sum_head(void *ctx, int64_t h, int64_t lane)
{
    const struct sums *s = ctx;
    const struct ssd_bwd *w = s->w;
    const struct ssd_job *j = &w->j;
    const int64_t T = j->cut.T;
    const double rate = -exp((double)s->a_log[h]);
    const float *dt = j->dt + h * T, *da = w->da + h * T, *direct = w->ddt + h * T, *skip = w->skip + h * T;
    float *v = j->hi + h * T; /* no longer needed */
    double sum_a = 0.0, sum_bias = 0.0, sum_d = 0.0;

    (void)lane;
    for (int64_t t = 0; t < T; t++) {
        const void *raw = nf_row(s->dt, t);
        v[t] = s->bias[h] + (s->dt->dtype == NF_F32 ? ((const float *)raw)[h] : nf_bf16_to_f32(((const uint16_t *)raw)[h]));
    }
    through_softplus(v, T, j->arg->dt_lo, j->arg->dt_hi);
    for (int64_t t = 0; t < T; t++) {
        const float dv = v[t] * (float)((double)direct[t] + rate * (double)da[t]);
        void *out = nf_row_out(s->ddt, t);
        if (s->ddt->dtype == NF_F32)
            ((float *)out)[h] = dv;
        else
            ((uint16_t *)out)[h] = nf_f32_to_bf16(dv);
        sum_a += (double)dt[t] * (double)da[t];
        sum_bias += (double)dv;
        sum_d += (double)skip[t];
    }
    add_to(s->da_log, h, rate * sum_a);
    add_to(s->ddt_bias, h, sum_bias);
    add_to(s->dd, h, sum_d);
}

/* dx has the shape and type of x, dy too; db, dc those of b. */
static size_t lay(struct ssd_bwd *w, nf_in x, nf_in b, const struct nf_ssd_arg *arg, void *scratch)
{
    struct nf_bump bump = {.base = scratch};
    struct ssd_job *j = &w->j;
    const struct ssd_cut *c = &j->cut;

    nf_cpu_ssd_lay(j, &bump, arg);
    w->r = nf_bump_floats(&bump, arg->seq.rows * c->chunks * arg->heads * c->P * c->N);
    w->ddt = nf_bump_floats(&bump, arg->heads * c->T);
    w->da = nf_bump_floats(&bump, arg->heads * c->T);
    w->skip = nf_bump_floats(&bump, arg->heads * c->T);
    j->x = nf_stage(&bump, x);
    w->g = nf_stage(&bump, x);
    w->dx = nf_stage(&bump, x);
    j->b = nf_stage(&bump, b);
    j->c = nf_stage(&bump, b);
    w->db = nf_stage(&bump, b);
    w->dc = nf_stage(&bump, b);
    j->lane = (nf_cpu_ssd_bwd_lane(c) + 15) & ~(int64_t)15;
    j->lanes = nf_bump_floats(&bump, nf_lanes(c->tasks) * j->lane);
    return bump.at;
}

size_t nf_cpu_ssd_bwd_scratch(nf_in x, nf_in b, const struct nf_ssd_arg *arg)
{
    struct ssd_bwd w;
    return lay(&w, x, b, arg, NULL);
}

nf_status nf_cpu_ssd_bwd(nf_queue *q, nf_out dx, nf_out db, nf_out dc, nf_out ddt, nf_grad ddt_bias, nf_grad da_log, nf_grad dd,
                         nf_in dy, const void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d,
                         const struct nf_ssd_arg *arg, void *scratch)
{
    struct ssd_bwd w = {0};
    struct sums s = {&w, ddt, ddt_bias, da_log, dd, dt, dt_bias->data, a_log->data};
    struct ssd_job *j = &w.j;

    lay(&w, x, b, arg, scratch);
    if (x->dtype == NF_F32) { /* nothing staged: each lies with its own stride */
        w.g = *dy;
        w.dx = *dx;
        j->c = *c;
        w.db = *db;
        w.dc = *dc;
    }
    w.d = d->data;
    j->states = (float *)kept; /* only read */
    nf_stage_load(q, &j->x, x);
    nf_stage_load(q, &j->b, b);
    nf_stage_load(q, &j->c, c);
    nf_stage_load(q, &w.g, dy);
    nf_cpu_ssd_prepare(q, j, dt, dt_bias, a_log);
    nf_cpu_lanes(q, j->cut.tasks, chunk_gradient, &w);
    nf_cpu_lanes(q, arg->seq.rows * arg->heads, pass_gradients, &w);
    nf_cpu_lanes(q, j->cut.tasks, nf_cpu_ssd_bwd_chunk, &w);
    nf_cpu_lanes(q, arg->heads, sum_head, &s);
    nf_stage_store(q, dx, &w.dx);
    nf_stage_store(q, db, &w.db);
    nf_stage_store(q, dc, &w.dc);
    return NF_OK;
}
