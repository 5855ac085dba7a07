/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_state.c: how AdamW's state is stored. The split of an fp32 value loses nothing; stochastic rounding is the one that ops.h
 * defines, keyed by the logical element however the tensor is cut, and right in the mean; with moments that bf16 holds exactly
 * the split scheme has the very bits of the fp32 one; small updates are not lost by split, nor in the mean by bf16.
 */
#include "nemafit/rng.h"
#include "ref.h"

enum { N = 9001, PARAM = 17 };
static const uint64_t seed = 99;

/* One parameter of N elements under a scheme. */
struct state {
    enum nf_state_scheme scheme;
    uint16_t w[N], m[N], v[N];
    int16_t low[N];
    float master[N], m32[N], v32[N];
};

static struct state *state_new(enum nf_state_scheme scheme, const float *w)
{
    struct state *s = grab(1, sizeof *s);
    s->scheme = scheme;
    for (int i = 0; i < N; i++) {
        if (scheme == NF_STATE_SPLIT)
            nf_split_f32(w[i], &s->w[i], &s->low[i]);
        else
            s->w[i] = nf_f32_to_bf16(w[i]);
        s->master[i] = w[i];
    }
    return s;
}

static float value(const struct state *s, int i)
{
    return s->scheme == NF_STATE_FP32    ? s->master[i]
           : s->scheme == NF_STATE_SPLIT ? nf_join_f32(s->w[i], s->low[i])
                                         : nf_bf16_to_f32(s->w[i]);
}

struct hyper {
    double beta1, beta2, decay;
    float lr;
};

/* Update t; the tensor lies in two pieces, the second from element `cut` on. */
static void step(struct rig *r, struct state *s, const float *g, const struct hyper *h, int t, int cut)
{
    const struct nf_adamw_piece piece[2] = {
        {.flat = 0, .count = cut, .decay = h->decay > 0, .param = PARAM, .first = 0},
        {.flat = cut, .count = N - cut, .decay = h->decay > 0, .param = PARAM, .first = cut}};
    const bool plain = s->scheme == NF_STATE_FP32;
    const struct nf_adamw_run run = {.w = nf_vector(s->w, NF_BF16, N),
                                     .low = nf_vector(s->scheme == NF_STATE_SPLIT ? s->low : NULL, NF_I16, N),
                                     .master = nf_vector(plain ? s->master : NULL, NF_F32, N),
                                     .m = plain ? nf_vector(s->m32, NF_F32, N) : nf_vector(s->m, NF_BF16, N),
                                     .v = plain ? nf_vector(s->v32, NF_F32, N) : nf_vector(s->v, NF_BF16, N),
                                     .g = nf_vector((float *)g, NF_F32, N),
                                     .piece = piece,
                                     .pieces = 2};
    const struct nf_adamw_arg arg = {h->beta1, h->beta2, 1e-8, h->decay, s->scheme, seed};
    const struct nf_step_vars vars = {.lr = h->lr};
    const struct nf_decision decision = {.clip_scale = 1.0f, .t = t};
    must(nf_adamw(r->q, &run, &arg, &vars, &decision), "adamw");
}

static uint32_t bits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static void splits(void)
{
    uint64_t state = 5;
    long wrong = 0, off = 0, nearest = 0, odd = 0;

    for (long i = 0; i < 2000000; i++) {
        uint32_t b = i < 131072 ? (uint32_t)i << 15 : (uint32_t)((draw(&state) + 1) * 0x1p31);
        uint16_t w;
        int16_t low;
        float x;
        memcpy(&x, &b, sizeof x);
        nf_split_f32(x, &w, &low);
        wrong += bits(nf_join_f32(w, low)) != b;
        if ((b & 0x7fffffff) >= 0x7f7f8000) /* what rounds to infinity, infinities, NaN */
            continue;
        off += !(fabs((double)nf_bf16_to_f32(w) - (double)x) <= fabs((double)nf_bf16_to_f32(nf_f32_to_bf16(x)) - (double)x));
        odd += (b & 0xffff) == 0x8000;
        nearest += w == nf_f32_to_bf16(x);
    }
    tap_ok(wrong == 0, "weight and remainder make the value again, for any bits");
    tap_ok(off == 0 && nearest > 1900000 && odd > 1000, "the weight is a nearest bf16 value");
}

