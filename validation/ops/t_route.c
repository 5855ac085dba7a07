/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing against a plain choice in fp64 (all experts sorted), gradients against central differences of the weights with the
 * choice held. Tolerances: a sigmoid or softmax of fp32 is right to some units of 2^-24, a quotient of sums of k of them to
 * some more: 1e-6.
 */
#include "oprig.h"

struct setup {
    const char *what;
    enum nf_score score;
    int64_t rows, len, experts;
    int k, groups, kept;
    bool normalise, correction, segments;
    float scale, spread;
    enum nf_gate gate;
};

struct data {
    int64_t T;
    float *logits, *correction, *weights, *scores, *dweights, *dlogits;
    int32_t *ids, *load, *seg;
    int64_t global_row[8];
    struct nf_step_vars vars;
    nf_tensor l, s, d;
    struct nf_route_arg arg;
};

static struct data data_new(const struct setup *s)
{
    struct data d = {.T = s->rows * s->len};
    const int64_t n = d.T * s->experts, nk = d.T * s->k;
    d.logits = grab(n, 4);
    d.scores = grab(n, 4);
    d.dlogits = grab(n, 4);
    d.correction = s->correction ? grab(s->experts, 4) : NULL;
    d.weights = grab(nk, 4);
    d.dweights = grab(nk, 4);
    d.ids = grab(nk, 4);
    d.load = grab(s->experts, 4);
    d.seg = s->segments ? grab(d.T, 4) : NULL;
    fill_random(d.logits, n, s->spread, 1);
    fill_random(d.dweights, nk, 1, 2);
    if (s->correction)
        fill_random(d.correction, s->experts, 0.3, 3);
    for (int64_t t = 0; d.seg && t < d.T; t++)
        d.seg[t] = t % s->len < s->len - 2 ? 1 : 0;
    for (int i = 0; i < 8; i++)
        d.global_row[i] = 100 + 3 * i;
    d.l = nf_matrix(d.logits, NF_F32, d.T, s->experts, s->experts);
    d.s = nf_matrix(d.scores, NF_F32, d.T, s->experts, s->experts);
    d.d = nf_matrix(d.dlogits, NF_F32, d.T, s->experts, s->experts);
    d.arg = (struct nf_route_arg){.score = s->score,
                                  .k = s->k,
                                  .groups = s->groups,
                                  .groups_kept = s->kept,
                                  .normalise = s->normalise,
                                  .scale = s->scale,
                                  .gate = s->gate,
                                  .seed = 77,
                                  .layer = 5,
                                  .seq = {.rows = s->rows, .len = s->len, .segment = d.seg}};
    return d;
}

