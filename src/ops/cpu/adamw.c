/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adamw.c: one update of a flat run, and the decision before it. Between the pieces lies padding that is not touched.
 *
 *   g = clip_scale g;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *   w = w (1 - lr wd) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * The constants of a step are formed in fp64. With bf16 weights and state fp32 the update is of the fp32 master, and the weight
 * its rounding; the compact schemes (split, bf16) are widened a strip at a time, and stored with the roundings of ops.h.
 */
#include "cpu.h"
#include "half.h"
#include "noise.h"
#include "tiles.h"

#include <math.h>

enum { CHUNK = 16384, STRIP = 1024 };

struct consts {
    float clip, b1, c1, b2, c2;  /* c = 1 - b */
    float keep, step, root, eps; /* 1 - lr wd; lr / (1 - b1^t); 1 / sqrt(1 - b2^t) */
};

NF_CLONES static void update(float *w, float *m, float *v, const float *g, int64_t n, const struct consts *c)
{
    const struct consts k = *c;

    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * k.clip;
        float mi = k.b1 * m[i] + k.c1 * gi;
        float vi = k.b2 * v[i] + k.c2 * (gi * gi);
        m[i] = mi;
        v[i] = vi;
        w[i] = w[i] * k.keep - k.step * (mi / (sqrtf(vi) * k.root + k.eps));
    }
}

NF_CLONES static void widen(float *y, const uint16_t *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = nf_vfrom_bf16(x[i]);
}

NF_CLONES static void narrow(uint16_t *y, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = nf_vto_bf16(x[i]);
}

NF_CLONES static void narrow_moments(uint16_t *m, uint16_t *v, const float *fm, const float *fv, const uint32_t *word,
                                     int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++) {
        m[i] = nf_vto_bf16_random(fm[i], word[i] & 0xffffu);
        v[i] = nf_vto_bf16_random(fv[i], word[i] >> 16);
    }
}

NF_CLONES static void narrow_weights(uint16_t *w, const float *x, const uint16_t *half, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        w[i] = nf_vto_bf16_random(x[i], half[i]);
}

NF_CLONES static void join(float *x, const uint16_t *w, const int16_t *low, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        x[i] = nf_vjoin(w[i], low[i]);
}

NF_CLONES static void split(uint16_t *w, int16_t *low, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        w[i] = nf_vsplit(x[i], &low[i]);
}

struct piece {
    const struct nf_adamw_run *run;
    int64_t flat, count, first;
    bool compact; /* bf16 moments */
    uint64_t key; /* of their rounding */
    struct consts c;
};

/* n <= STRIP elements of a compact scheme: `at` in the run, `e` in the logical tensor. */
static void compact_strip(const struct piece *p, int64_t at, int64_t e, int64_t n)
{
    const struct nf_adamw_run *r = p->run;
    uint16_t *w = (uint16_t *)r->w.data + at, *m = (uint16_t *)r->m.data + at, *v = (uint16_t *)r->v.data + at;
    int16_t *low = r->low.data ? (int16_t *)r->low.data + at : NULL;
    const float *g = (const float *)r->g.data + at;
    float fw[STRIP], fm[STRIP], fv[STRIP], fg[STRIP];
    uint32_t word[STRIP + 8];
    uint16_t half[STRIP + 16];

    if (low)
        join(fw, w, low, n);
    else
        widen(fw, w, n);
    widen(fm, m, n);
    widen(fv, v, n);
    if (r->g.dtype == NF_BF16) {
        widen(fg, (const uint16_t *)r->g.data + at, n);
        g = fg;
    }
    update(fw, fm, fv, g, n, &p->c);
    nf_noise_words(word, p->key, (uint64_t)e / 4, 0, (e % 4 + n + 3) / 4);
    narrow_moments(m, v, fm, fv, word + e % 4, n);
    if (low) {
        split(w, low, fw, n);
        return;
    }
    const int64_t blocks = (e % 8 + n + 7) / 8;
    nf_noise_words(word, p->key, (uint64_t)e / 8, 1, blocks);
    nf_noise_halves(half, word, 4 * blocks);
    narrow_weights(w, fw, half + e % 8, n);
}

