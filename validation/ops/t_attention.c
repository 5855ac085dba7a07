/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention against a plain softmax in fp64, and its gradients against analytic ones that are themselves held against central
 * differences. Tolerances: see `bound`.
 */
#include "ref_attention.h"

struct results {
    float *o, *lse, *dq, *dk, *dv, *ds;
    bool guarded;
    size_t peak;
};

/* q, k and v are slices of one wide matrix, as a layer has them. */
static struct results run_ops(struct rig *r, const struct shape *s, const struct numbers *n, nf_dtype type, bool accumulate)
{
    struct nf_attention_arg arg = {.heads = s->heads,
                                   .kv_heads = s->kv,
                                   .d_qk = s->dqk,
                                   .d_v = s->dv,
                                   .scale = (float)(s->spread / sqrt((double)s->dqk)),
                                   .window = s->window,
                                   .sinks = n->sinks,
                                   .seq = {.rows = s->rows, .len = s->len, .segment = n->seg}};
    struct slice q = slice_new(type, n->T, n->nq, 3, n->nq + 5, n->q), k = slice_new(type, n->T, n->nk, 1, n->nk + 2, n->k);
    struct slice v = slice_new(type, n->T, n->nv, 2, n->nv + 2, n->v), go = slice_new(type, n->T, n->no, 0, n->no + 1, n->go);
    struct slice o = slice_new(type, n->T, n->no, 1, n->no + 4, NULL), dq = slice_new(type, n->T, n->nq, 2, n->nq + 3, NULL);
    struct slice dk = slice_new(type, n->T, n->nk, 2, n->nk + 3, NULL), dv = slice_new(type, n->T, n->nv, 1, n->nv + 3, NULL);
    struct results x = {.lse = grab(n->T * s->heads, sizeof(float)), .ds = grab(s->heads, sizeof(float))};
    nf_grad ds = {.t = nf_vector(s->sinks ? x.ds : NULL, NF_F32, s->heads), .accumulate = accumulate};

