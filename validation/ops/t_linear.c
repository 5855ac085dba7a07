/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_linear.c: linear, dgrad and wgrad: all activations, with and without pre, bias and sum, fp32 and bf16, column slices, odd
 * sizes, sizes that are cut into several tiles, one and two threads with the same bits.
 */
#include "ref.h"

static const struct nf_act_arg acts[] = {
    {NF_ACT_NONE, 0, 0}, {NF_ACT_RELU2, 0, 0}, {NF_ACT_SWIGLU, 0, 0}, {NF_ACT_SWIGLU_CLAMP, 1.702f, 0.9f}};
static const char *const act_names[] = {"none", "relu2", "swiglu", "clamped"};

/* ---- the reference ----------------------------------------------------------------------------------------------------- */

struct layer {
    struct nf_act_arg act;
    int64_t T, N, K; /* N: rows of w */
    double *x, *w, *bias, *pre, *y, *gy, *dpre, *dx, *dw, *db;
};

static int64_t outputs(const struct layer *l)
{
    return ref_gated(&l->act) ? l->N / 2 : l->N;
}

static double forward(void *ctx)
{
    struct layer *l = ctx;
    const int64_t F = outputs(l);
    double loss = 0;

    memset(l->pre, 0, (size_t)(l->T * l->N) * sizeof(double));
    ref_product(false, true, l->T, l->N, l->K, l->x, l->w, l->pre);
    for (int64_t i = 0; i < l->T; i++) {
        for (int64_t j = 0; j < l->N; j++)
            l->pre[i * l->N + j] += l->bias[j];
        for (int64_t j = 0; j < F; j++) {
            l->y[i * F + j] = ref_act(&l->act, l->pre[i * l->N + j], ref_gated(&l->act) ? l->pre[i * l->N + F + j] : 0);
            loss += l->gy[i * F + j] * l->y[i * F + j];
        }
    }
    return loss;
}

static void backward(struct layer *l)
{
    const int64_t F = outputs(l);

    for (int64_t i = 0; i < l->T; i++)
        for (int64_t j = 0; j < F; j++) {
            double *u = &l->dpre[i * l->N + j], v;
            ref_act_grad(&l->act, l->gy[i * F + j], l->pre[i * l->N + j], ref_gated(&l->act) ? l->pre[i * l->N + F + j] : 0, u,
                         &v);
            if (ref_gated(&l->act))
                l->dpre[i * l->N + F + j] = v;
        }
    ref_product(false, false, l->T, l->K, l->N, l->dpre, l->w, l->dx);
    ref_product(true, false, l->N, l->K, l->T, l->dpre, l->x, l->dw);
    for (int64_t i = 0; i < l->T; i++)
        for (int64_t j = 0; j < l->N; j++)
            l->db[j] += l->dpre[i * l->N + j];
}

static struct layer layer_new(struct nf_act_arg act, int64_t T, int64_t N, int64_t K)
{
    struct layer l = {.act = act, .T = T, .N = N, .K = K};

    l.x = doubles(T * K, 1, 1);
    l.w = doubles(N * K, 1, 2);
    l.bias = doubles(N, 1, 3);
    l.gy = doubles(T * N, 1, 4);
    l.pre = grab(T * N, sizeof(double));
    l.y = grab(T * N, sizeof(double));
    l.dpre = grab(T * N, sizeof(double));
    l.dx = grab(T * K, sizeof(double));
    l.dw = grab(N * K, sizeof(double));
    l.db = grab(N, sizeof(double));
    return l;
}

