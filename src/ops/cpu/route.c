/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c: which experts a token goes to, and with which weights. A score that is not a number counts as the smallest, so that
 * k different experts come out whatever comes in.
 *
 *   sigmoid:       s = sigma(l);    w_e = scale s_e / (sum s + 1e-20)         (without normalise: scale s_e)
 *   softmax:       p = softmax(l);  w_e = scale p_e / sum p                   (the same as a softmax over the chosen logits)
 *   softmax_topk:  the k largest logits;  w = scale softmax over them
 */
#include "cpu.h"
#include "lanes.h"
#include "scratch.h"
#include "vmath.h"

#include <math.h>
#include <string.h>

struct buffer {
    float *choice, *group, *key; /* [E], [groups], [k] */
    unsigned char *kept;         /* [groups] */
};

static struct buffer cut(struct nf_bump *b, int64_t experts, const struct nf_route_arg *a)
{
    struct buffer s;
    s.choice = nf_bump_floats(b, experts);
    s.group = nf_bump_floats(b, a->groups);
    s.key = nf_bump_floats(b, a->k);
    s.kept = nf_bump_get(b, a->groups, 1);
    return s;
}

size_t nf_cpu_route_scratch(int64_t experts, const struct nf_route_arg *arg)
{
    struct nf_bump b = {0};

    cut(&b, experts, arg);
    return b.at * (size_t)nf_lanes(nf_row_blocks(arg->seq.rows * arg->seq.len));
}

static float number(float x)
{
    return x == x ? x : -INFINITY;
}

/* Put candidate (key, id) among the best of n so far, at most k; an equal key stays behind the earlier one. */
static int keep_best(float *keys, int32_t *ids, int n, int k, float key, int32_t id)
{
    int at = n < k ? n : k - 1;

    if (n == k && !(key > keys[k - 1]))
        return n;
    for (; at > 0 && key > keys[at - 1]; at--) {
        keys[at] = keys[at - 1];
        ids[at] = ids[at - 1];
    }
    keys[at] = key;
    ids[at] = id;
    return n < k ? n + 1 : n;
}

/* The groups with the largest sums of their two best choices. */
static void keep_groups(struct buffer *s, int64_t experts, const struct nf_route_arg *a)
{
    const int64_t size = experts / a->groups;

    for (int g = 0; g < a->groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int64_t e = g * size; e < (g + 1) * size; e++) {
            const float x = number(s->choice[e]);
            if (x > first) {
                second = first;
                first = x;
            } else if (x > second)
                second = x;
        }
        s->group[g] = size > 1 ? first + second : first;
        s->kept[g] = 0;
    }
    for (int i = 0; i < a->groups_kept; i++) {
        int best = -1;
        for (int g = 0; g < a->groups; g++)
            if (!s->kept[g] && (best < 0 || s->group[g] > s->group[best]))
                best = g;
        s->kept[best] = 1;
    }
}

static void choose(int32_t *ids, struct buffer *s, int64_t experts, const struct nf_route_arg *a)
{
    const int64_t size = experts / a->groups;
    const bool limited = a->groups > 1 && a->groups_kept < a->groups;
    int n = 0;

    if (limited)
        keep_groups(s, experts, a);
    for (int64_t e = 0; e < experts; e++)
        if (!limited || s->kept[e / size])
            n = keep_best(s->key, ids, n, a->k, number(s->choice[e]), (int32_t)e);
}

/* k different experts out of all, each set as likely as any other (Floyd's algorithm). Block b of four numbers of a token is
 * drawn at position + b 2^32. */
static void choose_random(int32_t *ids, int64_t experts, int k, uint64_t mixed, int64_t row, int64_t position)
{
    uint32_t bits[4];

    for (int i = 0; i < k; i++) {
        const uint64_t range = (uint64_t)(experts - k + i) + 1;
        if (i % 4 == 0)
            nf_rng_block(mixed, (uint64_t)row, (uint64_t)position + ((uint64_t)(i / 4) << 32), bits);
        int32_t pick = (int32_t)((bits[i % 4] * range) >> 32);
        for (int seen = 0; seen < i; seen++)
            if (ids[seen] == pick) {
                pick = (int32_t)(range - 1);
                break;
            }
        ids[i] = pick;
    }
}

