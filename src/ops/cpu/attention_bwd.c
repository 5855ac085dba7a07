/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention_bwd.c: gradients from the saved log-sum-exp. A task owns some query heads of one kv head of one row (one "part"):
 * it walks over query tiles and, inside, over key tiles, and adds to dk and dv of the whole row in that order. Parts of one kv
 * head write apart and are summed afterwards, in order. So nothing is shared and the bits do not depend on threads.
 *
 *   p = exp(scale q kT - lse);  delta = sum g o;  ds = p (g vT - delta)
 *   dq = scale ds k;  dk = dsT (scale q);  dv = pT g;  dsink = - sum exp(sink - lse) delta
 */
#include "attention.h"

#include <math.h>
#include <string.h>

struct backward {
    struct attention_job f;
    nf_tensor g, dq, dk, dv; /* fp32; dk, dv: of part 0, or all parts beside one another */
    nf_tensor sum_k, sum_v;  /* fp32 results when there are parts */
    float *delta;            /* [heads, T] */
    nf_queue *queue;
};

struct tile {
    float *q, *g, *s, *d, *dq, *lse, *delta;
};

static struct tile tile_in(float *lane, const struct attention_cut *c, const struct nf_attention_arg *a)
{
    struct tile t;
    t.q = lane;
    t.g = t.q + c->rows * a->d_qk;
    t.s = t.g + c->rows * a->d_v;
    t.d = t.s + c->rows * c->bk;
    t.dq = t.d + c->rows * c->bk;
    t.lse = t.dq + c->rows * a->d_qk;
    t.delta = t.lse + c->rows;
    return t;
}

static int64_t lane_floats(const struct attention_cut *c, const struct nf_attention_arg *a)
{
    return (c->rows * (2 * a->d_qk + a->d_v + 2 * c->bk + 2) + 15) & ~(int64_t)15;
}

/* Scores s and g vT in d become p and ds; outside [lo, hi) both are zero. */
NF_CLONES static void probabilities_row(float *restrict s, float *restrict d, int64_t n, int64_t lo, int64_t hi, float lse,
                                        float delta)
{
    for (int64_t j = 0; j < lo; j++)
        s[j] = d[j] = 0.0f;
#pragma omp simd
    for (int64_t j = lo; j < hi; j++) {
        float p = nf_vexp(s[j] - lse);
        s[j] = p;
        d[j] = p * (d[j] - delta);
    }
    for (int64_t j = hi < lo ? lo : hi; j < n; j++)
        s[j] = d[j] = 0.0f;
}

struct place {
    int64_t row, kv, part, h0, i0, ni;
};

static void load_tile(const struct backward *w, struct tile *t, const struct place *p)
{
    const struct nf_attention_arg *a = w->f.arg;
    const int64_t stack = w->f.cut.stack, t0 = p->row * a->seq.len + p->i0, T = a->seq.rows * a->seq.len;

    nf_cpu_attention_stack(t->q, &w->f.q, t0, p->ni, p->h0, stack, a->d_qk, a->scale);
    nf_cpu_attention_stack(t->g, &w->g, t0, p->ni, p->h0, stack, a->d_v, 1.0f);
    memset(t->dq, 0, (size_t)(stack * p->ni * a->d_qk) * sizeof(float));
    for (int64_t h = 0; h < stack; h++)
        for (int64_t i = 0; i < p->ni; i++) {
            const int64_t r = h * p->ni + i;
            const float *o = (const float *)w->f.o.data + (t0 + i) * w->f.o.stride[0] + (p->h0 + h) * a->d_v;
            float *g = t->g + r * a->d_v, delta = 0.0f;
            if (w->f.first[t0 + i] > p->i0 + i) /* padding: whatever arrives there stays there */
                memset(g, 0, (size_t)a->d_v * sizeof(float));
            else
#pragma omp simd reduction(+ : delta)
                for (int64_t x = 0; x < a->d_v; x++)
                    delta += g[x] * o[x];
            t->delta[r] = w->delta[(p->h0 + h) * T + t0 + i] = delta;
            t->lse[r] = w->f.lse[(p->h0 + h) * T + t0 + i];
        }
}

static void store_dq(const struct backward *w, const struct tile *t, const struct place *p)
{
    const struct nf_attention_arg *a = w->f.arg;
    const int64_t t0 = p->row * a->seq.len + p->i0;

    for (int64_t h = 0; h < w->f.cut.stack; h++)
        for (int64_t i = 0; i < p->ni; i++) {
            float *dq = (float *)w->dq.data + (t0 + i) * w->dq.stride[0] + (p->h0 + h) * a->d_qk;
            for (int64_t x = 0; x < a->d_qk; x++)
                dq[x] = a->scale * t->dq[(h * p->ni + i) * a->d_qk + x];
        }
}