static void layer_free(struct layer *l)
{
    double *all[] = {l->x, l->w, l->bias, l->gy, l->pre, l->y, l->dpre, l->dx, l->dw, l->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void reference_holds(struct nf_act_arg act, const char *name)
{
    struct layer l = layer_new(act, 3, 6, 5);

    forward(&l);
    backward(&l);
    tap_ok(ref_differences(forward, &l, l.x, l.T * l.K, l.dx) < DIFFERENCES, "%s: reference dx is the differences'", name);
    tap_ok(ref_differences(forward, &l, l.w, l.N * l.K, l.dw) < DIFFERENCES, "%s: reference dw is the differences'", name);
    tap_ok(ref_differences(forward, &l, l.bias, l.N, l.db) < DIFFERENCES, "%s: reference db is the differences'", name);
    layer_free(&l);
}

/* ---- the ops ------------------------------------------------------------------------------------------------------------ */

enum add { ADD_NONE, ADD_OTHER, ADD_SELF };
struct setting {
    int64_t T, N, K;
    int act;
    bool pre, bias;
    enum add add;
    nf_dtype type, out; /* of operands, of results */
};

/* Roundings of a product of n terms, of the functions after it, and of storing. */
static double bound_of(const struct setting *s, int64_t terms)
{
    double b = ROUND_F32 * (8 + 2 * sqrt((double)terms));
    return s->out == NF_BF16 ? b + ROUND_BF16 : b;
}

static double largest(const double *x, int64_t n)
{
    double top = 1;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, fabs(x[i]));
    return top;
}

static struct slice copy_of(const struct slice *s)
{
    struct slice c = *s;
    const size_t bytes = (size_t)nf_tensor_count(&s->all) * nf_dtype_size(s->all.dtype);

    c.all.data = grab((int64_t)bytes, 1);
    if (bytes)
        memcpy(c.all.data, s->all.data, bytes);
    c.t = nf_columns(c.all, s->first, s->t.dim[1]);
    return c;
}

static bool equal_slices(const struct slice *a, const struct slice *b)
{
    const size_t bytes = (size_t)nf_tensor_count(&a->all) * nf_dtype_size(a->all.dtype);

    return bytes == 0 || memcmp(a->all.data, b->all.data, bytes) == 0;
}

static void try_forward(struct rig rigs[2], struct rig *dry, const struct setting *s, const char *what)
{
    const struct nf_act_arg act = acts[s->act];
    const int64_t F = ref_gated(&act) ? s->N / 2 : s->N;
    double *vx, *vw, *vb, *vadd;
    struct slice x = slice_random(s->type, s->T, s->K, 3, s->K + 5, 1, 11, &vx);
    struct slice w = slice_random(s->type, s->N, s->K, 0, s->K + 2, 1, 12, &vw);
    struct slice b = slice_random(s->type, 1, s->N, 0, s->N, 1, 13, &vb);
    struct slice add = slice_random(s->out, s->T, F, 1, F + 4, 1, 14, &vadd);
    double *pre = grab(s->T * s->N, sizeof *pre), *y = grab(s->T * F, sizeof *y);
    struct slice got_y[2], got_pre[2];

    ref_product(false, true, s->T, s->N, s->K, vx, vw, pre);
    for (int64_t i = 0; i < s->T; i++)
        for (int64_t j = 0; j < s->N; j++)
            pre[i * s->N + j] += s->bias ? vb[j] : 0;
    for (int64_t i = 0; i < s->T; i++)
        for (int64_t j = 0; j < F; j++)
            y[i * F + j] =
                ref_act(&act, pre[i * s->N + j], ref_gated(&act) ? pre[i * s->N + F + j] : 0) + (s->add ? vadd[i * F + j] : 0);

    for (int r = 0; r < 2; r++) {
        got_y[r] = s->add == ADD_SELF ? copy_of(&add) : slice_new(s->out, s->T, F, 2, F + 3, NULL);
        got_pre[r] = slice_new(s->out, s->T, s->N, 1, s->N + 1, NULL);
        const nf_tensor bias = nf_vector(b.all.data, s->type, s->N);
        const struct nf_linear_arg arg = {.bias = s->bias ? &bias : NULL,
                                          .act = act,
                                          .add = s->add == ADD_SELF    ? &got_y[r].t
                                                 : s->add == ADD_OTHER ? &add.t
                                                                       : NULL};
        must(nf_linear(rigs[r].q, &got_y[r].t, s->pre ? &got_pre[r].t : NULL, &x.t, &w.t, &arg), what);
        if (r == 0)
            must(nf_linear(dry->q, &got_y[r].t, s->pre ? &got_pre[r].t : NULL, &x.t, &w.t, &arg), what);
    }
    slice_near(&got_y[0], y, largest(pre, s->T * s->N), bound_of(s, s->K), what, "y"); /* a clamp cuts values, not errors */
    if (s->pre)
        slice_near(&got_pre[0], pre, 1, bound_of(s, s->K), what, "pre");
    tap_ok(equal_slices(&got_y[0], &got_y[1]) && equal_slices(&got_pre[0], &got_pre[1]), "%s: two threads, same bits", what);

    struct slice *all[] = {&x, &w, &b, &add, &got_y[0], &got_y[1], &got_pre[0], &got_pre[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    free(vx), free(vw), free(vb), free(vadd), free(pre), free(y);
}

/* dx = (dy w) act'(pre) + add for a layer below of K outputs */
static void try_dgrad(struct rig rigs[2], struct rig *dry, const struct setting *s, const char *what)
{
    const struct nf_act_arg act = acts[s->act];
    const int64_t in = ref_gated(&act) ? 2 * s->K : s->K;
    double *vdy, *vw, *vpre, *vadd;
    struct slice dy = slice_random(s->type, s->T, s->N, 2, s->N + 2, 1, 21, &vdy);
    struct slice w = slice_random(s->type, s->N, s->K, 0, s->K, 1, 22, &vw);
    struct slice pre = slice_random(s->type, s->T, in, 1, in + 1, 1.5, 23, &vpre);
    struct slice add = slice_random(s->out, s->T, in, 1, in + 3, 1, 24, &vadd);
    double *g = grab(s->T * s->K, sizeof *g), *dx = grab(s->T * in, sizeof *dx), *again = grab(s->T * s->K, sizeof *again);
    const bool with_pre = s->pre || act.kind != NF_ACT_NONE;
    struct slice got[2], act_again[2];

    ref_product(false, false, s->T, s->K, s->N, vdy, vw, g);
    for (int64_t i = 0; i < s->T; i++)
        for (int64_t j = 0; j < s->K; j++) {
            double u = vpre[i * in + j], v = ref_gated(&act) ? vpre[i * in + s->K + j] : 0, du, dv;
            ref_act_grad(&act, g[i * s->K + j], u, v, &du, &dv);
            again[i * s->K + j] = ref_act(&act, u, v);
            dx[i * in + j] = du + (s->add ? vadd[i * in + j] : 0);
            if (ref_gated(&act))
                dx[i * in + s->K + j] = dv + (s->add ? vadd[i * in + s->K + j] : 0);
        }
    for (int r = 0; r < 2; r++) {
        got[r] = s->add == ADD_SELF ? copy_of(&add) : slice_new(s->out, s->T, in, 0, in + 2, NULL);
        act_again[r] = slice_new(s->out, s->T, s->K, 3, s->K + 3, NULL);
        const struct nf_linear_arg arg = {.act = act,
                                          .add = s->add == ADD_SELF    ? &got[r].t
                                                 : s->add == ADD_OTHER ? &add.t
                                                                       : NULL};
        must(
            nf_linear_dgrad(rigs[r].q, &got[r].t, s->pre ? &act_again[r].t : NULL, &dy.t, &w.t, with_pre ? &pre.t : NULL, &arg),
            what);
        if (r == 0)
            must(nf_linear_dgrad(dry->q, &got[r].t, s->pre ? &act_again[r].t : NULL, &dy.t, &w.t, with_pre ? &pre.t : NULL,
                                 &arg),
                 what);
    }
    slice_near(&got[0], dx, 1, bound_of(s, s->N), what, "dx");
    if (s->pre)
        slice_near(&act_again[0], again, 1, bound_of(s, 1), what, "act_again");
    tap_ok(equal_slices(&got[0], &got[1]) && equal_slices(&act_again[0], &act_again[1]), "%s: two threads, same bits", what);

    struct slice *all[] = {&dy, &w, &pre, &add, &got[0], &got[1], &act_again[0], &act_again[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    free(vdy), free(vw), free(vpre), free(vadd), free(g), free(dx), free(again);
}

static void try_wgrad(struct rig rigs[2], struct rig *dry, const struct setting *s, bool accumulate, bool want_dw, bool want_db,
                      const char *what)
{
    double *vdy, *vx, *vw, *vb;
    struct slice dy = slice_random(s->type, s->T, s->N, 2, s->N + 2, 1, 31, &vdy);
    struct slice x = slice_random(s->type, s->T, s->K, 1, s->K + 4, 1, 32, &vx);
    struct slice old = slice_random(s->out, s->N, s->K, 0, s->K, 1, 33, &vw);
    struct slice old_b = slice_random(s->out, 1, s->N, 0, s->N, 1, 34, &vb);
    struct slice dw[2] = {copy_of(&old), copy_of(&old)}, db[2] = {copy_of(&old_b), copy_of(&old_b)};

    if (!accumulate) {
        memset(vw, 0, (size_t)(s->N * s->K) * sizeof *vw);
        memset(vb, 0, (size_t)s->N * sizeof *vb);
    }
    ref_product(true, false, s->N, s->K, s->T, vdy, vx, vw);
    for (int64_t i = 0; i < s->T; i++)
        for (int64_t j = 0; j < s->N; j++)
            vb[j] += vdy[i * s->N + j];
    for (int r = 0; r < 2; r++) {
        const nf_grad g = {want_dw ? dw[r].t : (nf_tensor){0}, accumulate};
        const nf_grad gb = {want_db ? nf_vector(db[r].all.data, s->out, s->N) : (nf_tensor){0}, accumulate};
        must(nf_linear_wgrad(rigs[r].q, g, gb, &dy.t, &x.t), what);
        if (r == 0)
            must(nf_linear_wgrad(dry->q, g, gb, &dy.t, &x.t), what);
    }
    if (want_dw)
        slice_near(&dw[0], vw, 1, bound_of(s, s->T), what, "dw");
    else
        tap_ok(equal_slices(&dw[0], &old), "%s: dw not wanted", what);
    if (want_db)
        slice_near(&db[0], vb, 1, bound_of(s, s->T), what, "db");
    else
        tap_ok(equal_slices(&db[0], &old_b), "%s: db not wanted", what);
    tap_ok(equal_slices(&dw[0], &dw[1]) && equal_slices(&db[0], &db[1]), "%s: two threads, same bits", what);

    struct slice *all[] = {&dy, &x, &old, &old_b, &dw[0], &dw[1], &db[0], &db[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
    free(vdy), free(vx), free(vw), free(vb);
}

static void refuses(struct rig *r)
{
    float data[24] = {0};
    const nf_tensor x = nf_matrix(data, NF_F32, 2, 3, 3), w = nf_matrix(data, NF_F32, 4, 2, 2),
                    y = nf_matrix(data, NF_F32, 2, 4, 4);

    tap_ok(nf_linear(r->q, &y, NULL, &x, &w, &(struct nf_linear_arg){0}) == NF_EBUG && strstr(nf_diagnosis(), "[4, 2]") &&
               strstr(nf_diagnosis(), "[any, 3]"),
           "a weight of another width is refused with both shapes");
    nf_diagnosis_clear();
}

int main(void)
{
    static const int64_t sizes[][3] = {{0, 6, 5},      {1, 2, 1},      {3, 34, 17},    {17, 128, 64},
                                       {129, 96, 300}, {600, 800, 70}, {130, 1700, 65}};
    struct rig rigs[2], dry = rig_dry();
    char what[160];

    tap_open();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    for (int a = 0; a < 4; a++)
        reference_holds(acts[a], act_names[a]);
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
        for (int a = 0; a < 4; a++)
            for (int v = 0; v < 6; v++) {
                struct setting s = {sizes[z][0], sizes[z][1],       sizes[z][2], a,     (v & 1) != 0,
                                    v >= 2,      (enum add)(v % 3), NF_F32,      NF_F32};
                if (v == 4)
                    s.type = s.out = NF_BF16;
                if (v == 5)
                    s.type = NF_BF16;
                snprintf(what, sizeof what, "%lld x %lld x %lld %s%s%s add %d %s->%s", (long long)s.T, (long long)s.N,
                         (long long)s.K, act_names[a], s.pre ? " pre" : "", s.bias ? " bias" : "", (int)s.add,
                         nf_dtype_name(s.type), nf_dtype_name(s.out));
                try_forward(rigs, &dry, &s, what);
                try_dgrad(rigs, &dry, &s, what);
                if (a == 0)
                    try_wgrad(rigs, &dry, &s, (v & 1) != 0, v != 2, v != 3, what);
            }
    refuses(&rigs[0]);
    tap_ok(rig_within(&rigs[0]) && rig_within(&rigs[1]), "scratch stays within what was taken");
    tap_ok(nf_arena_peak(dry.work) == nf_arena_peak(rigs[0].work), "the dry run sees the same scratch");
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    rig_close(&dry);
    return tap_done();
}
