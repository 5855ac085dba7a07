/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_grouped.c: the experts' linear layers in their three back ends: empty experts, several groups of one expert lying apart,
 * rows outside all groups (NaN in inputs that may not be read, a poison in outputs that may not be written), a base, row
 * weights and their gradients, biases, both layouts of the weight, fp32 and bf16, one and two threads with the same bits.
 */
#include "ref.h"

static const struct nf_act_arg acts[] = {
    {NF_ACT_NONE, 0, 0}, {NF_ACT_RELU2, 0, 0}, {NF_ACT_SWIGLU, 0, 0}, {NF_ACT_SWIGLU_CLAMP, 1.702f, 0.9f}};
static const char *const backend_names[] = {"eager", "batched", "grouped"};
#define POISON (-77.0f)

struct setting {
    int act, backend;
    bool in_out, weighted, bias, pre;
    nf_dtype type;
    int64_t E, N, K, scale; /* groups have scale times the rows of the pattern */
};

/* Rows of the groups by the pattern: expert, rows, and rows left out before it. */
static const int pattern[][3] = {{2, 17, 2}, {0, 1, 0}, {2, 3, 5}, {4, 0, 0}, {1, 130, 0}, {0, 40, 3}};
enum { GROUPS = sizeof pattern / sizeof *pattern, BASE = 1000 };

struct place {
    int32_t begin[GROUPS], end[GROUPS], expert[GROUPS];
    int64_t rows;
    int *owner; /* [rows] expert, or -1 */
    struct nf_groups groups;
};

static struct place *place_new(int64_t scale)
{
    struct place *p = grab(1, sizeof *p);
    int64_t at = 0;

    for (int g = 0; g < GROUPS; g++) {
        at += pattern[g][2];
        p->expert[g] = pattern[g][0];
        p->begin[g] = (int32_t)at + BASE;
        at += pattern[g][1] * scale;
        p->end[g] = (int32_t)at + BASE;
    }
    p->rows = at + 4;
    p->owner = grab(p->rows, sizeof(int));
    for (int64_t i = 0; i < p->rows; i++)
        p->owner[i] = -1;
    for (int g = 0; g < GROUPS; g++)
        for (int64_t i = p->begin[g] - BASE; i < p->end[g] - BASE; i++)
            p->owner[i] = p->expert[g];
    p->groups = (struct nf_groups){GROUPS, p->begin, p->end, p->expert, BASE};
    return p;
}

static void place_free(struct place *p)
{
    free(p->owner);
    free(p);
}

static void put(const struct slice *s, int64_t i, int64_t j, float v)
{
    int64_t at = i * s->all.stride[0] + s->first + j;

    if (s->all.dtype == NF_F32)
        ((float *)s->all.data)[at] = v;
    else
        ((uint16_t *)s->all.data)[at] = nf_f32_to_bf16(v);
}

/* Rows of no group hold v. */
static void fill_outside(const struct slice *s, const struct place *p, float v)
{
    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; p->owner[i] < 0 && j < s->t.dim[1]; j++)
            put(s, i, j, v);
}

static struct slice output(nf_dtype type, const struct place *p, int64_t cols)
{
    struct slice s = slice_new(type, p->rows, cols, 1, cols + 2, NULL);

    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; j < cols; j++)
            put(&s, i, j, POISON);
    return s;
}

/* What an expected output holds outside: the poison, rounded to the type. It takes part in no size. */
static void hold(const struct slice *got, double *want, const struct place *p, double bound, double size, const char *what,
                 const char *name)
{
    const int64_t cols = got->t.dim[1];
    float *x = slice_get(got);
    bool untouched = true;

    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; p->owner[i] < 0 && j < cols; j++) {
            untouched &= x[i * cols + j] == nf_bf16_to_f32(nf_f32_to_bf16(POISON));
            x[i * cols + j] = 0;
            want[i * cols + j] = 0;
        }
    near(x, want, p->rows * cols, size, bound, what, name);
    tap_ok(untouched && slice_guarded(got), "%s: %s: rows outside the groups untouched", what, name);
    free(x);
}