static void key_tile(const struct backward *w, struct tile *t, const struct place *p, int64_t j0, int64_t nj)
{
    const struct nf_attention_arg *a = w->f.arg;
    const int64_t m = w->f.cut.stack * p->ni, t0 = p->row * a->seq.len + j0, own = p->part * a->kv_heads + p->kv;
    const int64_t ldk = w->f.k.stride[0], ldv = w->f.v.stride[0];
    const float *key = (const float *)w->f.k.data + t0 * ldk + p->kv * a->d_qk;
    const float *value = (const float *)w->f.v.data + t0 * ldv + p->kv * a->d_v;
    float *dk = (float *)w->dk.data + t0 * w->dk.stride[0] + own * a->d_qk;
    float *dv = (float *)w->dv.data + t0 * w->dv.stride[0] + own * a->d_v;

    nf_cpu_gemm(false, true, m, nj, a->d_qk, 1.0f, t->q, a->d_qk, key, ldk, 0.0f, t->s, nj);
    nf_cpu_gemm(false, true, m, nj, a->d_v, 1.0f, t->g, a->d_v, value, ldv, 0.0f, t->d, nj);
    for (int64_t r = 0; r < m; r++) {
        int64_t lo, hi;
        visible(w->f.first + p->row * a->seq.len, p->i0 + r % p->ni, j0, nj, &lo, &hi);
        if (lo >= hi)
            lo = nj, hi = nj;
        probabilities_row(t->s + r * nj, t->d + r * nj, nj, lo, hi, t->lse[r], t->delta[r]);
    }
    nf_cpu_gemm(true, false, nj, a->d_v, m, 1.0f, t->s, nj, t->g, a->d_v, 1.0f, dv, w->dv.stride[0]);
    nf_cpu_gemm(true, false, nj, a->d_qk, m, 1.0f, t->d, nj, t->q, a->d_qk, 1.0f, dk, w->dk.stride[0]);
    nf_cpu_gemm(false, false, m, a->d_qk, nj, 1.0f, t->d, nj, key, ldk, 1.0f, t->dq, a->d_qk);
}

static void one_part(void *ctx, int64_t task, int64_t lane)
{
    const struct backward *w = ctx;
    const struct nf_attention_arg *a = w->f.arg;
    const struct attention_cut *c = &w->f.cut;
    struct place p = {.row = task / (a->kv_heads * c->parts), .kv = task / c->parts % a->kv_heads, .part = task % c->parts};
    const int64_t own = p.part * a->kv_heads + p.kv;
    struct tile t = tile_in(w->f.lanes + lane * w->f.lane, c, a);

    p.h0 = p.kv * c->ratio + p.part * c->stack;
    for (int64_t i = p.row * a->seq.len; i < (p.row + 1) * a->seq.len; i++) {
        memset((float *)w->dk.data + i * w->dk.stride[0] + own * a->d_qk, 0, (size_t)a->d_qk * sizeof(float));
        memset((float *)w->dv.data + i * w->dv.stride[0] + own * a->d_v, 0, (size_t)a->d_v * sizeof(float));
    }
    for (p.i0 = 0; p.i0 < a->seq.len; p.i0 += c->bq) {
        p.ni = a->seq.len - p.i0 < c->bq ? a->seq.len - p.i0 : c->bq;
        load_tile(w, &t, &p);
        const int64_t end = p.i0 + p.ni;
        for (int64_t j0 = w->f.first[p.row * a->seq.len + p.i0]; j0 < end; j0 += c->bk)
            key_tile(w, &t, &p, j0, end - j0 < c->bk ? end - j0 : c->bk);
        store_dq(w, &t, &p);
        if (lane == 0)
            nf_queue_progress(w->queue);
    }
}

/* to [width] = sum over parts of from [parts, width] */
static void sum_row(float *to, const float *from, int64_t parts, int64_t width)
{
    memcpy(to, from, (size_t)width * sizeof(float));
    for (int64_t p = 1; p < parts; p++)
        for (int64_t c = 0; c < width; c++)
            to[c] += from[p * width + c];
}

