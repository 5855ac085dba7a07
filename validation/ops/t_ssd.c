/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunked scan against the sequential recurrence in fp64, and its gradients against the adjoint of that recurrence, which
 * is itself held against central differences. Tolerances: see `bound`.
 */
#include "ref_ssd.h"

struct results {
    float *y, *grad[INPUTS];
    bool guarded, same_without_kept;
    size_t peak;
};

static struct results run_ops(struct rig *r, const struct shape *s, const struct numbers *n, nf_dtype type, bool accumulate)
{
    const struct nf_ssd_arg arg = {.heads = s->heads,
                                   .head_dim = s->P,
                                   .groups = s->groups,
                                   .state = s->N,
                                   .chunk = s->chunk,
                                   .dt_lo = (float)s->lo,
                                   .dt_hi = (float)s->hi,
                                   .seq = {.rows = s->rows, .len = s->len, .segment = n->seg}};
    struct slice in[4], out[4], y = slice_new(type, n->T, n->cols[X], 1, n->cols[X] + 3, NULL);
    struct slice g = slice_new(type, n->T, n->cols[X], 2, n->cols[X] + 2, n->g);
    nf_tensor flat[INPUTS];
    nf_grad grad[INPUTS];
    struct results x = {.guarded = true, .same_without_kept = true};
    void *kept = grab((int64_t)nf_ssd_kept(r->q, &arg), 1);

    for (int i = 0; i < 4; i++) {
        in[i] = slice_new(type, n->T, n->cols[i], 1 + i, n->cols[i] + 7, n->in[i]);
        out[i] = slice_new(type, n->T, n->cols[i], 2, n->cols[i] + 2 + i, NULL);
    }
    for (int i = BIAS; i < INPUTS; i++) {
        x.grad[i] = grab(n->cols[i], sizeof(float));
        fill_value(x.grad[i], n->cols[i], 2.0f);
        flat[i] = nf_vector(n->in[i], NF_F32, n->cols[i]);
        grad[i] = (nf_grad){nf_vector(x.grad[i], NF_F32, n->cols[i]), accumulate};
    }
    must(nf_ssd(r->q, &y.t, NULL, &in[X].t, &in[B].t, &in[C].t, &in[DT].t, &flat[BIAS], &flat[ALOG], &flat[D], &arg), s->what);
    float *first = slice_get(&y);
    must(nf_ssd(r->q, &y.t, kept, &in[X].t, &in[B].t, &in[C].t, &in[DT].t, &flat[BIAS], &flat[ALOG], &flat[D], &arg), s->what);
    must(nf_ssd_bwd(r->q, &out[X].t, &out[B].t, &out[C].t, &out[DT].t, grad[BIAS], grad[ALOG], grad[D], &g.t, kept, &in[X].t,
                    &in[B].t, &in[C].t, &in[DT].t, &flat[BIAS], &flat[ALOG], &flat[D], &arg),
         s->what);
    x.y = slice_get(&y);
    x.same_without_kept = same_bits(x.y, first, n->count[X]);
    x.guarded = slice_guarded(&y);
    for (int i = 0; i < 4; i++) {
        x.grad[i] = slice_get(&out[i]);
        x.guarded = x.guarded && slice_guarded(&out[i]);
        slice_free(&in[i]);
        slice_free(&out[i]);
    }
    x.peak = nf_arena_peak(r->work);
    slice_free(&y);
    slice_free(&g);
    free(first);
    free(kept);
    return x;
}

static void results_free(struct results *x)
{
    for (int i = 0; i < INPUTS; i++)
        free(x->grad[i]);
    free(x->y);
}

/*
 * fp32: every output is a sum of products over up to N, P and Q terms and over the chunks before, each rounded at 2^-24, of
 * alternating sign: the error grows as the root of their number while the largest value does so too; dt carries 2 units and
 * exp(s_i - s_j) another 2, whatever the size of s. Gradients of dt and a_log multiply by |a| dt, where a dt of many units has
 * a decay of as many units in the last place: (1 + |a dt| 2^-24), |a dt| < 100 before exp vanishes.
 * bf16: results are rounded at 2^-8 and nothing else is; gradients of parameters stay fp32.
 */
static double bound(nf_dtype type, int which)
{
    return type == NF_BF16 && which <= DT ? 1.001 / 256 : 6e-8 * 40;
}

static void compare(const struct shape *s, const struct numbers *n, const struct results *x, nf_dtype type, bool accumulate)
{
    char what[128];
    snprintf(what, sizeof what, "%s %s", s->what, nf_dtype_name(type));
    near(x->y, n->Y, n->count[X], 0, bound(type, X), what, "y");
    for (int i = 0; i < INPUTS; i++) {
        double *want = grab(n->count[i], sizeof *want);
        for (int64_t e = 0; e < n->count[i]; e++)
            want[e] = n->GRAD[i][e] + (accumulate && i >= BIAS ? 2.0 : 0.0);
        near(x->grad[i], want, n->count[i], i >= DT ? 1.0 : 0, bound(type, i), what, names[i]);
        free(want);
    }
    tap_ok(x->guarded, "%s: nothing written beside the slices", what);
    tap_ok(x->same_without_kept, "%s: the same output if nothing is kept", what);
}

