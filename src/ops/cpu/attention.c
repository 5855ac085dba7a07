/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.c: blocked online softmax. A task is one tile of queries; it walks over the key tiles that some of its queries see
 * and carries the running maximum m, the running sum l and the unnormalised output. Tasks share nothing, so any number of
 * threads gives the same bits.
 *
 *   s = scale q kT;  m' = max(m, s);  l' = l exp(m - m') + sum exp(s - m');  o' = o exp(m - m') + exp(s - m') v
 */
#include "attention.h"

#include <math.h>
#include <string.h>

struct attention_cut nf_cpu_attention_cut(const struct nf_attention_arg *arg, bool backward)
{
    struct attention_cut c = {.ratio = arg->heads / arg->kv_heads, .bk = 128};
    int64_t want = 16; /* tasks that keep a node busy */

    c.parts = 1;
    if (backward) /* a task owns a kv head of a row; few of those are cut by query heads */
        while (c.parts < c.ratio && (arg->seq.rows * arg->kv_heads * c.parts < want || c.ratio % c.parts))
            c.parts++;
    while (c.ratio / c.parts > 16 || c.ratio % c.parts)
        c.parts++;
    c.stack = c.ratio / c.parts;
    c.bq = 256 / c.stack;
    c.bq = c.bq < 16 ? 16 : c.bq > 128 ? 128 : c.bq;
    if (c.bq > arg->seq.len)
        c.bq = arg->seq.len > 0 ? arg->seq.len : 1;
    if (c.bk > arg->seq.len)
        c.bk = arg->seq.len > 0 ? arg->seq.len : 1;
    c.rows = c.stack * c.bq;
    return c;
}

void nf_cpu_attention_first(int32_t *first, const struct nf_attention_arg *arg)
{
    const nf_seq *s = &arg->seq;

    for (int64_t b = 0; b < s->rows; b++) {
        const int32_t *seg = s->segment ? s->segment + b * s->len : NULL;
        int64_t start = 0;
        for (int64_t i = 0; i < s->len; i++) {
            if (seg && i > 0 && seg[i] != seg[i - 1])
                start = i;
            int64_t from = start;
            if (arg->window > 0 && i + 1 - arg->window > from)
                from = i + 1 - arg->window;
            if (seg && seg[i] == 0)
                from = i + 1;
            first[b * s->len + i] = (int32_t)from;
        }
    }
}

void nf_cpu_attention_stack(float *dst, const nf_tensor *src, int64_t t0, int64_t n, int64_t h0, int64_t heads, int64_t d,
                            float scale)
{
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < n; i++) {
            const float *x = (const float *)src->data + (t0 + i) * src->stride[0] + (h0 + h) * d;
            float *y = dst + (h * n + i) * d;
            for (int64_t c = 0; c < d; c++)
                y[c] = scale * x[c];
        }
}

/* One row of scores becomes probabilities relative to the running maximum; outside [lo, hi) they are zero. */
NF_CLONES static float softmax_row(float *s, int64_t n, int64_t lo, int64_t hi, float *max, float *sum)
{
    float m = *max, l = 0.0f, shrink;

#pragma omp simd reduction(max : m)
    for (int64_t j = lo; j < hi; j++)
        m = s[j] > m ? s[j] : m;
    shrink = *max == m ? 1.0f : expf(*max - m);
    for (int64_t j = 0; j < lo; j++)
        s[j] = 0.0f;
#pragma omp simd reduction(+ : l)
    for (int64_t j = lo; j < hi; j++) {
        float p = nf_vexp(s[j] - m);
        s[j] = p;
        l += p;
    }
    for (int64_t j = hi; j < n; j++)
        s[j] = 0.0f;
    *sum = *sum * shrink + l;
    *max = m;
    return shrink;
}

struct tile {
    float *q, *s, *o, *max, *sum;
};

static struct tile tile_in(float *lane, const struct attention_cut *c, const struct nf_attention_arg *a)
{
    struct tile t;
    t.q = lane;
    t.s = t.q + c->rows * a->d_qk;
    t.o = t.s + c->rows * c->bk;
    t.max = t.o + c->rows * a->d_v;
    t.sum = t.max + c->rows;
    return t;
}

static int64_t lane_floats(const struct attention_cut *c, const struct nf_attention_arg *a)
{
    return (c->rows * (a->d_qk + c->bk + a->d_v + 2) + 15) & ~(int64_t)15;
}