static void choose_contiguous(int32_t *ids, int64_t experts, int k, int64_t token)
{
    for (int i = 0; i < k; i++)
        ids[i] = (int32_t)(((uint64_t)token * (uint64_t)k + (uint64_t)i) % (uint64_t)experts);
}

NF_CLONES static void sigmoid_row(float *restrict s, const float *restrict l, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        s[i] = nf_vsigmoid(l[i]);
}

NF_CLONES static void softmax_row(float *restrict p, const float *restrict l, int64_t n)
{
    float max = -INFINITY, sum = 0.0f;

#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++)
        max = l[i] > max ? l[i] : max;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        p[i] = nf_vexp(l[i] - max);
        sum += p[i];
    }
    for (int64_t i = 0; i < n; i++)
        p[i] /= sum;
}

static void weigh(float *weights, const int32_t *ids, const float *scores, const float *logits, const struct nf_route_arg *a)
{
    double sum = 0.0;

    if (a->score == NF_SCORE_SIGMOID || (a->score == NF_SCORE_SOFTMAX && !a->normalise)) {
        for (int i = 0; i < a->k; i++)
            sum += (double)scores[ids[i]];
        const double factor = a->normalise ? (double)a->scale / (sum + 1e-20) : (double)a->scale;
        for (int i = 0; i < a->k; i++)
            weights[i] = (float)((double)scores[ids[i]] * factor);
        return;
    }
    float max = -INFINITY;
    for (int i = 0; i < a->k; i++)
        max = logits[ids[i]] > max ? logits[ids[i]] : max;
    for (int i = 0; i < a->k; i++)
        sum += exp((double)logits[ids[i]] - (double)max);
    for (int i = 0; i < a->k; i++)
        weights[i] = (float)((double)a->scale * exp((double)logits[ids[i]] - (double)max) / sum);
}

struct job {
    const struct nf_route_arg *arg;
    nf_in logits, scores;
    const float *correction;
    uint64_t mixed; /* key of the random gate */
    int32_t *ids;
    float *weights;
    char *lanes;
    size_t lane;
};

static void one_token(const struct job *j, int64_t t, struct buffer *s)
{
    const struct nf_route_arg *a = j->arg;
    const int64_t experts = j->logits->dim[1];
    const float *logits = nf_row(j->logits, t), *correction = j->correction;
    float *scores = nf_row_out(j->scores, t), *weights = j->weights + t * a->k;
    int32_t *ids = j->ids + t * a->k;
    const int64_t row = t / a->seq.len, position = t % a->seq.len;

    (a->score == NF_SCORE_SIGMOID ? sigmoid_row : softmax_row)(scores, logits, experts);
    if (a->seq.segment && a->seq.segment[t] == 0) {
        for (int i = 0; i < a->k; i++) {
            ids[i] = -1;
            weights[i] = 0.0f;
        }
        return;
    }
    if (a->gate == NF_GATE_RANDOM)
        choose_random(ids, experts, a->k, j->mixed, a->global_row[row], position);
    else if (a->gate == NF_GATE_CONTIGUOUS)
        choose_contiguous(ids, experts, a->k, a->global_row[row] * a->seq.len + position);
    else if (a->gate == NF_GATE_ROUTER) {
        const float *base = a->score == NF_SCORE_SOFTMAX_TOPK ? logits : scores;
        for (int64_t e = 0; e < experts; e++)
            s->choice[e] = base[e] + (correction ? correction[e] : 0.0f);
        choose(ids, s, experts, a);
    }
    weigh(weights, ids, scores, logits, a);
}

static void route_block(void *ctx, int64_t block, int64_t lane)
{
    const struct job *j = ctx;
    struct nf_bump b = {.base = j->lanes + (size_t)lane * j->lane};
    struct buffer s = cut(&b, j->logits->dim[1], j->arg);

    for (int64_t t = block * NF_ROW_BLOCK; t < nf_block_end(block, j->logits->dim[0]); t++)
        one_token(j, t, &s);
}

