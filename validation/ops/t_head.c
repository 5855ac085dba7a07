/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Head and loss against fp64, gradients against formulas that are held against central differences first. Tolerances: logits
 * are sums of H products, each rounded at 2^-24 (32 units cover H = 100); bf16 results at 2^-8, once, with
 * however many tokens.
 */
#include "oprig.h"

struct shape {
    const char *what;
    int64_t T, V, H;
    int skip; /* every skip-th token is scored; 0: none */
    float spread, scale;
};

struct numbers {
    float *h, *w, *dh0, *dw0, scale;
    int32_t *target;
    double *H, *W, *DH, *DW, *TOKEN, loss;
};

static void reference(const struct shape *s, struct numbers *n, bool back)
{
    double *z = grab(s->V, sizeof *z);
    n->loss = 0.0;
    if (back) {
        memset(n->DH, 0, (size_t)(s->T * s->H) * sizeof(double));
        memset(n->DW, 0, (size_t)(s->V * s->H) * sizeof(double));
    }
    for (int64_t t = 0; t < s->T; t++) {
        double max = -INFINITY, sum = 0.0;
        n->TOKEN[t] = 0.0;
        if (n->target[t] == -100)
            continue;
        for (int64_t v = 0; v < s->V; v++) {
            z[v] = 0.0;
            for (int64_t c = 0; c < s->H; c++)
                z[v] += n->H[t * s->H + c] * n->W[v * s->H + c];
            max = z[v] > max ? z[v] : max;
        }
        for (int64_t v = 0; v < s->V; v++)
            sum += exp(z[v] - max);
        n->TOKEN[t] = max + log(sum) - z[n->target[t]];
        n->loss += (double)n->scale * n->TOKEN[t];
        for (int64_t v = 0; back && v < s->V; v++) {
            const double dz = (exp(z[v] - max) / sum - (v == n->target[t])) * (double)n->scale;
            for (int64_t c = 0; c < s->H; c++) {
                n->DH[t * s->H + c] += dz * n->W[v * s->H + c];
                n->DW[v * s->H + c] += dz * n->H[t * s->H + c];
            }
        }
    }
    free(z);
}

static struct numbers numbers_new(const struct shape *s, nf_dtype type)
{
    struct numbers n = {.scale = s->scale};
    n.h = grab(s->T * s->H, 4);
    n.w = grab(s->V * s->H, 4);
    n.target = grab(s->T, 4);
    fill_random(n.h, s->T * s->H, 1, 1);
    fill_random(n.w, s->V * s->H, s->spread, 2);
    for (int64_t i = 0; i < s->T * s->H && type == NF_BF16; i++)
        n.h[i] = nf_bf16_to_f32(nf_f32_to_bf16(n.h[i]));
    for (int64_t i = 0; i < s->V * s->H && type == NF_BF16; i++)
        n.w[i] = nf_bf16_to_f32(nf_f32_to_bf16(n.w[i]));
    for (int64_t t = 0; t < s->T; t++)
        n.target[t] = s->skip && t % s->skip == 0 ? (int32_t)((t * 7919 + s->V - 1) % s->V) : -100;
    n.H = widen(n.h, s->T * s->H);
    n.W = widen(n.w, s->V * s->H);
    n.DH = grab(s->T * s->H, sizeof(double));
    n.DW = grab(s->V * s->H, sizeof(double));
    n.TOKEN = grab(s->T, sizeof(double));
    reference(s, &n, true);
    return n;
}