static void data_free(struct data *d)
{
    void *all[] = {d->logits, d->correction, d->weights, d->scores, d->dweights, d->dlogits, d->ids, d->load, d->seg};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void route(struct rig *r, struct data *d)
{
    d->arg.vars = &d->vars; /* the struct may have moved since data_new */
    d->arg.global_row = d->global_row;
    must(nf_route(r->q, d->ids, d->weights, &d->s, d->load, &d->l, d->correction, &d->arg), "route");
}

/* Scores of one token in fp64 */
static void scores_of(const struct setup *s, const double *l, double *p)
{
    double max = l[0], sum = 0.0;
    for (int64_t e = 1; e < s->experts; e++)
        max = l[e] > max ? l[e] : max;
    for (int64_t e = 0; e < s->experts; e++)
        sum += p[e] = s->score == NF_SCORE_SIGMOID ? 1.0 / (1.0 + exp(-l[e])) : exp(l[e] - max);
    for (int64_t e = 0; e < s->experts && s->score != NF_SCORE_SIGMOID; e++)
        p[e] /= sum;
}

static void weights_of(const struct setup *s, const double *l, const int32_t *ids, double *w)
{
    double *p = grab(s->experts, sizeof *p), sum = 0.0;
    scores_of(s, l, p);
    for (int i = 0; i < s->k; i++) {
        w[i] = s->score == NF_SCORE_SOFTMAX_TOPK ? exp(l[ids[i]]) : p[ids[i]];
        sum += w[i];
    }
    for (int i = 0; i < s->k; i++)
        w[i] *= (double)s->scale / (s->score == NF_SCORE_SOFTMAX_TOPK || (s->normalise && s->score == NF_SCORE_SOFTMAX) ? sum
                                    : s->normalise ? sum + 1e-20
                                                   : 1.0);
    free(p);
}

/* The choice by repeated search of the largest. */
static void choice_of(const struct setup *s, const double *l, const float *correction, int32_t *ids)
{
    double *c = grab(s->experts, sizeof *c);
    const int64_t size = s->experts / s->groups;
    scores_of(s, l, c);
    for (int64_t e = 0; e < s->experts; e++)
        c[e] = (s->score == NF_SCORE_SOFTMAX_TOPK ? l[e] : c[e]) + (correction ? (double)correction[e] : 0.0);
    double *g = grab(s->groups, sizeof *g);
    for (int64_t i = 0; i < s->groups; i++) {
        double best = -INFINITY, next = -INFINITY;
        for (int64_t e = i * size; e < (i + 1) * size; e++)
            if (c[e] > best) {
                next = best;
                best = c[e];
            } else if (c[e] > next)
                next = c[e];
        g[i] = size > 1 ? best + next : best;
    }
    for (int n = 0; s->groups > 1 && n < s->groups - s->kept; n++) { /* drop the worst groups; of equals the later one */
        int64_t worst = -1;
        for (int64_t i = 0; i < s->groups; i++)
            if (!isnan(g[i]) && (worst < 0 || g[i] <= g[worst]))
                worst = i;
        g[worst] = NAN;
        for (int64_t e = worst * size; e < (worst + 1) * size; e++)
            c[e] = -INFINITY;
    }
    for (int i = 0; i < s->k; i++) {
        int64_t best = 0;
        for (int64_t e = 1; e < s->experts; e++)
            if (c[e] > c[best])
                best = e;
        ids[i] = (int32_t)best;
        c[best] = -INFINITY;
    }
    free(c);
    free(g);
}

static double gradient_error(const struct setup *s, const struct data *d)
{
    double *l = widen(d->logits, d->T * s->experts), *w = grab(s->k, sizeof *w), worst = 0.0;
    for (int64_t t = 0; t < d->T; t++)
        for (int64_t e = 0; e < s->experts; e++) {
            const double h = 1e-6, at = l[t * s->experts + e];
            double f[2] = {0.0, 0.0}, want;
            for (int side = 0; side < 2 && d->ids[t * s->k] >= 0; side++) {
                l[t * s->experts + e] = at + (side ? h : -h);
                weights_of(s, l + t * s->experts, d->ids + t * s->k, w);
                for (int i = 0; i < s->k; i++)
                    f[side] += w[i] * (double)d->dweights[t * s->k + i];
            }
            l[t * s->experts + e] = at;
            want = (f[1] - f[0]) / (2 * h);
            const double x = fabs(want - (double)d->dlogits[t * s->experts + e]);
            worst = x > worst ? x : worst;
        }
    free(l);
    free(w);
    return worst;
}

static void check(const struct setup *s)
{
    struct data d = data_new(s);
    struct rig r = rig_open(1), two = rig_open(2);
    int32_t *want = grab(d.T * s->k, 4), *first = grab(d.T * s->k, 4), *load = grab(s->experts, 4);
    double *w = grab(d.T * s->k, sizeof *w), *p = grab(d.T * s->experts, sizeof *p), *l = widen(d.logits, d.T * s->experts);
    bool same = true, counted = true;

    for (int64_t e = 0; e < s->experts; e++)
        load[e] = d.load[e] = (int32_t)e; /* the count is added to what is there */
    route(&r, &d);
    for (int64_t t = 0; t < d.T; t++) {
        scores_of(s, l + t * s->experts, p + t * s->experts);
        choice_of(s, l + t * s->experts, d.correction, want + t * s->k);
        if (d.seg && d.seg[t] == 0) {
            for (int i = 0; i < s->k; i++)
                want[t * s->k + i] = -1;
            continue;
        }
        weights_of(s, l + t * s->experts, want + t * s->k, w + t * s->k);
        for (int i = 0; i < s->k; i++)
            load[want[t * s->k + i]]++;
    }
    for (int64_t i = 0; i < d.T * s->k; i++)
        same = same && d.ids[i] == want[i];
    for (int64_t e = 0; e < s->experts; e++)
        counted = counted && load[e] == d.load[e];
    tap_ok(same, "%s: experts in order of choice", s->what);
    tap_ok(counted, "%s: load", s->what);
    near(d.scores, p, d.T * s->experts, 0, 1e-6, s->what, "scores");
    near(d.weights, w, d.T * s->k, 0, 1e-6, s->what, "weights");
    memcpy(first, d.ids, (size_t)(d.T * s->k) * 4);
    route(&two, &d);
    tap_ok(memcmp(first, d.ids, (size_t)(d.T * s->k) * 4) == 0, "%s: the same with two threads", s->what);
    fill_value(d.dlogits, d.T * s->experts, 9.0f);
    must(nf_route_bwd(r.q, &d.d, d.dweights, d.ids, d.weights, &d.s, &d.arg), s->what);
    /* differences of fp64 leave 1e-10; the scores that the gradient is made of are fp32 */
    const double e = gradient_error(s, &d);
    tap_ok(e < 1e-6 * (double)s->scale, "%s: gradient of the logits", s->what);
    tap_note("largest difference %.3g", e);
    void *all[] = {want, first, load, w, p, l};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    tap_ok(rig_within(&r) && rig_within(&two), "%s: scratch is as large as it was said to be", s->what);
    rig_close(&r);
    rig_close(&two);
    data_free(&d);
}

static void check_ties(void)
{
    const struct setup s = {"ties", NF_SCORE_SIGMOID, 1, 2, 12, 4, 4, 2, true, false, false, 1.0f, 0.0f, NF_GATE_ROUTER};
    struct data d = data_new(&s);
    struct rig r = rig_open(1);
    for (int i = 0; i < 12; i++)
        d.logits[12 + i] = i == 7 ? 1.0f : 0.5f; /* group 2 first, then of the equal groups the first */
    route(&r, &d);
    tap_ok(d.ids[0] == 0 && d.ids[1] == 1 && d.ids[2] == 2 && d.ids[3] == 3, "equal scores: the lower index first");
    tap_ok(d.ids[4] == 7 && d.ids[5] == 0 && d.ids[6] == 1 && d.ids[7] == 2, "equal groups: the lower index first");
    rig_close(&r);
    data_free(&d);
}

static bool distinct(const int32_t *ids, int k, int64_t experts)
{
    for (int i = 0; i < k; i++) {
        if (ids[i] < 0 || ids[i] >= experts)
            return false;
        for (int j = 0; j < i; j++)
            if (ids[i] == ids[j])
                return false;
    }
    return true;
}

static void check_nonfinite(enum nf_score score)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const struct setup s = {"not finite", score, 1, 40, 8, 3, 4, 2, true, true, false, 1.0f, 1.0f, NF_GATE_ROUTER};
    struct data d = data_new(&s);
    struct rig r = rig_open(1);
    bool ok = true;
    for (int64_t i = 0; i < 320; i++)
        if (i / 8 % 4 == 3 || (i * 7) % 5 == 0)
            d.logits[i] = bad[i % 3];
    for (int i = 0; i < 8; i++)
        d.logits[i] = NAN;
    route(&r, &d);
    for (int64_t t = 0; t < d.T; t++)
        ok = ok && distinct(d.ids + t * 3, 3, 8);
    tap_ok(ok, "logits that are not finite still give k different experts");
    rig_close(&r);
    data_free(&d);
}