nf_status nf_cpu_route(nf_queue *q, int32_t *ids, float *weights, nf_out scores, int32_t *load, nf_in logits,
                       const float *correction, const struct nf_route_arg *arg, void *scratch)
{
    const nf_rng_key key = {.seed = arg->seed,
                            .step = arg->gate == NF_GATE_RANDOM ? (uint64_t)arg->vars->step : 0,
                            .purpose = NF_RNG_GATE,
                            .layer = arg->layer};
    struct nf_bump one = {0};
    struct job j = {.arg = arg,
                    .logits = logits,
                    .scores = scores,
                    .correction = correction,
                    .mixed = nf_rng_mix(key),
                    .ids = ids,
                    .weights = weights,
                    .lanes = scratch};

    cut(&one, logits->dim[1], arg);
    j.lane = one.at;
    nf_cpu_lanes(q, nf_row_blocks(logits->dim[0]), route_block, &j);
    for (int64_t i = 0; load && load && i < logits->dim[0] * arg->k; i++)
        if (ids[i] >= 0)
            load[ids[i]]++;
    return NF_OK;
}

/* Of weights = scale s / (sum + 1e-20): ds_e = scale / Z (dw_e - sum dw_f s_f / Z); of a softmax over the chosen, from the
 * weights alone: dl_e = w_e (dw_e - sum dw_f w_f / scale). Without normalise all p depend on all logits. */
static void token_bwd(float *dl, const float *dw, const int32_t *ids, const float *w, const float *s, int64_t experts,
                      const struct nf_route_arg *a)
{
    const double scale = (double)a->scale;
    double sum = 0.0, mean = 0.0;

    memset(dl, 0, (size_t)experts * sizeof(float));
    if (ids[0] < 0)
        return;
    if (a->score == NF_SCORE_SIGMOID) {
        for (int i = 0; i < a->k; i++)
            sum += (double)s[ids[i]];
        const double z = a->normalise ? sum + 1e-20 : 1.0;
        for (int i = 0; i < a->k && a->normalise; i++)
            mean += (double)dw[i] * (double)s[ids[i]] / z;
        for (int i = 0; i < a->k; i++) {
            const double se = (double)s[ids[i]];
            dl[ids[i]] = (float)(scale / z * se * (1.0 - se) * ((double)dw[i] - mean));
        }
        return;
    }
    if (a->score == NF_SCORE_SOFTMAX_TOPK || a->normalise) {
        for (int i = 0; i < a->k && scale != 0.0; i++)
            mean += (double)dw[i] * (double)w[i] / scale;
        for (int i = 0; i < a->k; i++)
            dl[ids[i]] = (float)((double)w[i] * ((double)dw[i] - mean));
        return;
    }
    for (int i = 0; i < a->k; i++)
        mean += (double)dw[i] * (double)s[ids[i]];
    for (int64_t e = 0; e < experts; e++)
        dl[e] = (float)(-scale * (double)s[e] * mean);
    for (int i = 0; i < a->k; i++)
        dl[ids[i]] = (float)(scale * (double)s[ids[i]] * ((double)dw[i] - mean));
}

struct job_bwd {
    const struct nf_route_arg *arg;
    nf_in dlogits, scores;
    const float *dweights, *weights;
    const int32_t *ids;
};

static void route_bwd_block(void *ctx, int64_t block, int64_t lane)
{
    const struct job_bwd *j = ctx;
    const int64_t k = j->arg->k;

    (void)lane;
    for (int64_t t = block * NF_ROW_BLOCK; t < nf_block_end(block, j->scores->dim[0]); t++)
        token_bwd(nf_row_out(j->dlogits, t), j->dweights + t * k, j->ids + t * k, j->weights + t * k, nf_row(j->scores, t),
                  j->scores->dim[1], j->arg);
}

nf_status nf_cpu_route_bwd(nf_queue *q, nf_out dlogits, const float *dweights, const int32_t *ids, const float *weights,
                           nf_in scores, const struct nf_route_arg *arg, void *scratch)
{
    struct job_bwd j = {arg, dlogits, scores, dweights, weights, ids};

    (void)scratch;
    nf_cpu_lanes(q, nf_row_blocks(scores->dim[0]), route_bwd_block, &j);
    return NF_OK;
}