static void piece_tile(void *ctx, int64_t tile)
{
    const struct piece *p = ctx;
    const struct nf_adamw_run *r = p->run;
    int64_t from = tile * CHUNK, n = p->count - from < CHUNK ? p->count - from : CHUNK, at = p->flat + from;
    const bool half = r->w.dtype == NF_BF16;

    for (int64_t i = 0; p->compact && i < n; i += STRIP)
        compact_strip(p, at + i, p->first + from + i, n - i < STRIP ? n - i : STRIP);
    if (p->compact)
        return;
    float *w = (float *)(half ? r->master.data : r->w.data) + at, *m = (float *)r->m.data + at, *v = (float *)r->v.data + at;

    if (r->g.dtype == NF_F32) {
        update(w, m, v, (const float *)r->g.data + at, n, &p->c);
    } else {
        float g[STRIP];
        for (int64_t i = 0; i < n; i += STRIP) {
            int64_t len = n - i < STRIP ? n - i : STRIP;
            widen(g, (const uint16_t *)r->g.data + at + i, len);
            update(w + i, m + i, v + i, g, len, &p->c);
        }
    }
    if (half)
        narrow((uint16_t *)r->w.data + at, w, n);
}

nf_status nf_cpu_adamw(nf_queue *q, const struct nf_adamw_run *run, const struct nf_adamw_arg *arg,
                       const struct nf_step_vars *vars, const struct nf_decision *decision)
{
    const bool compact = run->w.dtype == NF_BF16 && arg->scheme != NF_STATE_FP32;
    const double lr = (double)vars->lr;
    double bias1, bias2;

    if (decision->skip)
        return NF_OK;
    if (decision->t < 1)
        return nf_fail(NF_EBUG, "adamw: update number %d, wanted 1 or more", (int)decision->t);
    bias1 = 1.0 - pow(arg->beta1, decision->t);
    bias2 = 1.0 - pow(arg->beta2, decision->t);
    for (int i = 0; i < run->pieces; i++) {
        const struct nf_adamw_piece *one = &run->piece[i];
        struct piece p = {.run = run, .flat = one->flat, .count = one->count, .first = one->first, .compact = compact};
        p.c = (struct consts){.clip = decision->clip_scale,
                              .b1 = (float)arg->beta1,
                              .c1 = (float)(1.0 - arg->beta1),
                              .b2 = (float)arg->beta2,
                              .c2 = (float)(1.0 - arg->beta2),
                              .keep = one->decay ? (float)(1.0 - lr * arg->weight_decay) : 1.0f,
                              .step = (float)(lr / bias1),
                              .root = (float)(1.0 / sqrt(bias2)),
                              .eps = (float)arg->eps};
        if (compact)
            p.key = nf_rng_mix((nf_rng_key){
                .seed = arg->seed, .step = (uint64_t)decision->t, .purpose = NF_RNG_ROUND, .layer = (uint32_t)one->param});
        nf_cpu_tiles(q, (one->count + CHUNK - 1) / CHUNK, piece_tile, &p);
    }
    return NF_OK;
}

nf_status nf_cpu_decide(nf_queue *q, struct nf_decision *decision, const double *reduced, double clip)
{
    struct nf_decision d = *decision;

    (void)q;
    d.norm_sq = reduced[0];
    d.loss = reduced[1];
    d.mtp_loss = reduced[2];
    d.aux_loss = reduced[3];
    d.skip = !(isfinite(d.norm_sq) && isfinite(d.loss) && isfinite(d.mtp_loss) && isfinite(d.aux_loss));
    d.clip_scale = 1.0f;
    if (!d.skip) {
        double scale = clip > 0.0 ? clip / (sqrt(d.norm_sq) + 1e-6) : 1.0;
        d.clip_scale = scale < 1.0 ? (float)scale : 1.0f;
        d.t++;
    }
    *decision = d;
    return NF_OK;
}