/* What is not a number comes last, wherever it stands. */
static void check_nan_last(void)
{
    const struct setup s = {"nan", NF_SCORE_SIGMOID, 1, 1, 8, 5, 1, 1, true, false, false, 1.0f, 1.0f, NF_GATE_ROUTER};
    const float logits[8] = {NAN, 1.0f, NAN, 2.0f, 3.0f, NAN, 0.0f, NAN};
    struct data d = data_new(&s);
    struct rig r = rig_open(1);
    memcpy(d.logits, logits, sizeof logits);
    route(&r, &d);
    tap_ok(d.ids[0] == 4 && d.ids[1] == 3 && d.ids[2] == 1 && d.ids[3] == 6 && d.ids[4] == 0,
           "a score that is not a number is chosen last");
    rig_close(&r);
    data_free(&d);
}

/* 6,000 tokens, 12 experts, 3 each: a fair draw stays within 5 sigma of 1,500, sigma = sqrt(6000 0.25 0.75) = 34. */
static void check_random(void)
{
    const struct setup s = {"random", NF_SCORE_SIGMOID, 6, 1000, 12, 3, 1, 1, true, false, false, 1.0f, 1.0f, NF_GATE_RANDOM};
    struct data d = data_new(&s), one = data_new(&s);
    struct rig r = rig_open(1);
    double *l = widen(d.logits, 36), w[3], worst = 0.0;
    bool ok = true, same = true;
    int changed = 0;

    route(&r, &d);
    for (int64_t t = 0; t < d.T; t++)
        ok = ok && distinct(d.ids + t * 3, 3, 12);
    tap_ok(ok, "random gate: k different experts");
    for (int e = 0; e < 12; e++)
        worst = fabs(d.load[e] - 1500.0) > worst ? fabs(d.load[e] - 1500.0) : worst;
    tap_ok(worst < 5 * 34, "random gate: every expert as often as any other");
    tap_note("furthest from the mean: %g", worst);
    int pairs = 0;
    for (int64_t t = 0; t < d.T; t++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                pairs += d.ids[t * 3 + i] == 0 && d.ids[t * 3 + j] == 11;
    tap_ok(fabs(pairs - 6000 * 3.0 * 2 / (12 * 11)) < 5 * 16.2, "random gate: pairs as often as they should be");
    for (int t = 0; t < 3; t++) {
        weights_of(&s, l + t * 12, d.ids + t * 3, w);
        for (int i = 0; i < 3; i++)
            ok = ok && fabs(w[i] - (double)d.weights[t * 3 + i]) < 1e-6;
    }
    tap_ok(ok, "random gate: weights are those of the drawn experts");
    one.arg.seq.rows = 1; /* row 4 of the six alone: the same numbers, whoever has it */
    one.l.dim[0] = one.s.dim[0] = 1000;
    one.global_row[0] = d.global_row[4];
    route(&r, &one);
    for (int64_t i = 0; i < 3000; i++)
        same = same && one.ids[i] == d.ids[4 * 3000 + i];
    tap_ok(same, "random gate: a row's experts do not depend on who holds it");
    one.vars.step = 1;
    route(&r, &one);
    for (int64_t i = 0; i < 3000; i++)
        changed += one.ids[i] != d.ids[4 * 3000 + i];
    tap_ok(changed > 2000, "random gate: other experts at the next step");
    free(l);
    rig_close(&r);
    data_free(&d);
    data_free(&one);
}

static void check_all_drawn(void)
{
    const struct setup s = {"random, k = E", NF_SCORE_SIGMOID, 1, 9, 7, 7, 1, 1, true, false, false, 1.0f, 1.0f,
                            NF_GATE_RANDOM};
    struct data d = data_new(&s);
    struct rig r = rig_open(1);
    bool ok = true;
    route(&r, &d);
    for (int64_t t = 0; t < d.T; t++)
        ok = ok && distinct(d.ids + t * 7, 7, 7);
    tap_ok(ok, "random gate: all experts when k is their number");
    rig_close(&r);
    data_free(&d);
}

static void check_contiguous(void)
{
    const struct setup s = {"contiguous", NF_SCORE_SIGMOID,  2, 8, 16, 3, 1, 1, true, false, true, 1.0f,
                            1.0f,         NF_GATE_CONTIGUOUS};
    struct data d = data_new(&s);
    struct rig r = rig_open(1);
    bool ok = true, padding = true;
    route(&r, &d);
    for (int64_t t = 0; t < d.T; t++)
        for (int i = 0; i < 3; i++) {
            const int64_t token = d.global_row[t / 8] * 8 + t % 8;
            if (d.seg[t])
                ok = ok && d.ids[t * 3 + i] == (token * 3 + i) % 16;
            else
                padding = padding && d.ids[t * 3 + i] == -1 && d.weights[t * 3 + i] == 0.0f;
        }
    tap_ok(ok, "contiguous gate: experts in turn");
    tap_ok(padding, "contiguous gate: padding goes nowhere");
    tap_ok(nf_route(r.q, d.ids, d.weights, &d.s, NULL, &d.l, NULL, &d.arg) == NF_OK, "load need not be counted");
    rig_close(&r);
    data_free(&d);
}

int main(void)
{
    static const struct setup setups[] = {
        {"sigmoid", NF_SCORE_SIGMOID, 2, 9, 16, 4, 1, 1, true, true, false, 2.5f, 3.0f, NF_GATE_ROUTER},
        {"sigmoid, groups", NF_SCORE_SIGMOID, 3, 11, 24, 5, 6, 2, true, true, true, 2.5f, 3.0f, NF_GATE_ROUTER},
        {"sigmoid, groups of one", NF_SCORE_SIGMOID, 1, 11, 6, 2, 6, 3, true, true, false, 1.0f, 3.0f, NF_GATE_ROUTER},
        {"sigmoid, not normalised", NF_SCORE_SIGMOID, 2, 9, 16, 4, 1, 1, false, true, true, 1.5f, 3.0f, NF_GATE_ROUTER},
        {"softmax, normalised", NF_SCORE_SOFTMAX, 2, 9, 16, 4, 1, 1, true, false, true, 1.0f, 3.0f, NF_GATE_ROUTER},
        {"softmax, not normalised", NF_SCORE_SOFTMAX, 2, 9, 16, 4, 1, 1, false, false, false, 1.0f, 3.0f, NF_GATE_ROUTER},
        {"softmax of the chosen", NF_SCORE_SOFTMAX_TOPK, 2, 9, 16, 4, 1, 1, true, false, false, 1.0f, 3.0f, NF_GATE_ROUTER},
        {"all experts chosen", NF_SCORE_SIGMOID, 1, 5, 3, 3, 1, 1, true, false, false, 1.0f, 3.0f, NF_GATE_ROUTER},
        {"no tokens", NF_SCORE_SIGMOID, 0, 5, 8, 3, 1, 1, true, false, false, 1.0f, 3.0f, NF_GATE_ROUTER},
    };
    tap_open();
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++)
        check(&setups[i]);
    check_ties();
    check_nonfinite(NF_SCORE_SIGMOID);
    check_nonfinite(NF_SCORE_SOFTMAX_TOPK);
    check_nan_last();
    check_random();
    check_all_drawn();
    check_contiguous();
    return tap_done();
}