static void check_shape(const struct shape *s, nf_dtype type)
{
    struct numbers n = numbers_new(s, type);
    struct results x[2];
    bool same = true;
    for (int threads = 1; threads <= 2; threads++) {
        struct rig r = rig_open(threads);
        x[threads - 1] = run_ops(&r, s, &n, type, false);
        if (threads == 2) {
            struct rig dry = rig_dry();
            struct results none = run_ops(&dry, s, &n, type, false), added = run_ops(&r, s, &n, type, true);
            tap_ok(none.peak == x[1].peak && nf_queue_counted(dry.q).launches == 3, "%s: a dry queue takes the same scratch",
                   s->what);
            compare(s, &n, &added, type, true);
            results_free(&none);
            results_free(&added);
            rig_close(&dry);
        }
        tap_ok(rig_within(&r), "%s: scratch is as large as it was said to be", s->what);
        rig_close(&r);
    }
    compare(s, &n, &x[0], type, false);
    for (int i = 0; i < INPUTS; i++)
        same = same && same_bits(x[0].grad[i], x[1].grad[i], n.count[i]);
    tap_ok(same && same_bits(x[0].y, x[1].y, n.count[X]), "%s: same bits with one and two threads", s->what);
    results_free(&x[0]);
    results_free(&x[1]);
    numbers_free(&n);
}

/* h = 1e-5: h^2 and 1e-16 / h are both near 1e-10, times a third derivative of order 10. */
static void check_reference(void)
{
    const struct shape s = {"reference", 2, 9, 4, 2, 2, 3, 4, 0.3, 1.5, 0.3, 1.5, 0.0, 1.0, 2};
    struct numbers n = numbers_new(&s, NF_F32);
    double worst = 0.0;
    for (int i = 0; i < INPUTS; i++)
        for (int64_t e = 0; e < n.count[i]; e++) {
            const double h = 1e-5, at = n.IN[i][e];
            double f[2] = {0.0, 0.0};
            for (int side = 0; side < 2; side++) {
                n.IN[i][e] = at + (side ? h : -h);
                reference(&s, &n, false);
                for (int64_t t = 0; t < n.count[X]; t++)
                    f[side] += n.Y[t] * n.G[t];
            }
            n.IN[i][e] = at;
            const double d = fabs((f[1] - f[0]) / (2 * h) - n.GRAD[i][e]);
            worst = d > worst ? d : worst;
        }
    tap_ok(worst < 1e-7, "the adjoint of the reference agrees with central differences");
    tap_note("largest difference %.3g", worst);
    numbers_free(&n);
}

/* Packed sequences equal the same alone, padding at the end changes nothing: chunk borders differ, so a few roundings do. */
static void check_packing(void)
{
    const struct shape packed = {"packed", 1, 157, 4, 8, 2, 8, 32, 0, INFINITY, 0, 2, 0, 1, 1};
    struct numbers n = numbers_new(&packed, NF_F32);
    struct rig r = rig_open(1);
    int64_t from = 0;
    for (int i = 0; i < 4; i++) /* what lies in padding must not matter */
        for (int64_t t = packed.len - packed.len / 5; t < packed.len; t++)
            for (int64_t e = 0; e < n.cols[i]; e++)
                n.in[i][t * n.cols[i] + e] = 50.0f;
    for (int64_t e = (packed.len - packed.len / 5) * n.cols[X]; e < n.count[X]; e++)
        n.g[e] = 0.0f; /* no gradient arrives at padding */
    struct results x = run_ops(&r, &packed, &n, NF_F32, false);
    for (int32_t which = 1; which <= 2; which++) {
        struct shape alone = packed;
        struct numbers m = n;
        alone.len = 0;
        while (from + alone.len < packed.len && n.seg[from + alone.len] == which)
            alone.len++;
        m.T = alone.len;
        m.seg = NULL;
        for (int i = 0; i < 4; i++) {
            m.in[i] = n.in[i] + from * n.cols[i];
            m.count[i] = m.T * n.cols[i];
        }
        m.g = n.g + from * n.cols[X];
        struct results y = run_ops(&r, &alone, &m, NF_F32, false);
        double *want = widen(y.y, m.count[X]);
        near(x.y + from * n.cols[X], want, m.count[X], 0, 2e-6, "packed equals alone", "y");
        free(want);
        for (int i = 0; i < 4; i++) {
            want = widen(y.grad[i], m.count[i]);
            near(x.grad[i] + from * n.cols[i], want, m.count[i], 0, 2e-6, "packed equals alone", names[i]);
            free(want);
        }
        results_free(&y);
        from += alone.len;
    }
    bool finite = true;
    for (int64_t e = 0; e < n.count[X]; e++)
        finite = finite && isfinite(x.y[e]);
    tap_ok(finite && from < packed.len, "outputs of padding are finite");
    results_free(&x);
    rig_close(&r);
    numbers_free(&n);
}

