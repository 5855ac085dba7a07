/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_compare.c: an output against the definition's: every element by itself, and all of them in the 2-norm.
 *
 * w is the definition's value in fp32, g the tried one. Of its own type's rounding g may err by h, half a unit in the last
 * place; by further roundings on the way, of relative size at most u = 2^-8 in bf16, as cuda_rounded says; and by what the
 * orders of sums and the functions leave in fp32, a normal distribution of standard deviation noise x size, where size is the
 * largest of |w| and the root mean squares of its row and of the tensor:
 *
 *   element   |g - w| <= h + worst u (|w| + beside) + 6 noise size
 *   2-norm    |g - w|^2 <= 1.05 E (1 + 5.4 / sqrt(n)),
 *             E = sum of (1 + square) (2 h)^2 / 12 + square (u beside)^2 / 3 + (noise row)^2
 *
 * A rounding is uniform within a unit, so its square is unit^2 / 12 in the mean with a relative deviation of 0.9; n, the number
 * of elements that count, is E^2 over the sum of their squares; 5.4 are four deviations of such terms under a spread of sizes.
 * 1.05: values with few bits below the last one, such as squares of bf16 values, meet ties too often (3 bits: 3 % more).
 *
 * Where the definition rounds alike (cuda_same_types), g differs only where the two fp32 values lie on two sides of a limit,
 * which happens with probability 2 noise size / unit, and then by a unit: E = sum of 2 noise row unit (1 + square), and beside
 * its mean a sum of so rare events may be off by five deviations and by one event more.
 */
#include "cudarig.h"

/* A unit in the last place of a value of this size */
static double unit(nf_dtype type, double x)
{
    const int bits = type == NF_BF16 ? 8 : type == NF_F16 ? 11 : type == NF_F32 ? 24 : 53;
    int e;
    frexp(x, &e);
    return !isfinite(x) ? 0 : x != 0 ? ldexp(1, e - bits) : 0;
}

static double nearest(nf_dtype type, double w)
{
    switch (type) {
    case NF_BF16: return (double)nf_bf16_to_f32(nf_f32_to_bf16((float)w));
    case NF_F16: return (double)nf_f16_to_f32(nf_f32_to_f16((float)w));
    default: return w;
    }
}

struct sums {
    double diff, expected, squares, most; /* |g - w|^2, E, the sum of squares of E's terms, the largest single event */
    double ratio, got, want, limit;       /* of the worst element */
    int64_t at;
};

struct view {
    const nf_tensor *w; /* the definition's, with data */
    const nf_tensor *g; /* shape and type of the tried one */
    const void *got;
    const uint16_t *high[2]; /* the bf16 weights whose remainders these are, or NULL */
    double rms;              /* of the whole tensor */
};

static double joined(const uint16_t *high, const void *low, int64_t i)
{
    return (double)nf_join_f32(high[i], ((const int16_t *)low)[i]);
}

static double wanted(const struct view *v, int64_t i)
{
    return v->high[0] ? joined(v->high[0], v->w->data, i) : cuda_get(v->w->data, v->w->dtype, cuda_offset(v->w, i));
}

static double found(const struct view *v, int64_t i)
{
    return v->high[1] ? joined(v->high[1], v->got, i) : cuda_get(v->got, v->g->dtype, cuda_offset(v->g, i));
}

static double mean_square(const struct view *v, int64_t first, int64_t count)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = first; i < first + count; i++) {
        const double w = wanted(v, i);
        n += isfinite(w);
        sum += isfinite(w) ? w * w : 0;
    }
    return n ? sum / (double)n : 0;
}

