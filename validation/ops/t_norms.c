/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_norms.c: residual sum with RMSNorm, and the gated group norm. Forward, backward, in place, without branch, accumulating,
 * without weight gradient, column slices, fp32 and bf16, odd sizes, one and two threads with the same bits.
 */
#include "ref.h"

/* Sums of n squares, a root and a few products; a bf16 result is rounded once more, and its operands were (the sum). */
static double bound_of(nf_dtype type, int64_t n)
{
    return type == NF_BF16 ? 2 * ROUND_BF16 : ROUND_F32 * (8 + sqrt((double)n));
}

/* ---- references ---------------------------------------------------------------------------------------------------------- */

/* x of T rows in `groups` groups: xhat w, and the gradient of sum(gy y). With z: x = y silu(z) before. */
struct norm {
    int64_t T, H;
    int groups;
    double eps, *y, *z, *w, *gy, *out, *dy, *dz, *dw, *rstd;
};

static double gate(const struct norm *s, int64_t i)
{
    return s->z ? s->y[i] * ref_silu(s->z[i]) : s->y[i];
}

static double forward(void *ctx)
{
    struct norm *s = ctx;
    const int64_t n = s->H / s->groups;
    double loss = 0;

    for (int64_t r = 0; r < s->T * s->groups; r++) {
        double sq = 0;
        for (int64_t j = 0; j < n; j++)
            sq += gate(s, r * n + j) * gate(s, r * n + j);
        s->rstd[r] = 1 / sqrt(sq / (double)n + s->eps);
        for (int64_t j = 0; j < n; j++) {
            const int64_t i = r * n + j;
            s->out[i] = gate(s, i) * s->rstd[r] * s->w[i % s->H];
            loss += s->gy[i] * s->out[i];
        }
    }
    return loss;
}

static void backward(struct norm *s)
{
    const int64_t n = s->H / s->groups;

    for (int64_t r = 0; r < s->T * s->groups; r++) {
        double mean = 0;
        for (int64_t j = 0; j < n; j++) {
            const int64_t i = r * n + j;
            mean += s->w[i % s->H] * s->gy[i] * gate(s, i) * s->rstd[r] / (double)n;
        }
        for (int64_t j = 0; j < n; j++) {
            const int64_t i = r * n + j;
            const double hat = gate(s, i) * s->rstd[r], dg = s->rstd[r] * (s->w[i % s->H] * s->gy[i] - hat * mean);
            s->dw[i % s->H] += s->gy[i] * hat;
            s->dy[i] = s->z ? dg * ref_silu(s->z[i]) : dg;
            if (s->z)
                s->dz[i] = dg * s->y[i] * ref_silu_grad(s->z[i]);
        }
    }
}

static struct norm norm_new(int64_t T, int64_t H, int groups, double eps)
{
    struct norm s = {.T = T, .H = H, .groups = groups, .eps = eps};
    s.out = grab(T * H, sizeof(double));
    s.dy = grab(T * H, sizeof(double));
    s.dz = grab(T * H, sizeof(double));
    s.dw = grab(H, sizeof(double));
    s.rstd = grab(T * groups, sizeof(double));
    return s;
}

static void norm_free(struct norm *s)
{
    free(s->y), free(s->z), free(s->w), free(s->gy), free(s->out), free(s->dy), free(s->dz), free(s->dw), free(s->rstd);
}

static void references_hold(void)
{
    for (int gated = 0; gated < 2; gated++) {
        struct norm s = norm_new(3, 12, gated ? 3 : 1, 1e-3);
        s.y = doubles(36, 1, 1);
        s.z = gated ? doubles(36, 2, 2) : NULL;
        s.w = doubles(12, 1, 3);
        s.gy = doubles(36, 1, 4);
        forward(&s);
        backward(&s);
        tap_ok(ref_differences(forward, &s, s.y, 36, s.dy) < DIFFERENCES, "reference %d: dy is the differences'", gated);
        tap_ok(ref_differences(forward, &s, s.w, 12, s.dw) < DIFFERENCES, "reference %d: dw is the differences'", gated);
        if (gated)
            tap_ok(ref_differences(forward, &s, s.z, 36, s.dz) < DIFFERENCES, "reference: dz is the differences'");
        norm_free(&s);
    }
}