    fill_value(x.ds, s->heads, 3.0f);
    must(nf_attention(r->q, &o.t, x.lse, &q.t, &k.t, &v.t, &arg), s->what);
    must(nf_attention_bwd(r->q, &dq.t, &dk.t, &dv.t, ds, &go.t, &q.t, &k.t, &v.t, &o.t, x.lse, &arg), s->what);
    x.o = slice_get(&o);
    x.dq = slice_get(&dq);
    x.dk = slice_get(&dk);
    x.dv = slice_get(&dv);
    x.guarded = slice_guarded(&o) && slice_guarded(&dq) && slice_guarded(&dk) && slice_guarded(&dv);
    x.peak = nf_arena_peak(r->work);
    struct slice *all[] = {&q, &k, &v, &go, &o, &dq, &dk, &dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    return x;
}

static void results_free(struct results *x)
{
    void *all[] = {x->o, x->lse, x->dq, x->dk, x->dv, x->ds};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* fp32: dot products of d and of up to `len` terms, each term and sum rounded at 2^-24; logits of size s carry an error of
 * s 2^-24 sqrt(d) that exp turns into a relative one. bf16: the result, and in the backward also o, are rounded at 2^-8; the
 * largest value of a gradient sums such errors over `len` terms of alternating sign, and delta = g.o meets p (dP - delta). */
static double bound(const struct shape *s, nf_dtype type)
{
    const double logits = s->spread > 1 ? s->spread : 1;
    return type == NF_BF16 ? 3.0 / 256 : 6e-8 * (16 + logits * sqrt((double)s->dqk) * 2);
}

static void compare(const struct shape *s, const struct numbers *n, const struct results *x, nf_dtype type, bool accumulate)
{
    char what[128];
    const double e = bound(s, type);
    const double one = s->spread / sqrt((double)s->dqk); /* of the terms p (dP - delta) k scale, which vanish with one key */
    bool finite = true;
    snprintf(what, sizeof what, "%s %s", s->what, nf_dtype_name(type));
    near(x->o, n->O, n->T * n->no, 0, e, what, "o");
    for (int64_t i = 0; i < n->T * s->heads; i++) {
        finite = finite && isfinite(x->lse[i]);
        if (!(n->LSE[i] == n->LSE[i]))
            n->LSE[i] = (double)x->lse[i]; /* padding: any number */
    }
    tap_ok(finite, "%s: lse finite", what);
    near(x->lse, n->LSE, n->T * s->heads, 0, e, what, "lse");
    near(x->dq, n->DQ, n->T * n->nq, one, e, what, "dq");
    near(x->dk, n->DK, n->T * n->nk, one, e, what, "dk");
    near(x->dv, n->DV, n->T * n->nv, 0, e, what, "dv");
    if (s->sinks) {
        double *want = grab(s->heads, sizeof *want);
        for (int h = 0; h < s->heads; h++)
            want[h] = n->DS[h] + (accumulate ? 3.0 : 0.0);
        near(x->ds, want, s->heads, 0, e, what, accumulate ? "dsinks, added" : "dsinks, overwritten");
        free(want);
    }
    tap_ok(x->guarded, "%s: nothing written beside the slices", what);
}

static void check_shape(const struct shape *s, nf_dtype type)
{
    struct numbers n = numbers_new(s, type);
    struct results x[2];
    for (int threads = 1; threads <= 2; threads++) {
        struct rig r = rig_open(threads);
        x[threads - 1] = run_ops(&r, s, &n, type, threads == 2);
        if (threads == 2) {
            struct rig dry = rig_dry();
            struct results none = run_ops(&dry, s, &n, type, false);
            tap_ok(none.peak == x[1].peak && nf_queue_counted(dry.q).flops == nf_queue_counted(r.q).flops &&
                       nf_queue_counted(dry.q).launches == 2,
                   "%s: a dry queue takes the same scratch and counts the same", s->what);
            results_free(&none);
            rig_close(&dry);
        }
        tap_ok(rig_within(&r), "%s: scratch is as large as it was said to be", s->what);
        rig_close(&r);
    }
    compare(s, &n, &x[0], type, false);
    if (s->sinks)
        compare(s, &n, &x[1], type, true);
    tap_ok(same_bits(x[0].o, x[1].o, n.T * n.no) && same_bits(x[0].dq, x[1].dq, n.T * n.nq) &&
               same_bits(x[0].dk, x[1].dk, n.T * n.nk) && same_bits(x[0].dv, x[1].dv, n.T * n.nv),
           "%s: same bits with one and two threads", s->what);
    results_free(&x[0]);
    results_free(&x[1]);
    numbers_free(&n);
}

/* The analytic fp64 gradients against central differences of sum(go o): h = 1e-5 leaves h^2 and 1e-16 / h, both near 1e-10. */
static void check_reference(void)
{
    const struct shape s = {"reference", 2, 9, 4, 2, 3, 5, 6, true, 1, 1.0};
    struct numbers n = numbers_new(&s, NF_F32);
    double *o = grab(n.T * n.no, sizeof *o), *lse = grab(n.T * s.heads, sizeof *lse), worst = 0.0;
    double *x[] = {n.Q, n.K, n.V, n.SINKS}, *g[] = {n.DQ, n.DK, n.DV, n.DS};
    const int64_t count[] = {n.T * n.nq, n.T * n.nk, n.T * n.nv, s.heads};
    for (int which = 0; which < 4; which++)
        for (int64_t i = 0; i < count[which]; i++) {
            const double h = 1e-5, at = x[which][i];
            double f[2];
            for (int side = 0; side < 2; side++) {
                x[which][i] = at + (side ? h : -h);
                reference(&s, n.seg, n.Q, n.K, n.V, n.SINKS, o, lse);
                f[side] = 0.0;
                for (int64_t t = 0; t < n.T * n.no; t++)
                    f[side] += o[t] * n.GO[t];
            }
            x[which][i] = at;
            const double d = fabs((f[1] - f[0]) / (2 * h) - g[which][i]);
            worst = d > worst ? d : worst;
        }
    tap_ok(worst < 1e-8, "analytic gradients of the reference are those of central differences");
    tap_note("largest difference %.3g", worst);
    free(o);
    free(lse);
    numbers_free(&n);
}

/* Two packed sequences and padding against the same two alone: only tile borders differ, so a few units in the last place. */
static void check_packing(void)
{
    const struct shape packed = {"packed", 1, 211, 4, 2, 16, 16, 0, false, 1, 1.0};
    struct numbers n = numbers_new(&packed, NF_F32);
    struct rig r = rig_open(1);
    struct results x = run_ops(&r, &packed, &n, NF_F32, false);
    int64_t from = 0;
    for (int32_t which = 1; which <= 2; which++) {
        struct shape alone = packed;
        struct numbers m = {.nq = n.nq, .nk = n.nk, .no = n.no, .nv = n.nv};
        while (m.T + from < packed.len && n.seg[from + m.T] == which)
            m.T++;
        alone.len = m.T;
        m.q = n.q + from * n.nq;
        m.k = n.k + from * n.nk;
        m.v = n.v + from * n.nv;
        m.go = n.go + from * n.no;
        struct results y = run_ops(&r, &alone, &m, NF_F32, false);
        double *want[] = {widen(y.o, m.T * n.no), widen(y.dq, m.T * n.nq), widen(y.dk, m.T * n.nk), widen(y.dv, m.T * n.nv)};
        near(x.o + from * n.no, want[0], m.T * n.no, 0, 1e-6, "packed equals alone", "o");
        near(x.dq + from * n.nq, want[1], m.T * n.nq, 0, 1e-6, "packed equals alone", "dq");
        near(x.dk + from * n.nk, want[2], m.T * n.nk, 0, 1e-6, "packed equals alone", "dk");
        near(x.dv + from * n.nv, want[3], m.T * n.nv, 0, 1e-6, "packed equals alone", "dv");
        for (int i = 0; i < 4; i++)
            free(want[i]);
        results_free(&y);
        from += m.T;
    }
    bool zero = from < packed.len;
    for (int64_t i = from * n.no; i < n.T * n.no; i++)
        zero = zero && x.o[i] == 0.0f;
    for (int64_t i = from * n.nq; i < n.T * n.nq; i++)
        zero = zero && x.dq[i] == 0.0f;
    for (int64_t i = from * n.nk; i < n.T * n.nk; i++)
        zero = zero && x.dk[i] == 0.0f && x.dv[i] == 0.0f;
    tap_ok(zero, "padding gives zeros and takes no gradient");
    results_free(&x);
    rig_close(&r);
    numbers_free(&n);
}

static void check_refusal(void)
{
    float x[64] = {0}, lse[64];
    nf_tensor q = nf_matrix(x, NF_F32, 2, 8, 8), k = nf_matrix(x, NF_F32, 2, 4, 4), o = nf_matrix(x, NF_F32, 3, 8, 8);
    const struct nf_attention_arg arg = {
        .heads = 4, .kv_heads = 2, .d_qk = 2, .d_v = 2, .scale = 1, .seq = {.rows = 1, .len = 2}};
    struct rig r = rig_open(1);
    tap_ok(nf_attention(r.q, &o, lse, &q, &k, &k, &arg) == NF_EBUG && strstr(nf_diagnosis(), "[3, 8]") &&
               strstr(nf_diagnosis(), "[2, 8]"),
           "an output of another shape is refused with both shapes");
    tap_note("%s", nf_diagnosis());
    nf_diagnosis_clear();
    rig_close(&r);
}

/* What cuDNN has no graph for is found on a dry device: no GPU is needed to be told. */
static void check_cudnn(void)
{
    static const int32_t one_segment[1] = {1};
    static const float sink[1] = {0};
    const struct {
        const char *word; /* NULL: allowed */
        nf_dtype type;
        int d, window;
        bool sinks, segments, evaluation;
    } cases[] = {{NULL, NF_BF16, 128, 0, false, false, false},   {NULL, NF_BF16, 40, 64, false, false, false},
                 {"bf16", NF_F32, 128, 0, false, false, false},  {"window", NF_BF16, 128, 5, false, false, false},
                 {"sinks", NF_BF16, 64, 0, true, false, false},  {"segments", NF_BF16, 64, 0, false, true, false},
                 {"width", NF_BF16, 36, 0, false, false, false}, {"width", NF_BF16, 264, 0, false, false, false},
                 {NULL, NF_BF16, 36, 0, false, true, true}};
    nf_device *d;
    nf_queue *q;
    nf_arena *work;

    must(nf_device_dry(NF_CUDA, &d), "dry device");
    must(nf_arena_new("work", NULL, SIZE_MAX / 4, &work), "work arena");
    must(nf_queue_new(d, "compute", 0, work, &q), "queue");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t T = 64, w = 2 * cases[i].d;
        void *at = (void *)NF_ALIGN; /* nobody reads */
        const nf_tensor x = nf_matrix(at, cases[i].type, T, w, w);
        const struct nf_attention_arg arg = {.heads = 2,
                                             .kv_heads = 2,
                                             .d_qk = cases[i].d,
                                             .d_v = cases[i].d,
                                             .scale = 1,
                                             .window = cases[i].window,
                                             .sinks = cases[i].sinks ? sink : NULL,
                                             .seq = {.rows = 1, .len = T, .segment = cases[i].segments ? one_segment : NULL},
                                             .backend = NF_ATTN_CUDNN,
                                             .training = !cases[i].evaluation};
        const nf_status s = nf_attention(q, &x, at, &x, &x, &x, &arg);
        const nf_status b = nf_attention_bwd(q, &x, &x, &x, (nf_grad){0}, &x, &x, &x, &x, &x, at, &arg);
        if (cases[i].word)
            tap_ok(s == NF_EUSAGE && b == NF_EUSAGE && strstr(nf_diagnosis(), cases[i].word) &&
                       strstr(nf_diagnosis(), "backend.attention = 'flash'"),
                   "cuDNN, %s: refused before a run starts", cases[i].word);
        else
            tap_ok(!s && !b, "cuDNN, heads of %d%s: planned for", cases[i].d, cases[i].evaluation ? ", an evaluation" : "");
        nf_diagnosis_clear();
    }
    nf_queue_free(q);
    nf_arena_free(work);
    nf_device_free(d);
}

int main(void)
{
    static const struct shape shapes[] = {
        {"one token", 1, 1, 2, 1, 4, 4, 0, false, 0, 1.0},
        {"odd sizes", 3, 17, 3, 3, 5, 7, 0, false, 0, 1.0},
        {"grouped queries over tiles", 2, 300, 8, 2, 16, 16, 0, false, 0, 1.0},
        {"one kv head, sixteen tasks of parts", 1, 130, 24, 1, 8, 12, 0, false, 0, 1.0},
        {"many heads on one kv head", 16, 40, 40, 1, 4, 4, 0, false, 0, 1.0},
        {"values narrower than keys", 2, 140, 4, 4, 24, 8, 0, false, 0, 1.0},
        {"window", 2, 290, 4, 2, 8, 8, 37, false, 0, 1.0},
        {"window of one", 1, 20, 2, 2, 4, 4, 1, false, 0, 1.0},
        {"sinks and window", 2, 150, 4, 2, 8, 8, 128, true, 0, 1.0},
        {"segments and padding", 3, 270, 6, 2, 8, 8, 0, false, 1, 1.0},
        {"padding in front, sinks, window", 2, 200, 4, 1, 8, 8, 50, true, 2, 1.0},
        {"large logits", 2, 200, 4, 2, 16, 16, 0, false, 0, 1000.0},
        {"no tokens", 0, 8, 4, 2, 8, 8, 0, true, 0, 1.0},
    };
    tap_open();
    check_reference();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(&shapes[i], NF_F32);
    check_shape(&shapes[2], NF_BF16);
    check_shape(&shapes[10], NF_BF16);
    check_packing();
    check_refusal();
    check_cudnn();
    return tap_done();
}