static void element(const struct cuda_trial *t, const struct cuda_arg *a, const struct view *v, int64_t i, double row,
                    struct sums *s)
{
    const nf_dtype type = a->joined ? NF_F32 : v->g->dtype;
    const double w = wanted(v, i), g = found(v, i);
    const bool same = g == w || (isnan(g) && isnan(w)), exact = a->noise <= 0 && a->worst <= 0;
    const double half = ldexp(1, type == NF_BF16 ? -8 : type == NF_F16 ? -11 : -24); /* one rounding, relative */
    const double size = fmax(fabs(w), fmax(row, v->rms)), other = a->worst * half * (fabs(w) + a->beside) + 6 * a->noise * size;
    const double step = unit(type, fabs(w) + other), mean = unit(type, w);
    double d = fabs(g - w), limit, e;

    if (exact) {
        d = fabs(g - nearest(type, w));
        limit = e = 0;
    } else if (t->same_types) {
        limit = step * (1 + a->worst) + 6 * a->noise * size;
        e = 2 * a->noise * row * mean * (1 + a->square) + a->noise * a->noise * row * row;
        s->most = fmax(s->most, limit);
    } else {
        const double other2 = half * a->beside;
        limit = step / 2 + other;
        e = (1 + a->square) * mean * mean / 12 + a->square * other2 * other2 / 3 + a->noise * a->noise * row * row;
    }
    d = same ? 0 : d;
    const double ratio = d <= 0 ? 0 : limit > 0 ? d / limit : INFINITY;
    s->diff += d * d;
    s->expected += e;
    s->squares += e * e;
    if (!(ratio <= s->ratio)) {
        s->ratio = isnan(ratio) ? INFINITY : ratio;
        s->at = i;
        s->got = g;
        s->want = w;
        s->limit = limit;
    }
}

static double norm_bound(const struct cuda_trial *t, const struct sums *s)
{
    const double e = s->expected;
    if (t->same_types)
        return sqrt(e + 5 * sqrt(e) * s->most + s->most * s->most);
    return e > 0 ? sqrt(1.05 * e * (1 + 5.4 * sqrt(s->squares) / e)) : 0;
}

bool cuda_near(const struct cuda_trial *t, const struct cuda_arg *a, const void *got, bool quiet)
{
    struct view v = {&a->side[0], &a->side[1], got, {NULL, NULL}, 0};
    const int64_t n = nf_tensor_count(v.w), cols = v.w->nd > 1 ? v.w->dim[v.w->nd - 1] : n;
    struct sums s = {.at = -1};
    const bool talk = !quiet && getenv("NF_TEST_VERBOSE");

    if (a->joined) {
        v.high[0] = t->arg[a->joined - 1].side[0].data;
        v.high[1] = t->got[a->joined - 1];
    }
    v.rms = sqrt(mean_square(&v, 0, n));
    for (int64_t first = 0; first < n; first += cols) {
        const double row = v.w->nd > 1 ? sqrt(mean_square(&v, first, cols)) : v.rms;
        for (int64_t i = first; i < first + cols; i++)
            element(t, a, &v, i, row, &s);
    }
    const double bound = norm_bound(t, &s), norm = s.diff <= 0 ? 0 : bound > 0 ? sqrt(s.diff) / bound : INFINITY;
    const bool ok = s.ratio <= 1 && norm <= 1;
    if (quiet)
        return ok;
    t->rig->nearest[0] = fmax(t->rig->nearest[0], s.ratio);
    t->rig->nearest[1] = fmax(t->rig->nearest[1], norm);
    if (ok && !talk)
        return ok;
    printf("#   %s: %s: %.3g of the bound in the 2-norm (%.3g of %.3g relative)", t->what, a->name, norm,
           sqrt(s.diff / (double)n) / v.rms, bound / sqrt((double)n) / v.rms);
    if (s.at >= 0)
        printf("; %.3g of an element's at [%lld, %lld] of [%lld, %lld]: got %.8g, want %.8g within %.2g", s.ratio,
               (long long)(s.at / cols), (long long)(s.at % cols), (long long)(n / cols), (long long)cols, s.got, s.want,
               s.limit);
    printf("\n");
    return ok;
}