/* ---- helpers --------------------------------------------------------------------------------------------------------------
 */

static bool same_data(const struct slice *a, const struct slice *b)
{
    const size_t bytes = (size_t)nf_tensor_count(&a->all) * nf_dtype_size(a->all.dtype);
    return bytes == 0 || memcmp(a->all.data, b->all.data, bytes) == 0;
}

static double *rounded(nf_dtype type, double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = type == NF_BF16 ? (double)nf_bf16_to_f32(nf_f32_to_bf16((float)x[i])) : (double)(float)x[i];
    return x;
}

static nf_grad grad_of(struct slice *s, int64_t n, bool wanted, bool accumulate)
{
    return (nf_grad){wanted ? nf_vector(s->all.data, s->all.dtype, n) : (nf_tensor){0}, accumulate};
}

/* ---- the ops --------------------------------------------------------------------------------------------------------------
 */

enum place { BRANCH_NONE, APART, OVER_PREV, OVER_BRANCH };

static void try_add_norm(struct rig rigs[2], struct rig *dry, int64_t T, int64_t H, enum place place, nf_dtype type,
                         enum nf_norm_rounding rounding, bool accumulate, bool want_dw)
{
    const double eps = 1e-3;
    char what[128];
    struct norm s = norm_new(T, H, 1, eps);
    double *vprev, *vbranch, *old, *old_w;
    struct slice w = slice_random(type, 1, H, 0, H, 1, 73, &s.w), gy = slice_random(type, T, H, 2, H + 2, 1, 74, &s.gy);
    struct slice stream[2], y[2], dx[2], dw[2];
    float *rstd[2];

    snprintf(what, sizeof what, "add_norm %lld x %lld place %d %s rounding %d%s", (long long)T, (long long)H, (int)place,
             nf_dtype_name(type), (int)rounding, accumulate ? " accumulate" : "");
    for (int r = 0; r < 2; r++) {
        if (r)
            free(vprev), free(vbranch), free(old), free(old_w);
        struct slice prev = slice_random(type, T, H, 1, H + 3, 1, 71, &vprev);
        struct slice branch = slice_random(type, T, H, 0, H + 1, 1, 72, &vbranch);
        struct slice apart = slice_new(type, T, H, 0, H + 2, NULL);
        const nf_tensor wv = nf_vector(w.all.data, type, H);
        struct slice *to = place == OVER_PREV || place == BRANCH_NONE ? &prev : place == OVER_BRANCH ? &branch : &apart;
        y[r] = slice_new(type, T, H, 3, H + 3, NULL);
        rstd[r] = grab(T, sizeof(float));
        for (int d = 0; d <= (r == 0); d++)
            must(nf_add_norm(d ? dry->q : rigs[r].q, place == BRANCH_NONE ? NULL : &to->t, &y[r].t, rstd[r], &prev.t,
                             place == BRANCH_NONE ? NULL : &branch.t, &wv, eps, rounding),
                 what);
        dx[r] = slice_random(type, T, H, 1, H + 1, 1, 75, &old);
        dw[r] = slice_random(NF_F32, 1, H, 0, H, 1, 76, &old_w);
        for (int d = 0; d <= (r == 0); d++)
            must(nf_add_norm_bwd(d ? dry->q : rigs[r].q, &dx[r].t, accumulate, grad_of(&dw[r], H, want_dw, accumulate), &gy.t,
                                 &to->t, rstd[r], &wv),
                 what);
        stream[r] = *to;
        if (to != &prev)
            slice_free(&prev);
        if (to != &branch)
            slice_free(&branch);
        if (to != &apart)
            slice_free(&apart);
    }
    s.y = grab(T * H, sizeof(double));
    for (int64_t i = 0; i < T * H; i++)
        s.y[i] = vprev[i] + (place == BRANCH_NONE ? 0 : vbranch[i]);
    rounded(type, s.y, T * H); /* the norm is of the sum as stored */
    forward(&s);
    backward(&s);
    for (int64_t i = 0; accumulate && i < T * H; i++)
        s.dy[i] += old[i];
    for (int64_t j = 0; j < H; j++)
        s.dw[j] = want_dw ? s.dw[j] + (accumulate ? old_w[j] : 0) : old_w[j];
    slice_near(&stream[0], s.y, 1, 0, what, "stream is the rounded sum");
    slice_near(&y[0], s.out, 1, bound_of(type, H), what, "y");
    near(rstd[0], s.rstd, T, 0, ROUND_F32 * (4 + sqrt((double)H)), what, "rstd");
    slice_near(&dx[0], s.dy, 1, bound_of(type, H), what, "dstream");
    slice_near(&dw[0], s.dw, 1, ROUND_F32 * (8 + 2 * sqrt((double)H) + 2 * sqrt((double)T)), what, "dw");
    tap_ok(same_data(&stream[0], &stream[1]) && same_data(&y[0], &y[1]) && same_data(&dx[0], &dx[1]) &&
               same_data(&dw[0], &dw[1]),
           "%s: two threads, same bits", what);
    for (int r = 0; r < 2; r++) {
        slice_free(&stream[r]), slice_free(&y[r]), slice_free(&dx[r]), slice_free(&dw[r]);
        free(rstd[r]);
    }
    slice_free(&w), slice_free(&gy);
    free(vprev), free(vbranch), free(old), free(old_w);
    norm_free(&s);
}

