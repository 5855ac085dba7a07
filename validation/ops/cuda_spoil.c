/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_spoil.c: would a wrong kernel be seen? A right output is made wrong in one of the ways in which kernels are, and the
 * comparison must refuse it: one element off by a sixteenth, one forgotten, one of another place, the columns of a tile of rows
 * shifted, an overwriting op that adds (one that adds and overwrites), a result that is cut off instead of rounded.
 */
#include "cudarig.h"

enum { MOST = 200000 };

struct victim {
    const struct cuda_arg *a;
    const nf_tensor *x; /* the tried side's: shape and type */
    char *bad;          /* a copy of its allocation, to be spoiled */
    int64_t n, cols, at;
    double rms;
};

static double get(const struct victim *v, int64_t i)
{
    return cuda_get(v->bad, v->x->dtype, cuda_offset(v->x, i));
}

static void set(struct victim *v, int64_t i, double x)
{
    cuda_put(v->bad, v->x->dtype, cuda_offset(v->x, i), x);
}

static double row_rms(const struct victim *v, int64_t row)
{
    double sum = 0;
    for (int64_t c = 0; c < v->cols; c++) {
        const double w = get(v, row * v->cols + c);
        sum += isfinite(w) ? w * w : 0;
    }
    return sqrt(sum / (double)v->cols);
}

/* An element, from here on, that is as large as most, and as what rounded values were added to: true if there is one. */
static bool typical(struct victim *v, int64_t from)
{
    for (int64_t k = 0; k < v->n; k++) {
        const double w = get(v, (from + k) % v->n);
        v->at = (from + k) % v->n;
        if (isfinite(w) && w != 0 && fabs(w) >= v->rms * 0.7 && fabs(w) >= v->a->beside / 2 &&
            fabs(w) >= 0.7 * row_rms(v, v->at / v->cols))
            return true;
    }
    return false;
}

static bool off(struct victim *v)
{
    if (!typical(v, v->n / 2))
        return false;
    set(v, v->at, get(v, v->at) * (1 + 1.0 / 16));
    return true;
}

static bool forgotten(struct victim *v)
{
    if (!typical(v, v->n - 1))
        return false;
    set(v, v->at, 0);
    return true;
}

static bool never_written(struct victim *v)
{
    for (int64_t i = v->n - 1; i >= 0; i--)
        if (isfinite(get(v, i))) {
            set(v, i, NAN);
            return true;
        }
    return false;
}

static bool exchanged(struct victim *v)
{
    if (!typical(v, v->n / 3))
        return false;
    const int64_t a = v->at;
    const double x = get(v, a);
    for (int64_t b = 0; b < v->n; b++) {
        const double y = get(v, b);
        if (isfinite(y) && fabs(x - y) > fmax(v->rms, row_rms(v, b / v->cols))) {
            set(v, a, y);
            set(v, b, x);
            return true;
        }
    }
    return false;
}

static bool shifted(struct victim *v)
{
    const int64_t rows = v->n / (v->cols ? v->cols : 1);
    double moved = 0;
    for (int64_t r = 0; r < rows && r < 8; r++)
        for (int64_t c = v->cols - 1; c > 0; c--) {
            const double was = get(v, r * v->cols + c), now = get(v, r * v->cols + c - 1);
            moved = isfinite(was - now) ? fmax(moved, fabs(was - now)) : moved;
            set(v, r * v->cols + c, now);
        }
    return moved > v->rms * 0.7 && moved > v->a->beside / 2;
}

/* y + init instead of y; of what adds, y - init */
static bool added(struct victim *v)
{
    const bool adds = v->a->use == CUDA_INOUT;
    double most = 0;
    for (int64_t i = 0; i < v->n && adds; i++) {
        const double x = cuda_get(v->a->init, v->x->dtype, cuda_offset(v->x, i)), y = get(v, i);
        most = isfinite(x) && isfinite(y) ? fmax(most, fabs(x) / fmax(v->rms, fabs(y))) : most;
        set(v, i, y - x);
    }
    return adds && most > 0.1; /* else the sum is so large that it hides what was there */
}

/* Towards zero instead of to the nearest */
static bool cut(struct victim *v)
{
    const nf_tensor *w = &v->a->side[0];
    if (v->x->dtype != NF_BF16 || w->dtype != NF_F32 || v->n < 64 || v->a->worst > 0 || v->a->noise > 1e-4)
        return false;
    bool other = false;
    for (int64_t i = 0; i < v->n; i++) {
        const float x = ((const float *)w->data)[cuda_offset(w, i)];
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        bits &= 0xffff0000u;
        float y;
        memcpy(&y, &bits, sizeof y);
        other |= isfinite(y) && (double)y != get(v, i);
        set(v, i, (double)y);
    }
    return other;
}

void cuda_spoil(const struct cuda_trial *t, const struct cuda_arg *a, const void *got)
{
    static const struct {
        const char *what;
        bool (*spoil)(struct victim *v);
    } way[] = {{"an element off by a sixteenth", off},
               {"an element forgotten", forgotten},
               {"an element never written", never_written},
               {"two elements exchanged", exchanged},
               {"columns of some rows shifted by one", shifted},
               {"what was there not added", added},
               {"cut off instead of rounded", cut}};
    const nf_dtype type = a->side[1].dtype;
    struct victim v = {.a = a, .x = &a->side[1], .n = nf_tensor_count(&a->side[1])};
    double sum = 0;

    if ((type != NF_F32 && type != NF_BF16 && type != NF_F64) || v.n > MOST)
        return; /* whole numbers are mostly held to their bits; the large shapes of an op would only take long */
    v.cols = v.x->nd > 1 ? v.x->dim[v.x->nd - 1] : v.n;
    v.bad = malloc(a->bytes + 1);
    if (!v.bad)
        exit(1);
    memcpy(v.bad, got, a->bytes);
    for (int64_t i = 0; i < v.n; i++)
        sum += isfinite(get(&v, i)) ? get(&v, i) * get(&v, i) : 0;
    v.rms = sqrt(sum / (double)(v.n ? v.n : 1));
    for (size_t k = 0; k < sizeof way / sizeof *way; k++) {
        memcpy(v.bad, got, a->bytes);
        if (!(v.rms > 0) || !way[k].spoil(&v))
            continue;
        t->rig->spoiled++;
        if (!cuda_near(t, a, v.bad, true))
            t->rig->seen++;
        else
            printf("#   %s: %s: %s, not seen\n", t->what, a->name, way[k].what);
    }
    free(v.bad);
}