/* w as it is stored -> w [E, N, K] in fp64 */
static double *weight_by_rows(const struct setting *s, const double *stored)
{
    double *w = grab(s->E * s->N * s->K, sizeof *w);

    for (int64_t e = 0; e < s->E; e++)
        for (int64_t n = 0; n < s->N; n++)
            for (int64_t k = 0; k < s->K; k++)
                w[(e * s->N + n) * s->K + k] =
                    s->in_out ? stored[(e * s->K + k) * s->N + n] : stored[(e * s->N + n) * s->K + k];
    return w;
}

static nf_tensor cube_of(const struct setting *s, const struct slice *w)
{
    return nf_cube(w->all.data, w->all.dtype, s->E, s->in_out ? s->K : s->N, s->in_out ? s->N : s->K);
}

static double bound_of(const struct setting *s, int64_t terms)
{
    double b = ROUND_F32 * (8 + 2 * sqrt((double)terms));
    return s->type == NF_BF16 ? b + ROUND_BF16 : b;
}

static double largest(const double *x, int64_t n)
{
    double top = 1;
    for (int64_t i = 0; i < n; i++)
        top = isfinite(x[i]) ? fmax(top, fabs(x[i])) : top;
    return top;
}

static bool same_data(const struct slice *a, const struct slice *b)
{
    return memcmp(a->all.data, b->all.data, (size_t)nf_tensor_count(&a->all) * nf_dtype_size(a->all.dtype)) == 0;
}