static void one_key_tile(const struct attention_job *j, struct tile *t, int64_t row, int64_t kv, int64_t i0, int64_t ni,
                         int64_t j0, int64_t nj)
{
    const struct nf_attention_arg *a = j->arg;
    const int32_t *first = j->first + row * a->seq.len;
    const float *key = (const float *)j->k.data + (row * a->seq.len + j0) * j->k.stride[0] + kv * a->d_qk;
    const float *value = (const float *)j->v.data + (row * a->seq.len + j0) * j->v.stride[0] + kv * a->d_v;
    const int64_t m = j->cut.stack * ni;

    nf_cpu_gemm(false, true, m, nj, a->d_qk, 1.0f, t->q, a->d_qk, key, j->k.stride[0], 0.0f, t->s, nj);
    for (int64_t r = 0; r < m; r++) {
        int64_t lo, hi;
        visible(first, i0 + r % ni, j0, nj, &lo, &hi);
        if (lo >= hi) {
            memset(t->s + r * nj, 0, (size_t)nj * sizeof(float));
            continue;
        }
        float shrink = softmax_row(t->s + r * nj, nj, lo, hi, &t->max[r], &t->sum[r]);
        if (shrink != 1.0f)
            for (int64_t c = 0; c < a->d_v; c++)
                t->o[r * a->d_v + c] *= shrink;
    }
    nf_cpu_gemm(false, false, m, a->d_v, nj, 1.0f, t->s, nj, value, j->v.stride[0], 1.0f, t->o, a->d_v);
}

static void query_tile(void *ctx, int64_t task, int64_t lane)
{
    const struct attention_job *j = ctx;
    const struct nf_attention_arg *a = j->arg;
    const struct attention_cut *c = &j->cut;
    /* the last tiles of a row see most keys: hand them out first */
    const int64_t tile = j->tiles - 1 - task / (a->seq.rows * a->kv_heads * c->parts);
    const int64_t rest = task % (a->seq.rows * a->kv_heads * c->parts), row = rest / (a->kv_heads * c->parts);
    const int64_t kv = rest / c->parts % a->kv_heads, h0 = kv * c->ratio + rest % c->parts * c->stack;
    const int64_t i0 = tile * c->bq, ni = a->seq.len - i0 < c->bq ? a->seq.len - i0 : c->bq, t0 = row * a->seq.len + i0;
    const int64_t T = a->seq.rows * a->seq.len;
    struct tile t = tile_in(j->lanes + lane * j->lane, c, a);

    nf_cpu_attention_stack(t.q, &j->q, t0, ni, h0, c->stack, a->d_qk, a->scale);
    memset(t.o, 0, (size_t)(c->stack * ni * a->d_v) * sizeof(float));
    for (int64_t h = 0; h < c->stack; h++)
        for (int64_t i = 0; i < ni; i++) {
            t.max[h * ni + i] = a->sinks ? a->sinks[h0 + h] : -INFINITY;
            t.sum[h * ni + i] = a->sinks ? 1.0f : 0.0f;
        }
    for (int64_t j0 = j->first[t0]; j0 < i0 + ni; j0 += c->bk)
        one_key_tile(j, &t, row, kv, i0, ni, j0, i0 + ni - j0 < c->bk ? i0 + ni - j0 : c->bk);
    for (int64_t h = 0; h < c->stack; h++)
        for (int64_t i = 0; i < ni; i++) {
            const int64_t r = h * ni + i;
            const bool none = j->first[t0 + i] > i0 + i; /* padding */
            const float inverse = none ? 0.0f : 1.0f / t.sum[r];
            float *o = (float *)j->o.data + (t0 + i) * j->o.stride[0] + (h0 + h) * a->d_v;
            for (int64_t x = 0; x < a->d_v; x++)
                o[x] = none ? 0.0f : t.o[r * a->d_v + x] * inverse;
            j->lse[(h0 + h) * T + t0 + i] = none ? 0.0f : t.max[r] + logf(t.sum[r]);
        }
}

static size_t lay(struct attention_job *j, nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg,
                  void *scratch)
{
    struct nf_bump b = {.base = scratch};

    *j = (struct attention_job){.arg = arg, .cut = nf_cpu_attention_cut(arg, false)};
    j->tiles = (arg->seq.len + j->cut.bq - 1) / j->cut.bq;
    j->tasks = j->tiles * arg->seq.rows * arg->kv_heads * j->cut.parts;
    j->lane = lane_floats(&j->cut, arg);
    j->first = nf_bump_get(&b, arg->seq.rows * arg->seq.len, sizeof(int32_t));
    j->q = nf_stage(&b, query);
    j->k = nf_stage(&b, key);
    j->v = nf_stage(&b, value);
    j->o = nf_stage(&b, o);
    j->lanes = nf_bump_floats(&b, nf_lanes(j->tasks) * j->lane);
    return b.at;
}

size_t nf_cpu_attention_scratch(nf_in query, nf_in key, nf_in value, nf_in o, const struct nf_attention_arg *arg)
{
    struct attention_job j;
    return lay(&j, query, key, value, o, arg, NULL);
}

nf_status nf_cpu_attention(nf_queue *q, nf_out o, float *lse, nf_in query, nf_in key, nf_in value,
                           const struct nf_attention_arg *arg, void *scratch)
{
    struct attention_job j;

    lay(&j, query, key, value, o, arg, scratch);
    j.lse = lse;
    nf_cpu_attention_first(j.first, arg);
    nf_stage_load(q, &j.q, query);
    nf_stage_load(q, &j.k, key);
    nf_stage_load(q, &j.v, value);
    nf_cpu_lanes(q, j.tasks, query_tile, &j);
    nf_stage_store(q, o, &j.o);
    return NF_OK;
}