static void numbers_free(struct numbers *n)
{
    void *all[] = {n->h, n->w, n->target, n->H, n->W, n->DH, n->DW, n->TOKEN};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static float *check_once(const struct shape *s, const struct numbers *n, nf_dtype type, struct rig *r, bool accumulate)
{
    struct slice h = slice_new(type, s->T, s->H, 1, s->H + 2, n->h), w = slice_new(type, s->V, s->H, 2, s->H + 3, n->w);
    struct slice dh = slice_new(type, s->T, s->H, 0, s->H + 1, NULL), dw = slice_new(type, s->V, s->H, 1, s->H + 4, NULL);
    float *token = grab(s->T, 4), *got;
    double loss = 0.25, other = 0.0, *want = grab(s->V * s->H, sizeof *want);
    const nf_grad grad = {dw.t, accumulate};
    const double e = type == NF_BF16 ? 1.0 / 256 : (32 + 2.0 * (double)s->spread * sqrt((double)s->H)) * 6e-8;
    char what[128];

    snprintf(what, sizeof what, "%s %s, %d thread%s%s", s->what, nf_dtype_name(type), nf_device_threads(r->device),
             nf_device_threads(r->device) > 1 ? "s" : "", accumulate ? ", added" : "");
    fill_value(token, s->T, 5.0f);
    must(nf_head_loss(r->q, &loss, token, &dh.t, grad, &h.t, &w.t, n->target, &n->scale), what);
    must(nf_head_loss(r->q, &other, NULL, NULL, (nf_grad){0}, &h.t, &w.t, n->target, &n->scale), what);
    tap_ok(fabs(loss - 0.25 - n->loss) <= 1e-6 * fabs(n->loss), "%s: loss, added to what was there", what);
    tap_ok(fabs(other - (loss - 0.25)) <= 1e-14 * fabs(loss), "%s: the same loss without gradients", what);
    near(token, n->TOKEN, s->T, 0, 1e-6, what, "loss of each token");
    got = slice_get(&dh);
    near(got, n->DH, s->T * s->H, 0, e, what, "dh");
    bool zero = true;
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t c = 0; c < s->H && n->target[t] == -100; c++)
            zero = zero && got[t * s->H + c] == 0.0f && token[t] == 0.0f;
    tap_ok(zero, "%s: nothing from tokens that are not scored", what);
    free(got);
    got = slice_get(&dw);
    for (int64_t i = 0; i < s->V * s->H; i++)
        want[i] = n->DW[i] + (accumulate ? -7.0 : 0.0);
    near(got, want, s->V * s->H, 0, e, what, "dw");
    tap_ok(slice_guarded(&dh) && slice_guarded(&dw), "%s: nothing written beside the slices", what);
    free(token);
    free(want);
    slice_free(&h);
    slice_free(&w);
    slice_free(&dh);
    slice_free(&dw);
    return got;
}

static void check_shape(const struct shape *s, nf_dtype type)
{
    struct numbers n = numbers_new(s, type);
    struct rig r = rig_open(1), two = rig_open(2), dry = rig_dry();
    float *a = check_once(s, &n, type, &r, false), *b = check_once(s, &n, type, &two, false);
    tap_ok(same_bits(a, b, s->V * s->H), "%s: same bits with one and two threads", s->what);
    free(b);
    free(check_once(s, &n, type, &r, true));
    free(a);
    nf_tensor h = nf_matrix(n.h, type, s->T, s->H, s->H), w = nf_matrix(n.w, type, s->V, s->H, s->H);
    const nf_grad grad = {w, false};
    double loss = 0.0;
    must(nf_head_loss(dry.q, &loss, NULL, &h, grad, &h, &w, n.target, &n.scale), "dry");
    tap_ok(nf_arena_peak(dry.work) == nf_arena_peak(r.work) && loss == 0.0, "%s: a dry queue takes the same scratch", s->what);
    tap_ok(nf_arena_peak(dry.work) < (size_t)48 << 20, "%s: scratch is bounded", s->what);
    tap_note("%zu KiB", nf_arena_peak(dry.work) >> 10);
    tap_ok(rig_within(&r) && rig_within(&two), "%s: scratch is as large as it was said to be", s->what);
    rig_close(&r);
    rig_close(&two);
    rig_close(&dry);
    numbers_free(&n);
}