static void sum_block(void *ctx, int64_t block, int64_t lane)
{
    const struct backward *w = ctx;
    const struct nf_attention_arg *a = w->f.arg;

    (void)lane;
    for (int64_t t = block * NF_ROW_BLOCK; t < nf_block_end(block, w->sum_k.dim[0]); t++) {
        sum_row(nf_row_out(&w->sum_k, t), nf_row(&w->dk, t), w->f.cut.parts, (int64_t)a->kv_heads * a->d_qk);
        sum_row(nf_row_out(&w->sum_v, t), nf_row(&w->dv, t), w->f.cut.parts, (int64_t)a->kv_heads * a->d_v);
    }
}

static void sink_gradient(const struct backward *w, nf_grad dsinks)
{
    const struct nf_attention_arg *a = w->f.arg;
    const int64_t T = a->seq.rows * a->seq.len;
    float *out = dsinks.t.data;

    for (int64_t h = 0; h < a->heads; h++) {
        double sum = 0.0;
        for (int64_t t = 0; t < T; t++) /* delta is 0 at padding */
            sum -= exp((double)a->sinks[h] - w->f.lse[h * T + t]) * w->delta[h * T + t];
        out[h] = (dsinks.accumulate ? out[h] : 0.0f) + (float)sum;
    }
}

/* dk and dv are shaped like key and value. */
static size_t lay(struct backward *w, nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg,
                  void *scratch)
{
    const int64_t T = arg->seq.rows * arg->seq.len;
    struct nf_bump b = {.base = scratch};
    struct attention_job *j = &w->f;

    *w = (struct backward){.f = {.arg = arg, .cut = nf_cpu_attention_cut(arg, true)}};
    j->tasks = arg->seq.rows * arg->kv_heads * j->cut.parts;
    j->lane = lane_floats(&j->cut, arg);
    j->first = nf_bump_get(&b, T, sizeof(int32_t));
    w->delta = nf_bump_floats(&b, arg->heads * T);
    j->q = nf_stage(&b, query);
    j->k = nf_stage(&b, key);
    j->v = nf_stage(&b, value);
    j->o = nf_stage(&b, o);
    w->g = nf_stage(&b, o);
    w->dq = nf_stage(&b, query);
    w->sum_k = nf_stage(&b, key);
    w->sum_v = nf_stage(&b, value);
    if (j->cut.parts > 1) {
        const int64_t n = j->cut.parts * arg->kv_heads;
        w->dk = nf_matrix(nf_bump_floats(&b, T * n * arg->d_qk), NF_F32, T, n * arg->d_qk, n * arg->d_qk);
        w->dv = nf_matrix(nf_bump_floats(&b, T * n * arg->d_v), NF_F32, T, n * arg->d_v, n * arg->d_v);
    }
    j->lanes = nf_bump_floats(&b, nf_lanes(j->tasks) * j->lane);
    return b.at;
}

size_t nf_cpu_attention_bwd_scratch(nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg)
{
    struct backward w;
    return lay(&w, query, key, value, o, arg, NULL);
}

nf_status nf_cpu_attention_bwd(nf_queue *q, nf_out dquery, nf_out dkey, nf_out dvalue, nf_grad dsinks, nf_in d_o, nf_in query,
                               nf_in key, nf_in value, nf_in o, const float *lse, const struct nf_attention_arg *arg,
                               void *scratch)
{
    struct backward w;
    struct attention_job *j = &w.f;

    lay(&w, query, key, value, o, arg, scratch);
    if (d_o->dtype == NF_F32) { /* what is not staged lies with the tensor's own stride */
        w.g = *d_o;
        w.dq = *dquery;
        w.sum_k = *dkey;
        w.sum_v = *dvalue;
    }
    if (j->cut.parts == 1) {
        w.dk = w.sum_k;
        w.dv = w.sum_v;
    }
    j->lse = (float *)lse;
    nf_cpu_attention_first(j->first, arg);
    nf_stage_load(q, &j->q, query);
    nf_stage_load(q, &j->k, key);
    nf_stage_load(q, &j->v, value);
    nf_stage_load(q, &j->o, o);
    nf_stage_load(q, &w.g, d_o);
    w.queue = q;
    nf_cpu_lanes(q, j->tasks, one_part, &w);
    if (j->cut.parts > 1)
        nf_cpu_lanes(q, nf_row_blocks(w.sum_k.dim[0]), sum_block, &w);
    nf_stage_store(q, dquery, &w.dq);
    nf_stage_store(q, dkey, &w.sum_k);
    nf_stage_store(q, dvalue, &w.sum_v);
    if (dsinks.t.data)
        sink_gradient(&w, dsinks);
    return NF_OK;
}