/* With beta = 0 the moments are g and g^2: what is stored can be told bit by bit. */
static void keyed(struct rig *r)
{
    const struct hyper h = {0, 0, 0, 0};
    const nf_rng_key key = {.seed = seed, .step = 3, .purpose = NF_RNG_ROUND, .layer = PARAM};
    float *g = grab(N, sizeof *g), *w = grab(N, sizeof *w);
    static const int cuts[] = {N, 4, 4099, 1, 0};
    struct state *first = NULL;

    fill_random(g, N, 1, 1);
    fill_random(w, N, 1, 2);
    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        struct state *s = state_new(NF_STATE_SPLIT, w);
        long wrong = 0;
        step(r, s, g, &h, 3, cuts[c]);
        for (int i = 0; i < N; i++) {
            uint32_t block[4];
            nf_rng_block(nf_rng_mix(key), (uint64_t)(i / 4), 0, block);
            wrong += s->m[i] != (uint16_t)((bits(g[i]) + (block[i % 4] & 0xffff)) >> 16);
            wrong += s->v[i] != (uint16_t)((bits(g[i] * g[i]) + (block[i % 4] >> 16)) >> 16);
        }
        tap_ok(wrong == 0, "moments: the defined bits, cut at %d", cuts[c]);
        if (!first)
            first = s;
        else {
            tap_ok(!memcmp(first, s, sizeof *s), "the same however the tensor is cut (%d)", cuts[c]);
            free(s);
        }
    }
    struct state *other = state_new(NF_STATE_SPLIT, w);
    step(r, other, g, &h, 4, N);
    long same = 0;
    for (int i = 0; i < N; i++)
        same += other->m[i] == first->m[i];
    tap_ok(same > N / 2 && same < N * 9 / 10, "another step rounds otherwise");
    free(other), free(first), free(g), free(w);
}

/* Weights of the scheme without master: lr = 0 and no decay leave a bf16 weight alone; decay alone gives w (1 - lr wd). */
static void keyed_weights(struct rig *r)
{
    const struct hyper idle = {0, 0, 0, 0}, decay = {0, 0, 0.25, 0.5f};
    const nf_rng_key key = {.seed = seed, .step = 8, .purpose = NF_RNG_ROUND, .layer = PARAM};
    float *g = grab(N, sizeof *g), *w = grab(N, sizeof *w);
    long moved = 0, wrong = 0;

    fill_random(w, N, 1, 3);
    struct state *s = state_new(NF_STATE_BF16, w), *t = state_new(NF_STATE_BF16, w);
    step(r, s, g, &idle, 7, 4099);
    for (int i = 0; i < N; i++)
        moved += s->w[i] != t->w[i];
    tap_ok(moved == 0, "a weight that needs no rounding is not touched");
    step(r, s, g, &decay, 8, 4099);
    for (int i = 0; i < N; i++) {
        uint32_t block[4];
        nf_rng_block(nf_rng_mix(key), (uint64_t)(i / 8), 1, block);
        const uint32_t noise = block[i % 8 / 2] >> (i % 2 ? 16 : 0) & 0xffff;
        wrong += s->w[i] != (uint16_t)((bits(nf_bf16_to_f32(t->w[i]) * 0.875f) + noise) >> 16);
    }
    tap_ok(wrong == 0, "weights: the defined bits");
    free(s), free(t), free(g), free(w);
}

/* Gradients that bf16 holds exactly, with their squares: rounding does nothing to the moments, and split is the fp32 scheme. */
static void exact_master(struct rig *r)
{
    const struct hyper h = {0, 0, 0.1, 3e-4f};
    float *g = grab(N, sizeof *g), *w = grab(N, sizeof *w);
    long wrong = 0, weights = 0;

    fill_random(w, N, 1, 4);
    struct state *a = state_new(NF_STATE_FP32, w), *b = state_new(NF_STATE_SPLIT, w);
    for (int t = 1; t <= 20; t++) {
        for (int i = 0; i < N; i++)
            g[i] = ldexpf((i * 7 + t) % 3 ? 1.0f : -1.5f, -(i % 11));
        step(r, a, g, &h, t, 4099);
        step(r, b, g, &h, t, 4099);
    }
    for (int i = 0; i < N; i++) {
        wrong += bits(value(b, i)) != bits(a->master[i]);
        weights += b->w[i] != a->w[i];
    }
    tap_ok(wrong == 0, "split is an exact fp32 master: the same bits after 20 updates");
    tap_ok(weights <= 2, "and the weights differ in ties alone (%ld)", weights);
    free(a), free(b), free(g), free(w);
}

/* w = 1, and a hundred updates of 2^-12, an eighth of half a unit: nearest rounding would lose every one of them. */
static void small_updates(struct rig *r)
{
    const struct hyper h = {0, 0, 0, 0x1p-12f};
    float *g = grab(N, sizeof *g), *w = grab(N, sizeof *w);
    const double want = 1.0 - 100 * 0x1p-12;

    fill_value(g, N, 1);
    fill_value(w, N, 1);
    for (int scheme = NF_STATE_FP32; scheme <= NF_STATE_BF16; scheme++) {
        struct state *s = state_new((enum nf_state_scheme)scheme, w);
        double mean = 0, worst = 0;
        for (int t = 1; t <= 100; t++)
            step(r, s, g, &h, t, 4099);
        for (int i = 0; i < N; i++) {
            mean += (double)value(s, i) / N;
            worst = fmax(worst, fabs((double)value(s, i) - want));
        }
        /* 1 / (1 + eps) is 1 in fp32; each subtraction from a number below 1 rounds by 2^-25 at most */
        if (scheme != NF_STATE_BF16)
            tap_ok(worst <= 100 * 0x1p-25, "%s keeps small updates", scheme ? "split" : "fp32");
        else /* a step of 2^-8 (below 1) is taken with chance 1/16: variance of each of 100 updates 2^-16 / 16 */
            tap_ok(fabs(mean - want) <= 5 * sqrt(100 * 0x1p-16 / 16 / N) && worst < 0.1,
                   "bf16 keeps them in the mean: off by %.2g", mean - want);
        free(s);
    }
    free(g), free(w);
}