static void check_reference(void)
{
    const struct shape s = {"reference", 4, 6, 3, 2, 1.0f, 0.5f};
    struct numbers n = numbers_new(&s, NF_F32);
    double worst = 0.0, *x[] = {n.H, n.W}, *g[] = {n.DH, n.DW};
    const int64_t count[] = {s.T * s.H, s.V * s.H};
    for (int which = 0; which < 2; which++)
        for (int64_t i = 0; i < count[which]; i++) {
            const double h = 1e-5, at = x[which][i];
            double f[2];
            for (int side = 0; side < 2; side++) {
                x[which][i] = at + (side ? h : -h);
                reference(&s, &n, false);
                f[side] = n.loss;
            }
            x[which][i] = at;
            const double d = fabs((f[1] - f[0]) / (2 * h) - g[which][i]);
            worst = d > worst ? d : worst;
        }
    tap_ok(worst < 1e-9, "gradients of the reference are those of central differences");
    numbers_free(&n);
}

static void check_logits(nf_dtype type)
{
    const struct shape s = {"logits", 5, 4500, 19, 1, 1.0f, 1.0f};
    struct numbers n = numbers_new(&s, type);
    struct rig r = rig_open(2);
    struct slice h = slice_new(type, s.T, s.H, 1, s.H + 2, n.h), w = slice_new(type, s.V, s.H, 2, s.H + 3, n.w);
    struct slice z = slice_new(NF_F32, s.T, s.V, 1, s.V + 2, NULL);
    double *want = grab(s.T * s.V, sizeof *want);
    must(nf_head_logits(r.q, &z.t, &h.t, &w.t), "logits");
    for (int64_t t = 0; t < s.T; t++)
        for (int64_t v = 0; v < s.V; v++)
            for (int64_t c = 0; c < s.H; c++)
                want[t * s.V + v] += n.H[t * s.H + c] * n.W[v * s.H + c];
    float *got = slice_get(&z);
    near(got, want, s.T * s.V, 0, 1e-6, "logits", nf_dtype_name(type));
    tap_ok(slice_guarded(&z), "logits: nothing written beside");
    free(got);
    free(want);
    slice_free(&h);
    slice_free(&w);
    slice_free(&z);
    rig_close(&r);
    numbers_free(&n);
}

static void check_refusal(void)
{
    const struct shape s = {"refusal", 3, 6, 3, 1, 1.0f, 1.0f};
    struct numbers n = numbers_new(&s, NF_F32);
    struct rig r = rig_open(1);
    nf_tensor h = nf_matrix(n.h, NF_F32, s.T, s.H, s.H), w = nf_matrix(n.w, NF_F32, s.V, s.H, s.H);
    double loss = 0.0;
    n.target[1] = 6;
    tap_ok(nf_head_loss(r.q, &loss, NULL, NULL, (nf_grad){0}, &h, &w, n.target, &n.scale) == NF_EBUG && loss == 0.0 &&
               strstr(nf_diagnosis(), "target 6 of token 1"),
           "a target beyond the vocabulary is refused");
    nf_diagnosis_clear();
    rig_close(&r);
    numbers_free(&n);
}

int main(void)
{
    static const struct shape shapes[] = {
        {"small", 7, 11, 5, 2, 1.0f, 0.125f},
        {"several blocks of tokens", 2100, 97, 8, 1, 1.0f, 0.001f},
        {"several tiles of one block", 70, 9000, 12, 1, 1.0f, 0.01f},
        {"logits made twice", 600, 70001, 3, 300, 2.0f, 0.01f},
        {"large logits", 40, 300, 16, 1, 200.0f, 1.0f},
        {"nothing scored", 9, 20, 4, 0, 1.0f, 0.0f},
        {"no tokens", 0, 20, 4, 1, 1.0f, 1.0f},
    };
    tap_open();
    check_reference();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(&shapes[i], NF_F32);
    check_shape(&shapes[0], NF_BF16);
    check_shape(&shapes[1], NF_BF16);
    check_logits(NF_F32);
    check_logits(NF_BF16);
    check_refusal();
    return tap_done();
}