/* rounding = NF_ROUND_XHAT gives exactly bf16(bf16(xhat) w) where xhat is far from a tie; counted as equal bits. */
static void rounds_xhat(struct rig *r)
{
    enum { H = 64 };
    float x[H], w[H];
    uint16_t hx[H], hw[H], hy[2][H];
    float rstd;
    int as_said[2] = {0, 0};
    const nf_tensor tx = nf_matrix(hx, NF_BF16, 1, H, H), tw = nf_vector(hw, NF_BF16, H);

    fill_random(x, H, 1, 81);
    fill_random(w, H, 1, 82);
    for (int j = 0; j < H; j++) {
        hx[j] = nf_f32_to_bf16(x[j]);
        hw[j] = nf_f32_to_bf16(w[j]);
    }
    for (int k = 0; k < 2; k++) {
        const nf_tensor ty = nf_matrix(hy[k], NF_BF16, 1, H, H);
        must(nf_add_norm(r->q, NULL, &ty, &rstd, &tx, NULL, &tw, 1e-5, k ? NF_ROUND_ONCE : NF_ROUND_XHAT), "rounding");
        for (int j = 0; j < H; j++) {
            float hat = nf_bf16_to_f32(hx[j]) * rstd;
            if (!k)
                hat = nf_bf16_to_f32(nf_f32_to_bf16(hat));
            as_said[k] += hy[k][j] == nf_f32_to_bf16(hat * nf_bf16_to_f32(hw[j]));
        }
    }
    tap_ok(as_said[0] == H, "NF_ROUND_XHAT rounds before the weight");
    tap_ok(as_said[1] == H, "NF_ROUND_ONCE rounds after it");
    tap_ok(memcmp(hy[0], hy[1], sizeof hy[0]) != 0, "and that is not the same");
}

