/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_conv.c: causal convolution with SiLU and its gradients: rows of a batch, segments, borders of the parts that tokens are cut
 * into, with and without bias, channel slices, fp32 and bf16, one and two threads with the same bits.
 */
#include "ref.h"

struct conv {
    int64_t B, S, C, K;
    const int32_t *segment;
    double *x, *w, *b, *gy, *y, *dx, *dw, *db;
};

static bool valid(const struct conv *s, int64_t from, int64_t t)
{
    return from >= 0 && from / s->S == t / s->S && (!s->segment || s->segment[from] == s->segment[t]);
}

static double before(const struct conv *s, int64_t t, int64_t c)
{
    double a = s->b ? s->b[c] : 0;
    for (int64_t m = 0; m < s->K; m++)
        if (valid(s, t - s->K + 1 + m, t))
            a += s->w[c * s->K + m] * s->x[(t - s->K + 1 + m) * s->C + c];
    return a;
}

static double forward(void *ctx)
{
    struct conv *s = ctx;
    double loss = 0;
    for (int64_t t = 0; t < s->B * s->S; t++)
        for (int64_t c = 0; c < s->C; c++) {
            s->y[t * s->C + c] = ref_silu(before(s, t, c));
            loss += s->gy[t * s->C + c] * s->y[t * s->C + c];
        }
    return loss;
}

static void backward(struct conv *s)
{
    memset(s->dx, 0, (size_t)(s->B * s->S * s->C) * sizeof(double));
    for (int64_t t = 0; t < s->B * s->S; t++)
        for (int64_t c = 0; c < s->C; c++) {
            const double da = s->gy[t * s->C + c] * ref_silu_grad(before(s, t, c));
            s->db[c] += da;
            for (int64_t m = 0; m < s->K; m++) {
                const int64_t from = t - s->K + 1 + m;
                if (!valid(s, from, t))
                    continue;
                s->dx[from * s->C + c] += s->w[c * s->K + m] * da;
                s->dw[c * s->K + m] += da * s->x[from * s->C + c];
            }
        }
}

static void conv_free(struct conv *s)
{
    free(s->x), free(s->w), free(s->b), free(s->gy), free(s->y), free(s->dx), free(s->dw), free(s->db);
}

static void reference_holds(void)
{
    static const int32_t segment[14] = {1, 1, 1, 2, 2, 2, 0, 1, 2, 2, 2, 2, 2, 3};
    struct conv s = {.B = 2, .S = 7, .C = 3, .K = 4, .segment = segment};

    s.x = doubles(42, 1, 1);
    s.w = doubles(12, 1, 2);
    s.b = doubles(3, 1, 3);
    s.gy = doubles(42, 1, 4);
    s.y = grab(42, sizeof(double));
    s.dx = grab(42, sizeof(double));
    s.dw = grab(12, sizeof(double));
    s.db = grab(3, sizeof(double));
    backward(&s);
    tap_ok(ref_differences(forward, &s, s.x, 42, s.dx) < DIFFERENCES, "reference dx is the differences'");
    tap_ok(ref_differences(forward, &s, s.w, 12, s.dw) < DIFFERENCES, "reference dw is the differences'");
    tap_ok(ref_differences(forward, &s, s.b, 3, s.db) < DIFFERENCES, "reference db is the differences'");
    conv_free(&s);
}

static bool same_data(const struct slice *a, const struct slice *b)
{
    const size_t bytes = (size_t)nf_tensor_count(&a->all) * nf_dtype_size(a->all.dtype);
    return bytes == 0 || memcmp(a->all.data, b->all.data, bytes) == 0;
}

/* Lengths 1, 2, 3 ... of segments from the start of each row, then padding. */
static int32_t *segments(int64_t B, int64_t S, uint64_t seed)
{
    int32_t *seg = grab(B * S, sizeof *seg);
    uint64_t state = seed;

    for (int64_t r = 0; r < B; r++) {
        int32_t now = 1;
        for (int64_t t = 0; t < S; t++) {
            if (draw(&state) > 0.8)
                now++;
            seg[r * S + t] = t > S - 3 && S > 5 ? 0 : now;
        }
    }
    return seg;
}

