/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_adamw.c: the update over several steps against fp64 (decay and none, padding between pieces untouched, clipping, skipping,
 * bf16 weights with fp32 master, bf16 gradients), the decision, sums of squares, cast, add and fill.
 */
#include "ref.h"

enum { N = 40000, STEPS = 5 };

static void updates(struct rig rigs[2], bool half, bool half_grad)
{
    static const struct nf_adamw_piece piece[] = {{.flat = 0, .count = 7, .decay = true},
                                                  {.flat = 64, .count = 20000, .decay = false},
                                                  {.flat = 20096, .count = 0},
                                                  {.flat = 20096, .count = N - 20096 - 5, .decay = true}};
    const struct nf_adamw_arg arg = {0.9, 0.95, 1e-8, 0.1, NF_STATE_FP32, 1};
    const char *what = half ? "bf16 weights" : "fp32 weights";
    double *w = grab(N, sizeof *w), *m = grab(N, sizeof *m), *v = grab(N, sizeof *v);
    float *fw[2], *fm[2], *fv[2], *g = grab(N, sizeof *g);
    uint16_t *hw[2], *hg = grab(N, sizeof *hg);
    unsigned char *in = grab(N, 1); /* 1: in a piece, 2: decays */

    for (int p = 0; p < 4; p++)
        for (int64_t i = 0; i < piece[p].count; i++)
            in[piece[p].flat + i] = piece[p].decay ? 2 : 1;
    for (int r = 0; r < 2; r++) {
        fw[r] = grab(N, sizeof(float)), fm[r] = grab(N, sizeof(float)), fv[r] = grab(N, sizeof(float));
        hw[r] = grab(N, sizeof(uint16_t));
        fill_random(fw[r], N, 1, 1);
    }
    for (int i = 0; i < N; i++)
        w[i] = (double)fw[0][i];
    for (int step = 1; step <= STEPS; step++) {
        const bool skip = step == 3;
        const int t = step < 3 ? step : step - 1;
        const struct nf_step_vars vars = {.lr = 1e-2f / (float)step};
        const struct nf_decision decision = {.clip_scale = 0.5f, .skip = skip, .t = t};
        fill_random(g, N, 1e-2, (uint64_t)step + 10);
        for (int i = 0; i < N; i++) {
            hg[i] = nf_f32_to_bf16(g[i]);
            g[i] = half_grad ? nf_bf16_to_f32(hg[i]) : g[i];
        }
        for (int r = 0; r < 2; r++) {
            const struct nf_adamw_run run = {.w = nf_vector(half ? (void *)hw[r] : (void *)fw[r], half ? NF_BF16 : NF_F32, N),
                                             .master = nf_vector(fw[r], NF_F32, N),
                                             .m = nf_vector(fm[r], NF_F32, N),
                                             .v = nf_vector(fv[r], NF_F32, N),
                                             .g =
                                                 nf_vector(half_grad ? (void *)hg : (void *)g, half_grad ? NF_BF16 : NF_F32, N),
                                             .piece = piece,
                                             .pieces = 4};
            must(nf_adamw(rigs[r].q, &run, &arg, &vars, &decision), what);
        }
        for (int i = 0; !skip && i < N; i++) {
            if (!in[i])
                continue;
            const double gi = 0.5 * (double)g[i], lr = (double)vars.lr;
            m[i] = 0.9 * m[i] + 0.1 * gi;
            v[i] = 0.95 * v[i] + 0.05 * gi * gi;
            w[i] -= in[i] == 2 ? lr * 0.1 * w[i] : 0;
            w[i] -= lr * (m[i] / (1 - pow(0.9, t))) / (sqrt(v[i] / (1 - pow(0.95, t))) + 1e-8);
        }
    }
    /* every step rounds each of them a few times */
    near(fw[0], w, N, 0, STEPS * 4 * ROUND_F32, what, "w");
    near(fm[0], m, N, 0, STEPS * 4 * ROUND_F32, what, "m");
    near(fv[0], v, N, 0, STEPS * 4 * ROUND_F32, what, "v");
    tap_ok(same_bits(fw[0], fw[1], N) && same_bits(fm[0], fm[1], N) && same_bits(fv[0], fv[1], N), "%s: two threads, same bits",
           what);
    long wrong = 0;
    for (int i = 0; i < N; i++)
        wrong += hw[0][i] != (half && in[i] ? nf_f32_to_bf16(fw[0][i]) : 0);
    tap_ok(wrong == 0, "%s: bf16 weights are the rounded master, and nothing else", what);
    for (int r = 0; r < 2; r++)
        free(fw[r]), free(fm[r]), free(fv[r]), free(hw[r]);
    free(w), free(m), free(v), free(g), free(hg), free(in);
}