static void try_forward(struct rig rigs[2], struct rig *dry, const struct setting *s, const struct place *p, const char *what)
{
    const struct nf_act_arg act = acts[s->act];
    const bool gated = ref_gated(&act);
    const int64_t F = gated ? s->N / 2 : s->N, rows = p->rows;
    double *vx, *vw, *vb;
    struct slice x = slice_random(s->type, rows, s->K, 2, s->K + 3, 1, 41, &vx);
    struct slice w = slice_random(s->type, 1, s->E * s->N * s->K, 0, s->E * s->N * s->K, 1, 42, &vw);
    struct slice b = slice_random(s->type, s->E, s->N, 0, s->N, 1, 43, &vb);
    double *w3 = weight_by_rows(s, vw), *pre = grab(rows * s->N, sizeof *pre), *y = grab(rows * F, sizeof *y);
    float *rw = grab(rows, sizeof *rw);
    const nf_tensor cube = cube_of(s, &w);
    struct slice got_y[2], got_pre[2];

    fill_outside(&x, p, NAN);
    fill_random(rw, rows, 1, 44);
    for (int64_t i = 0; i < rows; i++) {
        const int e = p->owner[i];
        for (int64_t n = 0; e >= 0 && n < s->N; n++) {
            double sum = s->bias ? vb[e * s->N + n] : 0;
            for (int64_t k = 0; k < s->K; k++)
                sum += vx[i * s->K + k] * w3[(e * s->N + n) * s->K + k];
            pre[i * s->N + n] = sum;
        }
        for (int64_t j = 0; e >= 0 && j < F; j++)
            y[i * F + j] =
                (s->weighted ? (double)rw[i] : 1) * ref_act(&act, pre[i * s->N + j], gated ? pre[i * s->N + F + j] : 0);
        if (e < 0)
            rw[i] = NAN;
    }
    const double top = largest(pre, rows * s->N);
    for (int r = 0; r < 2; r++) {
        const struct nf_grouped_arg arg = {.act = act,
                                           .bias = s->bias ? &b.t : NULL,
                                           .row_weight = s->weighted ? rw : NULL,
                                           .in_out = s->in_out,
                                           .backend = (enum nf_experts)s->backend};
        got_y[r] = output(s->type, p, F);
        got_pre[r] = output(s->type, p, s->N);
        must(nf_grouped_linear(rigs[r].q, &got_y[r].t, s->pre ? &got_pre[r].t : NULL, &x.t, &cube, &p->groups, &arg), what);
        if (r == 0)
            must(nf_grouped_linear(dry->q, &got_y[r].t, s->pre ? &got_pre[r].t : NULL, &x.t, &cube, &p->groups, &arg), what);
    }
    hold(&got_y[0], y, p, bound_of(s, s->K), top, what, "y");
    if (s->pre)
        hold(&got_pre[0], pre, p, bound_of(s, s->K), 1, what, "pre");
    tap_ok(same_data(&got_y[0], &got_y[1]) && same_data(&got_pre[0], &got_pre[1]), "%s: y: two threads, same bits", what);

    struct slice *all[] = {&x, &w, &b, &got_y[0], &got_y[1], &got_pre[0], &got_pre[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    free(vx), free(vw), free(vb), free(w3), free(pre), free(y), free(rw);
}

static void try_dgrad(struct rig rigs[2], struct rig *dry, const struct setting *s, const struct place *p, const char *what)
{
    const struct nf_act_arg act = acts[s->act];
    const bool gated = ref_gated(&act), with_pre = s->pre || act.kind != NF_ACT_NONE;
    const int64_t in = gated ? 2 * s->K : s->K, rows = p->rows;
    double *vdy, *vw, *vpre, *vb;
    struct slice dy = slice_random(s->type, rows, s->N, 2, s->N + 3, 1, 51, &vdy);
    struct slice w = slice_random(s->type, 1, s->E * s->N * s->K, 0, s->E * s->N * s->K, 1, 52, &vw);
    struct slice pre = slice_random(s->type, rows, in, 0, in + 1, 1.5, 53, &vpre);
    struct slice b = slice_random(s->type, s->E, s->N, 0, s->N, 1, 54, &vb);
    double *w3 = weight_by_rows(s, vw), *dx = grab(rows * in, sizeof *dx), *again = grab(rows * s->K, sizeof *again);
    double *drw = grab(rows, sizeof *drw), dot_size = 1;
    float *rw = grab(rows, sizeof *rw), *got_drw[2];
    const nf_tensor cube = cube_of(s, &w);
    struct slice got[2], act_again[2];

    fill_outside(&dy, p, NAN);
    fill_outside(&pre, p, NAN);
    fill_random(rw, rows, 1, 55);
    for (int64_t i = 0; i < rows; i++) {
        const int e = p->owner[i];
        double size = 0;
        for (int64_t k = 0; e >= 0 && k < s->K; k++) {
            double g = 0, u = vpre[i * in + k], v = gated ? vpre[i * in + s->K + k] : 0, du, dv;
            for (int64_t n = 0; n < s->N; n++)
                g += vdy[i * s->N + n] * w3[(e * s->N + n) * s->K + k];
            again[i * s->K + k] = ref_act(&act, u, v);
            drw[i] += g * again[i * s->K + k];
            size += fabs(g * again[i * s->K + k]);
            ref_act_grad(&act, (s->weighted ? (double)rw[i] : 1) * g, u, v, &du, &dv);
            dx[i * in + k] = du;
            if (gated)
                dx[i * in + s->K + k] = dv;
        }
        for (int64_t n = 0; e >= 0 && s->bias && n < s->N; n++)
            drw[i] += vdy[i * s->N + n] * vb[e * s->N + n];
        dot_size = fmax(dot_size, size);
        if (e < 0)
            rw[i] = NAN;
    }
    for (int r = 0; r < 2; r++) {
        const struct nf_grouped_arg arg = {.act = act,
                                           .bias = s->bias ? &b.t : NULL,
                                           .row_weight = s->weighted ? rw : NULL,
                                           .in_out = s->in_out,
                                           .backend = (enum nf_experts)s->backend};
        nf_in at_pre = with_pre ? &pre.t : NULL;
        got[r] = output(s->type, p, in);
        act_again[r] = output(s->type, p, s->K);
        got_drw[r] = grab(rows, sizeof(float));
        fill_value(got_drw[r], rows, POISON);
        float *want_drw = s->pre ? got_drw[r] : NULL;
        nf_out want_again = s->pre ? &act_again[r].t : NULL;
        must(nf_grouped_dgrad(rigs[r].q, &got[r].t, want_again, want_drw, &dy.t, &cube, at_pre, &p->groups, &arg), what);
        if (r == 0)
            must(nf_grouped_dgrad(dry->q, &got[r].t, want_again, want_drw, &dy.t, &cube, at_pre, &p->groups, &arg), what);
    }
    hold(&got[0], dx, p, bound_of(s, s->N), 1, what, "dx");
    bool untouched = true;
    for (int64_t i = 0; i < rows; i++)
        if (p->owner[i] < 0) {
            untouched &= got_drw[0][i] == POISON;
            drw[i] = (double)POISON;
        }
    if (s->pre) {
        hold(&act_again[0], again, p, bound_of(s, 1), 1, what, "act_again");
        near(got_drw[0], drw, rows, dot_size, ROUND_F32 * (8 + 2 * sqrt((double)s->N)), what, "drow_weight");
        tap_ok(untouched, "%s: drow_weight outside the groups untouched", what);
    }
    tap_ok(same_data(&got[0], &got[1]) && same_data(&act_again[0], &act_again[1]) && same_bits(got_drw[0], got_drw[1], rows),
           "%s: dx: two threads, same bits", what);

    struct slice *all[] = {&dy, &w, &pre, &b, &got[0], &got[1], &act_again[0], &act_again[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    free(vdy), free(vw), free(vpre), free(vb), free(w3), free(dx), free(again), free(drw), free(rw);
    free(got_drw[0]), free(got_drw[1]);
}

static void try_wgrad(struct rig rigs[2], struct rig *dry, const struct setting *s, const struct place *p, bool accumulate,
                      const char *what)
{
    const int64_t rows = p->rows, all_w = s->E * s->N * s->K;
    double *vdy, *vx, *vw, *vb;
    struct slice dy = slice_random(s->type, rows, s->N, 2, s->N + 3, 1, 61, &vdy);
    struct slice x = slice_random(s->type, rows, s->K, 1, s->K + 1, 1, 62, &vx);
    float *rw = grab(rows, sizeof *rw);
    struct slice dw[2], db[2];

    fill_outside(&dy, p, NAN);
    fill_outside(&x, p, NAN);
    fill_random(rw, rows, 1, 63);
    for (int r = 0; r < 2; r++) {
        if (r)
            free(vw), free(vb);
        dw[r] = slice_random(s->type, 1, all_w, 0, all_w, 1, 64, &vw);
        db[r] = slice_random(s->type, s->E, s->N, 0, s->N, 1, 65, &vb);
        const nf_tensor cube = cube_of(s, &dw[r]);
        const nf_grad g = {cube, accumulate}, gb = {s->bias ? db[r].t : (nf_tensor){0}, accumulate};
        const struct nf_grouped_arg arg = {
            .row_weight = s->weighted ? rw : NULL, .in_out = s->in_out, .backend = (enum nf_experts)s->backend};
        must(nf_grouped_wgrad(rigs[r].q, g, gb, &dy.t, &x.t, &p->groups, &arg), what);
        if (r == 0)
            must(nf_grouped_wgrad(dry->q, g, gb, &dy.t, &x.t, &p->groups, &arg), what);
    }
    if (!accumulate) {
        memset(vw, 0, (size_t)all_w * sizeof *vw);
        memset(vb, 0, (size_t)(s->E * s->N) * sizeof *vb);
    }
    int64_t most = 1, count[8] = {0};
    for (int64_t i = 0; i < rows; i++) {
        const int64_t e = p->owner[i];
        if (e < 0)
            continue;
        const double by = s->weighted ? (double)rw[i] : 1;
        most = ++count[e] > most ? count[e] : most;
        for (int64_t n = 0; n < s->N; n++) {
            const double d = by * vdy[i * s->N + n];
            vb[e * s->N + n] += d;
            for (int64_t k = 0; k < s->K; k++)
                vw[s->in_out ? (e * s->K + k) * s->N + n : (e * s->N + n) * s->K + k] += d * vx[i * s->K + k];
        }
    }
    float *got = slice_get(&dw[0]);
    near(got, vw, all_w, 1, bound_of(s, most), what, "dw");
    free(got);
    if (s->bias) {
        got = slice_get(&db[0]);
        near(got, vb, s->E * s->N, 1, bound_of(s, most), what, "dbias");
        free(got);
    }
    tap_ok(same_data(&dw[0], &dw[1]) && same_data(&db[0], &db[1]), "%s: dw: two threads, same bits", what);
    struct slice *all[] = {&dy, &x, &dw[0], &dw[1], &db[0], &db[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    free(vdy), free(vx), free(vw), free(vb), free(rw);
}

static void refuses(struct rig *r)
{
    float data[64] = {0};
    int32_t begin = 0, end = 5, expert = 0;
    const struct nf_groups groups = {1, &begin, &end, &expert, 0};
    const nf_tensor x = nf_matrix(data, NF_F32, 4, 2, 2), w = nf_cube(data, NF_F32, 2, 3, 2),
                    y = nf_matrix(data, NF_F32, 4, 3, 3);

    tap_ok(nf_grouped_linear(r->q, &y, NULL, &x, &w, &groups, &(struct nf_grouped_arg){0}) == NF_EBUG,
           "a group beyond the rows is refused");
    nf_diagnosis_clear();
    end = 4;
    expert = 2;
    tap_ok(nf_grouped_linear(r->q, &y, NULL, &x, &w, &groups, &(struct nf_grouped_arg){0}) == NF_EBUG,
           "an expert that is not here is refused");
    nf_diagnosis_clear();
}

int main(void)
{
    struct rig rigs[2], dry = rig_dry();
    struct place *small = place_new(1), *large = place_new(5);
    char what[160];

    tap_open();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    for (int backend = 0; backend < 3; backend++)
        for (int a = 0; a < 4; a++)
            for (int v = 0; v < 8; v++) {
                struct setting s = {.act = a,
                                    .backend = backend,
                                    .in_out = (v & 1) != 0,
                                    .weighted = (v & 2) != 0,
                                    .bias = v >= 3,
                                    .pre = (v & 5) != 1,
                                    .type = v == 6 || v == 3 ? NF_BF16 : NF_F32,
                                    .E = v == 7 ? 9 : 5,
                                    .N = v == 5 ? 820 : 34,
                                    .K = v == 4 ? 790 : 21};
                const struct place *p = v == 7 ? large : small;
                snprintf(what, sizeof what, "%s act %d%s%s%s%s %s E %lld N %lld K %lld rows %lld", backend_names[backend], a,
                         s.in_out ? " in-out" : "", s.weighted ? " weighted" : "", s.bias ? " bias" : "", s.pre ? " pre" : "",
                         nf_dtype_name(s.type), (long long)s.E, (long long)s.N, (long long)s.K, (long long)p->rows);
                try_forward(rigs, &dry, &s, p, what);
                try_dgrad(rigs, &dry, &s, p, what);
                if (a == 0) {
                    try_wgrad(rigs, &dry, &s, p, false, what);
                    try_wgrad(rigs, &dry, &s, p, true, what);
                }
            }
    refuses(&rigs[0]);
    tap_ok(rig_within(&rigs[0]) && rig_within(&rigs[1]), "scratch stays within what was taken");
    tap_ok(nf_arena_peak(dry.work) == nf_arena_peak(rigs[0].work), "the dry run sees the same scratch");
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    rig_close(&dry);
    place_free(small);
    place_free(large);
    return tap_done();
}
