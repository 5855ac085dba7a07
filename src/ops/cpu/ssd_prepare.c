/* SPDX-License-Identifier: Apache-2.0 */
/* ssd_prepare.c: what both directions of the scan begin with: segments, steps dt, cumulative decays, B CT. */
#include "ssd.h"

#include <math.h>

struct ssd_cut nf_cpu_ssd_cut(const struct nf_ssd_arg *arg)
{
    struct ssd_cut c = {.S = arg->seq.len, .P = arg->head_dim, .N = arg->state, .ratio = arg->heads / arg->groups};

    c.T = arg->seq.rows * c.S;
    c.Q = arg->chunk < 1 ? 1 : arg->chunk > 256 ? 256 : arg->chunk;
    if (c.Q > c.S)
        c.Q = c.S > 0 ? c.S : 1;
    c.chunks = (c.S + c.Q - 1) / c.Q;
    c.stack = c.ratio < SSD_STACK ? c.ratio : SSD_STACK;
    c.tasks = arg->seq.rows * c.chunks * arg->groups;
    return c;
}

void nf_cpu_ssd_lay(struct ssd_job *j, struct nf_bump *b, const struct nf_ssd_arg *arg)
{
    const struct ssd_cut c = nf_cpu_ssd_cut(arg);

    *j = (struct ssd_job){.arg = arg, .cut = c};
    j->start = nf_bump_get(b, c.T, sizeof(int32_t));
    j->end = nf_bump_get(b, c.T, sizeof(int32_t));
    j->dt = nf_bump_floats(b, arg->heads * c.T);
    j->hi = nf_bump_floats(b, arg->heads * c.T);
    j->lo = nf_bump_floats(b, arg->heads * c.T);
}

static void segments(struct ssd_job *j)
{
    const struct ssd_cut *c = &j->cut;

    for (int64_t row = 0; row < j->arg->seq.rows; row++) {
        const int32_t *seg = j->arg->seq.segment ? j->arg->seq.segment + row * c->S : NULL;
        int32_t *start = j->start + row * c->S, *end = j->end + row * c->S;
        for (int64_t i = 0; i < c->S; i++)
            start[i] = i == 0 || (seg && seg[i] != seg[i - 1]) ? (int32_t)i : start[i - 1];
        for (int64_t i = c->S - 1; i >= 0; i--)
            end[i] = i == c->S - 1 || start[i + 1] != start[i] ? (int32_t)(i + 1) : end[i + 1];
    }
}

NF_CLONES static void steps(float *v, int64_t n, float low, float high)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float dt = nf_vsoftplus(v[i]);
        dt = dt < low ? low : dt;
        v[i] = dt > high ? high : dt;
    }
}

struct raw {
    struct ssd_job *j;
    nf_in dt;
    const float *bias, *a_log;
};

static void prepare_chunk(void *ctx, int64_t task, int64_t lane)
{
    const struct raw *r = ctx;
    struct ssd_job *j = r->j;
    const nf_in dt = r->dt;
    const struct ssd_cut *c = &j->cut;
    const int64_t chunk = task % c->chunks, t0 = task / c->chunks * c->S + chunk * c->Q;
    const int64_t n = c->S - chunk * c->Q < c->Q ? c->S - chunk * c->Q : c->Q;

    (void)lane;
    for (int64_t i = 0; i < n; i++) {
        const void *raw = nf_row(dt, t0 + i);
        for (int64_t h = 0; h < j->arg->heads; h++) {
            float v = dt->dtype == NF_F32 ? ((const float *)raw)[h] : nf_bf16_to_f32(((const uint16_t *)raw)[h]);
            j->dt[h * c->T + t0 + i] = v + r->bias[h];
        }
    }
    for (int64_t h = 0; h < j->arg->heads; h++) {
        const double rate = -exp((double)r->a_log[h]);
        float *step = j->dt + h * c->T + t0, *hi = j->hi + h * c->T + t0, *lo = j->lo + h * c->T + t0;
        double s = 0.0;
        steps(step, n, j->arg->dt_lo, j->arg->dt_hi);
        for (int64_t i = 0; i < n; i++) {
            s += rate * (double)step[i];
            hi[i] = (float)s;
            lo[i] = (float)(s - (double)hi[i]);
        }
    }
}

void nf_cpu_ssd_prepare(nf_queue *q, struct ssd_job *j, nf_in dt, nf_in dt_bias, nf_in a_log)
{
    segments(j);
    nf_cpu_lanes(q, j->arg->seq.rows * j->cut.chunks, prepare_chunk, &(struct raw){j, dt, dt_bias->data, a_log->data});
}

struct ssd_chunk nf_cpu_ssd_chunk(const struct ssd_job *j, int64_t task)
{
    const struct ssd_cut *c = &j->cut;
    struct ssd_chunk k = {.group = task % j->arg->groups, .chunk = task / j->arg->groups % c->chunks};

    k.row = task / j->arg->groups / c->chunks;
    k.in0 = k.chunk * c->Q;
    k.t0 = k.row * c->S + k.in0;
    k.n = c->S - k.in0 < c->Q ? c->S - k.in0 : c->Q;
    while (k.carried < k.n && j->start[k.t0 + k.carried] < k.in0)
        k.carried++;
    k.leaving = j->start[k.t0 + k.n - 1] - k.in0;
    k.through = k.leaving < 0;
    k.leaving = k.leaving < 0 ? 0 : k.leaving;
    return k;
}

void nf_cpu_ssd_cb(const struct ssd_job *j, const struct ssd_chunk *k, float *cb)
{
    const int64_t N = j->cut.N;

    for (int64_t j0 = 0; j0 < k->n; j0 += SSD_BLOCK) {
        const int64_t nj = k->n - j0 < SSD_BLOCK ? k->n - j0 : SSD_BLOCK;
        nf_cpu_gemm(false, true, nj, k->n - j0, N, 1.0f, ssd_at(&j->b, k->t0 + j0, k->group * N), j->b.stride[0],
                    ssd_at(&j->c, k->t0 + j0, k->group * N), j->c.stride[0], 0.0f, cb + j0 * k->n + j0, k->n);
    }
}