/* The mean of many roundings is the value. */
static void unbiased(struct rig *r)
{
    const struct hyper h = {0, 0, 0, 0};
    float *g = grab(N, sizeof *g), *w = grab(N, sizeof *w);
    double sum = 0, spread = 0;
    long far = 0;

    fill_random(g, N, 1, 6);
    struct state *s = state_new(NF_STATE_SPLIT, w);
    for (int t = 1; t <= 20; t++) {
        step(r, s, g, &h, t, N);
        for (int i = 0; i < N; i++) {
            const double unit = ldexp(1, ilogb((double)g[i]) - 7),
                         off = ((double)nf_bf16_to_f32(s->m[i]) - (double)g[i]) / unit;
            sum += off;
            spread += off * off;
            far += !(fabs(off) < 1);
        }
    }
    tap_ok(far == 0, "always to a neighbour");
    tap_ok(fabs(sum) <= 5 * sqrt(spread), "rounding is right in the mean: %.2g units of %.2g allowed", sum, 5 * sqrt(spread));
    /* the fraction is as good as uniform: the mean square of an unbiased choice is 1/6 */
    tap_ok(fabs(spread / (20.0 * N) - 1.0 / 6) < 0.01, "and takes every value's own chance");
    free(s), free(g), free(w);
}

/* Like the fp32 scheme over some steps with ordinary gradients, within what the moments' roundings make. */
static void like_fp32(struct rig rigs[2])
{
    const struct hyper h = {0.9, 0.95, 0.1, 1e-3f};
    float *g = grab(N, sizeof *g), *w = grab(N, sizeof *w);

    fill_random(w, N, 1, 7);
    struct state *a = state_new(NF_STATE_FP32, w);
    for (int scheme = NF_STATE_SPLIT; scheme <= NF_STATE_BF16; scheme++) {
        struct state *b[2] = {state_new((enum nf_state_scheme)scheme, w), state_new((enum nf_state_scheme)scheme, w)};
        double worst = 0, moments = 0;
        for (int t = 1; t <= 10; t++) {
            for (int i = 0; i < N; i++)
                g[i] = 0.01f * (1.0f + 0.25f * (float)((i + t) % 5));
            if (scheme == NF_STATE_SPLIT)
                step(&rigs[0], a, g, &h, t, N);
            for (int k = 0; k < 2; k++)
                step(&rigs[k], b[k], g, &h, t, k ? 4099 : N);
        }
        tap_ok(!memcmp(b[0], b[1], sizeof *b[0]), "two threads, other pieces: the same bits");
        for (int i = 0; i < N; i++) {
            worst = fmax(worst, fabs((double)value(b[0], i) - (double)value(a, i)));
            moments = fmax(moments, fabs((double)nf_bf16_to_f32(b[0]->m[i]) / (double)a->m32[i] - 1));
        }
        /* an update is lr m / sqrt(v): m and v carry up to 2^-7 of each past rounding, at most 10 of them */
        const double path = 10 * 1e-3 * 10 * 0x1p-7, grid = scheme == NF_STATE_BF16 ? 10 * 0x1p-8 : 0;
        tap_ok(moments <= 10 * 0x1p-7 && worst <= path + grid, "%s: near the fp32 scheme (w %.2g of %.2g, m %.2g)",
               scheme == NF_STATE_SPLIT ? "split" : "bf16", worst, path + grid, moments);
        free(b[0]), free(b[1]);
    }
    free(a), free(g), free(w);
}

static void refused(struct rig *r)
{
    float m[4] = {0};
    uint16_t w[4] = {0};
    const struct nf_adamw_run run = {.w = nf_vector(w, NF_BF16, 4),
                                     .m = nf_vector(m, NF_F32, 4),
                                     .v = nf_vector(m, NF_F32, 4),
                                     .g = nf_vector(m, NF_F32, 4)};
    const struct nf_step_vars vars = {0};
    const struct nf_decision decision = {.t = 1};
    for (int scheme = NF_STATE_FP32; scheme <= NF_STATE_BF16; scheme++) {
        const struct nf_adamw_arg arg = {0.9, 0.95, 1e-8, 0, (enum nf_state_scheme)scheme, 1};
        tap_ok(nf_adamw(r->q, &run, &arg, &vars, &decision) == NF_EBUG, "state that does not fit scheme %d is refused", scheme);
        nf_diagnosis_clear();
    }
}

int main(void)
{
    struct rig rigs[2];

    tap_open();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    splits();
    keyed(&rigs[0]);
    keyed_weights(&rigs[0]);
    exact_master(&rigs[0]);
    small_updates(&rigs[0]);
    unbiased(&rigs[0]);
    like_fp32(rigs);
    refused(&rigs[0]);
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    return tap_done();
}