static void decisions(struct rig *r)
{
    const double fine[4] = {9.0, 2.0, 0.5, 0.25};
    struct nf_decision d = {.t = 4};

    must(nf_decide(r->q, &d, fine, 1.5), "decide");
    tap_ok(!d.skip && d.t == 5 && fabs((double)d.clip_scale - 1.5 / (3 + 1e-6)) < ROUND_F32, "clipped: scale is clip / norm");
    tap_ok(d.norm_sq == 9.0 && d.loss == 2.0 && d.mtp_loss == 0.5 && d.aux_loss == 0.25, "what was reduced is kept");
    must(nf_decide(r->q, &d, fine, 4.0), "decide");
    tap_ok(d.clip_scale == 1.0f && d.t == 6, "a norm below the limit is left alone");
    must(nf_decide(r->q, &d, fine, 0.0), "decide");
    tap_ok(d.clip_scale == 1.0f && d.t == 7, "clip = 0 does not clip");
    for (int k = 0; k < 4; k++) {
        double bad[4] = {9.0, 2.0, 0.5, 0.25};
        bad[k] = k % 2 ? NAN : INFINITY;
        must(nf_decide(r->q, &d, bad, 1.0), "decide");
        tap_ok(d.skip == 1 && d.t == 7, "number %d not finite: skipped, t stays", k);
    }
    must(nf_decide(r->q, &d, fine, 1.0), "decide");
    tap_ok(d.skip == 0 && d.t == 8, "and goes on afterwards");
}

static void squares(struct rig rigs[2])
{
    enum { LONG = 200001 };
    float *x = grab(LONG, sizeof *x);
    uint16_t *h = grab(LONG, sizeof *h);
    fill_random(x, LONG, 1, 21);

    for (int type = 0; type < 2; type++) {
        long double exact = 3.0L;
        double got[2] = {3.0, 3.0};
        for (int i = 0; i < LONG; i++) {
            h[i] = nf_f32_to_bf16(x[i]);
            const double v = type ? (double)nf_bf16_to_f32(h[i]) : (double)x[i];
            exact += (long double)v * v;
        }
        const double want = (double)exact;
        const nf_tensor t = nf_vector(type ? (void *)h : (void *)x, type ? NF_BF16 : NF_F32, LONG);
        for (int r = 0; r < 2; r++)
            must(nf_sumsq(rigs[r].q, &got[r], &t), "sumsq");
        /* no element goes through more than a piece's additions; squares of fp32 do not round evenly */
        tap_ok(fabs(got[0] - want) <= want * 0x1p-53 * (65536 + 4), "sumsq of %s in fp64, added to what was there",
               nf_dtype_name(t.dtype));
        tap_ok(got[0] == got[1], "sumsq: two threads, same bits");
    }
    double none = 1.0;
    const nf_tensor empty = nf_vector(x, NF_F32, 0);
    must(nf_sumsq(rigs[0].q, &none, &empty), "sumsq of nothing");
    tap_ok(none == 1.0, "sumsq of nothing adds nothing");
    free(x), free(h);
}

static void flats(struct rig rigs[2])
{
    enum { R = 7, C = 33 };
    double *va, *vb;
    struct slice a = slice_random(NF_F32, R, C, 1, C + 2, 1, 31, &va), b = slice_random(NF_F32, R, C, 0, C + 1, 1, 32, &vb);

    for (int type = 0; type < 2; type++) {
        const nf_dtype t = type ? NF_BF16 : NF_F32;
        const double half = type ? ROUND_BF16 : 0;
        struct slice y = slice_new(t, R, C, 2, C + 2, NULL), z = slice_new(NF_F32, R, C, 2, C + 2, NULL);
        must(nf_cast(rigs[type].q, &y.t, &a.t), "cast");
        slice_near(&y, va, 1, half, nf_dtype_name(t), "cast from fp32");
        must(nf_cast(rigs[type].q, &z.t, &y.t), "cast back");
        float *back = slice_get(&y);
        double *exact = widen(back, R * C);
        slice_near(&z, exact, 1, 0, nf_dtype_name(t), "cast to fp32 is exact");
        struct slice c = slice_new(t, R, C, 0, C, NULL);
        must(nf_cast(rigs[type].q, &c.t, &b.t), "cast");
        must(nf_add(rigs[type].q, &y.t, &y.t, &c.t), "add in place");
        for (int i = 0; i < R * C; i++)
            exact[i] = va[i] + vb[i];
        slice_near(&y, exact, 1, 2 * half + ROUND_F32, nf_dtype_name(t), "add");
        must(nf_fill(rigs[type].q, &y.t, 0.375f), "fill");
        for (int i = 0; i < R * C; i++)
            exact[i] = 0.375;
        slice_near(&y, exact, 1, 0, nf_dtype_name(t), "fill");
        free(back), free(exact), slice_free(&y), slice_free(&z), slice_free(&c);
    }
    uint16_t h[3] = {0x3c00, 0xc500, 0x0001}, back[3]; /* fp16: 1, -5, the smallest subnormal number */
    float f[3];
    const nf_tensor th = nf_vector(h, NF_F16, 3), tf = nf_vector(f, NF_F32, 3), tb = nf_vector(back, NF_F16, 3);
    must(nf_cast(rigs[0].q, &tf, &th), "cast from fp16");
    must(nf_cast(rigs[0].q, &tb, &tf), "cast to fp16");
    tap_ok(f[0] == 1.0f && f[1] == -5.0f && f[2] == 0x1p-24f && memcmp(h, back, sizeof h) == 0, "fp16 there and back");
    tap_ok(nf_add(rigs[0].q, &tf, &tf, &th) == NF_EBUG, "a sum of two types is refused");
    nf_diagnosis_clear();
    slice_free(&a), slice_free(&b);
    free(va), free(vb);
}

int main(void)
{
    struct rig rigs[2];

    tap_open();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    updates(rigs, false, false);
    updates(rigs, true, true);
    decisions(&rigs[0]);
    squares(rigs);
    flats(rigs);
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    return tap_done();
}