static void check_no_gradients(void)
{
    const struct shape s = {"frozen", 1, 20, 2, 4, 1, 4, 8, 0, INFINITY, 0, 1, 0, 1, 0};
    struct numbers n = numbers_new(&s, NF_F32);
    const struct nf_ssd_arg arg = {
        .heads = 2, .head_dim = 4, .groups = 1, .state = 4, .chunk = 8, .dt_hi = INFINITY, .seq = {.rows = 1, .len = 20}};
    struct rig r = rig_open(1);
    void *kept = grab((int64_t)nf_ssd_kept(r.q, &arg), 1);
    nf_tensor in[INPUTS], out[4], y;
    for (int i = 0; i < INPUTS; i++) {
        in[i] = i < BIAS ? nf_matrix(n.in[i], NF_F32, n.T, n.cols[i], n.cols[i]) : nf_vector(n.in[i], NF_F32, 2);
        if (i < 4)
            out[i] = nf_matrix(grab(n.count[i], sizeof(float)), NF_F32, n.T, n.cols[i], n.cols[i]);
    }
    y = nf_matrix(grab(n.count[X], sizeof(float)), NF_F32, n.T, n.cols[X], n.cols[X]);
    must(nf_ssd(r.q, &y, kept, &in[X], &in[B], &in[C], &in[DT], &in[BIAS], &in[ALOG], &in[D], &arg), "frozen");
    nf_tensor g = nf_matrix(n.g, NF_F32, n.T, n.cols[X], n.cols[X]);
    must(nf_ssd_bwd(r.q, &out[X], &out[B], &out[C], &out[DT], (nf_grad){0}, (nf_grad){0}, (nf_grad){0}, &g, kept, &in[X],
                    &in[B], &in[C], &in[DT], &in[BIAS], &in[ALOG], &in[D], &arg),
         "frozen");
    near(out[X].data, n.GRAD[X], n.count[X], 0, bound(NF_F32, X), "frozen parameters", "x");
    for (int i = 0; i < 4; i++)
        free(out[i].data);
    free(y.data);
    free(kept);
    rig_close(&r);
    numbers_free(&n);
}

static nf_status count_call(void *calls)
{
    ++*(int *)calls;
    return NF_OK;
}

/* Communication under way must be looked at during a long op, not only after it. */
static void check_progress(void)
{
    const struct shape s = {"progress", 2, 64, 4, 4, 2, 4, 16, 0, INFINITY, 0, 1, 0, 1, 0};
    struct numbers n = numbers_new(&s, NF_F32);
    struct rig r = rig_open(1);
    int calls = 0;
    nf_device_set_progress(r.device, count_call, &calls);
    struct results x = run_ops(&r, &s, &n, NF_F32, false);
    tap_ok(calls >= 3 * 2 * 4 * 2, "pending work progresses between the tiles of a scan");
    tap_note("%d times", calls);
    results_free(&x);
    rig_close(&r);
    numbers_free(&n);
}

int main(void)
{
    static const struct shape shapes[] = {
        {"one token", 1, 1, 2, 3, 1, 2, 4, 0, INFINITY, 0, 1, 0, 1, 0},
        {"shorter than a chunk", 2, 5, 4, 3, 2, 5, 16, 0, INFINITY, 0, 1, 0, 1, 0},
        {"chunks of one", 2, 7, 2, 4, 2, 3, 1, 0, INFINITY, 0, 1, 0, 1, 0},
        {"odd sizes", 3, 61, 6, 5, 3, 7, 16, 0, INFINITY, 0, 1, 0, 1, 0},
        {"triangles of several blocks", 2, 401, 4, 16, 2, 16, 150, 0, INFINITY, -3, 1, 0, 1, 0},
        {"chunk beyond the largest tile", 1, 600, 2, 4, 1, 4, 1000, 0, INFINITY, -3, 1, 0, 1, 0},
        {"ten heads a group", 2, 70, 20, 4, 2, 6, 32, 0, INFINITY, -1, 1, 0, 1, 0},
        {"limits of dt", 2, 70, 4, 4, 2, 4, 32, 0.4, 1.1, 0, 2, 0, 1, 0},
        {"hardly any decay", 1, 300, 2, 4, 1, 4, 64, 0, INFINITY, -4, 1, -6, 1, 0},
        {"strong and weak decay side by side", 1, 260, 4, 8, 1, 8, 128, 0, INFINITY, 0, 25, 1, 3, 0},
        {"dt of thousands", 1, 100, 2, 4, 1, 4, 32, 0, INFINITY, 0, 4000, 4, 4, 0},
        {"segments and padding", 3, 130, 4, 8, 2, 8, 32, 0, INFINITY, -1, 1, 0, 1, 1},
        {"many short segments", 2, 90, 4, 4, 2, 4, 16, 0, INFINITY, -1, 1, 0, 1, 2},
        {"no tokens", 0, 8, 4, 4, 2, 4, 4, 0, INFINITY, 0, 1, 0, 1, 0},
    };
    tap_open();
    check_reference();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(&shapes[i], NF_F32);
    check_shape(&shapes[3], NF_BF16);
    check_shape(&shapes[11], NF_BF16);
    check_packing();
    check_no_gradients();
    check_progress();
    return tap_done();
}