static void attempt(struct rig rigs[2], struct rig *dry, int64_t B, int64_t S, int64_t C, int64_t K, bool with_segments,
                    bool bias, nf_dtype type, bool accumulate, bool want_dw)
{
    struct conv s = {.B = B, .S = S, .C = C, .K = K};
    const int64_t T = B * S;
    int32_t *seg = with_segments ? segments(B, S, 5) : NULL;
    const nf_seq seq = {B, S, seg, NULL};
    char what[128];
    double *old_w, *old_b, *vb;
    struct slice x = slice_random(type, T, C, 3, C + 4, 1, 91, &s.x), w = slice_random(type, C, K, 0, K, 1, 92, &s.w);
    struct slice gy = slice_random(type, T, C, 0, C + 2, 1, 93, &s.gy), b = slice_random(type, 1, C, 0, C, 1, 94, &vb);
    struct slice y[2], dx[2], dw[2], db[2];
    const nf_tensor bv = bias ? nf_vector(b.all.data, type, C) : (nf_tensor){0};

    snprintf(what, sizeof what, "conv %lld x %lld x %lld taps %lld%s%s %s%s", (long long)B, (long long)S, (long long)C,
             (long long)K, with_segments ? " segments" : "", bias ? " bias" : "", nf_dtype_name(type),
             accumulate ? " accumulate" : "");
    for (int r = 0; r < 2; r++) {
        if (r)
            free(old_w), free(old_b);
        y[r] = slice_new(type, T, C, 1, C + 1, NULL);
        dx[r] = slice_new(type, T, C, 2, C + 3, NULL);
        dw[r] = slice_random(NF_F32, C, K, 0, K, 1, 95, &old_w);
        db[r] = slice_random(NF_F32, 1, C, 0, C, 1, 96, &old_b);
        for (int d = 0; d <= (r == 0); d++) {
            nf_queue *q = d ? dry->q : rigs[r].q;
            const nf_grad gw = {want_dw ? dw[r].t : (nf_tensor){0}, accumulate};
            const nf_grad gb = {bias ? nf_vector(db[r].all.data, NF_F32, C) : (nf_tensor){0}, accumulate};
            must(nf_conv_silu(q, &y[r].t, &x.t, &w.t, bias ? &bv : NULL, &seq), what);
            must(nf_conv_silu_bwd(q, &dx[r].t, gw, gb, &gy.t, &x.t, &w.t, &bv, &seq), what);
        }
    }
    s.segment = seg;
    s.b = bias ? vb : NULL;
    s.y = grab(T * C, sizeof(double));
    s.dx = grab(T * C, sizeof(double));
    s.dw = grab(C * K, sizeof(double));
    s.db = grab(C, sizeof(double));
    forward(&s);
    backward(&s);
    for (int64_t i = 0; i < C * K; i++)
        s.dw[i] = want_dw ? s.dw[i] + (accumulate ? old_w[i] : 0) : old_w[i];
    for (int64_t i = 0; i < C; i++)
        s.db[i] = bias ? s.db[i] + (accumulate ? old_b[i] : 0) : old_b[i];
    /* a few products and an exponential; sums over T */
    const double few = 16 * ROUND_F32 + (type == NF_BF16 ? ROUND_BF16 : 0), sums = ROUND_F32 * (16 + 2 * sqrt((double)T));
    slice_near(&y[0], s.y, 1, few, what, "y");
    slice_near(&dx[0], s.dx, 1, few, what, "dx");
    slice_near(&dw[0], s.dw, 1, sums, what, "dw");
    slice_near(&db[0], s.db, 1, sums, what, "db");
    tap_ok(same_data(&y[0], &y[1]) && same_data(&dx[0], &dx[1]) && same_data(&dw[0], &dw[1]) && same_data(&db[0], &db[1]),
           "%s: two threads, same bits", what);
    for (int r = 0; r < 2; r++)
        slice_free(&y[r]), slice_free(&dx[r]), slice_free(&dw[r]), slice_free(&db[r]);
    slice_free(&x), slice_free(&w), slice_free(&gy), slice_free(&b);
    free(old_w), free(old_b), free(seg);
    if (!bias)
        free(vb);
    conv_free(&s);
}

int main(void)
{
    static const int64_t sizes[][4] = {{0, 8, 5, 4},    {1, 1, 1, 4},     {3, 2, 7, 4},    {2, 17, 20, 3},
                                       {1, 129, 33, 4}, {2, 400, 600, 4}, {5, 131, 16, 1}, {1, 258, 9, 9}};
    struct rig rigs[2], dry = rig_dry();

    tap_open();
    reference_holds();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
        for (int v = 0; v < 6; v++)
            attempt(rigs, &dry, sizes[z][0], sizes[z][1], sizes[z][2], sizes[z][3], (v & 1) != 0, (v & 2) != 0,
                    v >= 4 ? NF_BF16 : NF_F32, v == 3, v != 2);
    tap_ok(rig_within(&rigs[0]) && rig_within(&rigs[1]), "scratch stays within what was taken");
    tap_ok(nf_arena_peak(dry.work) == nf_arena_peak(rigs[0].work), "the dry run sees the same scratch");
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    rig_close(&dry);
    return tap_done();
}