static void try_gated(struct rig rigs[2], struct rig *dry, int64_t T, int64_t I, int groups, nf_dtype type, bool accumulate,
                      bool want_dw, bool want_again)
{
    char what[128];
    struct norm s = norm_new(T, I, groups, 1e-3);
    double *old_w;
    struct slice w = slice_random(type, 1, I, 0, I, 1, 83, &s.w), gy = slice_random(type, T, I, 2, I + 2, 1, 84, &s.gy);
    struct slice y = slice_random(type, T, I, 1, I + 4, 1, 85, &s.y), z = slice_random(type, T, I, 4, I + 4, 3, 86, &s.z);
    struct slice o[2], dy[2], dz[2], again[2], dw[2];
    float *rstd[2];
    const nf_tensor wv = nf_vector(w.all.data, type, I);

    snprintf(what, sizeof what, "gated_norm %lld x %lld / %d %s%s", (long long)T, (long long)I, groups, nf_dtype_name(type),
             accumulate ? " accumulate" : "");
    for (int r = 0; r < 2; r++) {
        o[r] = slice_new(type, T, I, 0, I + 1, NULL);
        dy[r] = slice_new(type, T, I, 1, I + 1, NULL);
        dz[r] = slice_new(type, T, I, 2, I + 5, NULL);
        again[r] = slice_new(type, T, I, 0, I, NULL);
        rstd[r] = grab(T * groups, sizeof(float));
        if (r)
            free(old_w);
        dw[r] = slice_random(NF_F32, 1, I, 0, I, 1, 87, &old_w);
        for (int d = 0; d <= (r == 0); d++) {
            nf_queue *q = d ? dry->q : rigs[r].q;
            must(nf_gated_norm(q, &o[r].t, rstd[r], &y.t, &z.t, &wv, groups, s.eps), what);
            must(nf_gated_norm_bwd(q, &dy[r].t, &dz[r].t, want_again ? &again[r].t : NULL,
                                   grad_of(&dw[r], I, want_dw, accumulate), &gy.t, &y.t, &z.t, rstd[r], &wv, groups),
                 what);
        }
    }
    forward(&s);
    backward(&s);
    for (int64_t j = 0; j < I; j++)
        s.dw[j] = want_dw ? s.dw[j] + (accumulate ? old_w[j] : 0) : old_w[j];
    slice_near(&o[0], s.out, 1, bound_of(type, I), what, "o");
    if (want_again)
        slice_near(&again[0], s.out, 1, bound_of(type, I), what, "o again");
    near(rstd[0], s.rstd, T * groups, 0, ROUND_F32 * (8 + sqrt((double)I)), what, "rstd");
    slice_near(&dy[0], s.dy, 1, bound_of(type, I), what, "dy");
    slice_near(&dz[0], s.dz, 1, bound_of(type, I), what, "dz");
    slice_near(&dw[0], s.dw, 1, ROUND_F32 * (8 + 2 * sqrt((double)I) + 2 * sqrt((double)T)), what, "dw");
    tap_ok(same_data(&o[0], &o[1]) && same_data(&dy[0], &dy[1]) && same_data(&dz[0], &dz[1]) && same_data(&dw[0], &dw[1]) &&
               same_data(&again[0], &again[1]),
           "%s: two threads, same bits", what);
    for (int r = 0; r < 2; r++) {
        slice_free(&o[r]), slice_free(&dy[r]), slice_free(&dz[r]), slice_free(&again[r]), slice_free(&dw[r]);
        free(rstd[r]);
    }
    slice_free(&w), slice_free(&gy), slice_free(&y), slice_free(&z);
    free(old_w);
    norm_free(&s);
}

int main(void)
{
    static const int64_t rows[] = {0, 1, 3, 17, 129, 700}, widths[] = {1, 24, 515};
    struct rig rigs[2], dry = rig_dry();

    tap_open();
    references_hold();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    for (size_t t = 0; t < sizeof rows / sizeof *rows; t++)
        for (size_t h = 0; h < sizeof widths / sizeof *widths; h++)
            for (int v = 0; v < 8; v++) {
                const nf_dtype type = v >= 6 ? NF_BF16 : NF_F32;
                try_add_norm(rigs, &dry, rows[t], widths[h], (enum place)(v % 4), type, v & 1 ? NF_ROUND_ONCE : NF_ROUND_XHAT,
                             (v & 1) != 0, v != 2);
                if (v < 4)
                    try_gated(rigs, &dry, rows[t], h == 2 ? 516 : 12 * widths[h], v % 2 ? 4 : 1, v == 3 ? NF_BF16 : NF_F32,
                              v == 1, v != 2, v != 0);
            }
    rounds_xhat(&rigs[0]);
    tap_ok(rig_within(&rigs[0]) && rig_within(&rigs[1]), "scratch stays within what was taken");
    tap_ok(nf_arena_peak(dry.work) == nf_arena_peak(rigs[0].work), "the dry run sees the same scratch");
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    rig_close(&dry);
    return tap_done();
}
