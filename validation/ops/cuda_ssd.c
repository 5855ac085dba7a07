/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_ssd.c: rows of t_cuda: the scan and its gradients.
 *
 * fp32: dt and the decays take a few units each, sums run over up to N, P and Q terms and the chunks before. bf16: operands of
 * the tensor cores are rounded: y and the gradients of x, B and C have up to three in a product, counted along its factors
 * (the state's inputs, the state, and what reads it). The gradients of the decays are sums of two kinds of such products over
 * tokens, which cancel in part: twice the square.
 */
#include "cuda_rows.h"

enum { X, B, C, DT, BIAS, ALOG, D, DY, Y, DX, DB, DC, DDT, DBIAS, DALOG, DD, SEG };

struct scan {
    const char *what;
    int64_t rows, len;
    int heads, P, groups, N;
    float lo, hi;
    double rate; /* a_log is this, and up to 0.5 more from head to head */
    int segments;
};

struct opt {
    struct nf_ssd_arg arg;
    void *kept[2];
    bool segments, accumulate, forward_only, frozen;
};

static nf_status call_ssd(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct opt *o = t->opt;
    const nf_grad none = {{0}, false};
    struct nf_ssd_arg arg = o->arg;

    arg.seq.segment = o->segments ? CUDA_P(t, SEG) : NULL;
    arg.dtype = CUDA_T(t, X)->dtype;
    NF_TRY(nf_ssd(q, CUDA_T(t, Y), o->forward_only ? NULL : o->kept[side], CUDA_T(t, X), CUDA_T(t, B), CUDA_T(t, C),
                  CUDA_T(t, DT), CUDA_T(t, BIAS), CUDA_T(t, ALOG), CUDA_T(t, D), &arg));
    if (o->forward_only)
        return NF_OK;
    return nf_ssd_bwd(q, CUDA_T(t, DX), CUDA_T(t, DB), CUDA_T(t, DC), CUDA_T(t, DDT),
                      (nf_grad){*CUDA_T(t, DBIAS), o->accumulate},
                      o->frozen ? none : (nf_grad){*CUDA_T(t, DALOG), o->accumulate},
                      o->frozen ? none : (nf_grad){*CUDA_T(t, DD), o->accumulate}, CUDA_T(t, DY), o->kept[side], CUDA_T(t, X),
                      CUDA_T(t, B), CUDA_T(t, C), CUDA_T(t, DT), CUDA_T(t, BIAS), CUDA_T(t, ALOG), CUDA_T(t, D), &arg);
}

static void add_segments(struct cuda_trial *t, const struct scan *s)
{
    const int64_t T = s->rows * s->len;
    int32_t *seg = calloc((size_t)(T ? T : 1), sizeof *seg), now = 1;

    if (!seg)
        exit(1);
    for (int64_t i = 0; i < T; i++) { /* two long ones and padding; or many short ones, also over whole chunks */
        const int64_t in = i % s->len;
        if (in == 0)
            now = 1;
        else if (s->segments == 2 && (in % 7 == 0 || in % 150 == 149))
            now++;
        seg[i] = s->segments == 1 ? (in < s->len / 3 ? 1 : in < s->len - s->len / 8 ? 2 : 0) : now;
    }
    cuda_flat(t, "segment", CUDA_IN, 0, NF_I32, T, seg);
    free(seg);
}

static void add_rates(struct cuda_trial *t, const struct scan *s)
{
    float *rate = calloc((size_t)s->heads, sizeof *rate);

    if (!rate)
        exit(1);
    for (int h = 0; h < s->heads; h++)
        rate[h] = (float)(s->rate + 0.5 * h / s->heads);
    cuda_flat(t, "a_log", CUDA_IN, 0, NF_F32, s->heads, rate);
    free(rate);
}

static void scan_trial(struct cuda_rig *r, const struct scan *s, nf_dtype type, bool accumulate, bool forward_only)
{
    const int64_t T = s->rows * s->len, inner = (int64_t)s->heads * s->P, bc = (int64_t)s->groups * s->N;
    /* frozen in some trials: the decay's base and the skip */
    const bool frozen = !forward_only && !accumulate && s->segments == 1;
    const enum cuda_use back = forward_only ? CUDA_IN : CUDA_OUT, sum = forward_only ? CUDA_IN
                                                                        : accumulate ? CUDA_INOUT
                                                                                     : CUDA_OUT;
    const double sums = 2 * cuda_sum(s->N + s->P + 128);
    const double wide = sums + (type == NF_F32 ? 0 : cuda_operands(3)),
                 decays = 2 * sums + (type == NF_F32 ? 0 : cuda_operands(6));
    struct opt o = {.arg = {.heads = s->heads,
                            .head_dim = s->P,
                            .groups = s->groups,
                            .state = s->N,
                            .chunk = 128,
                            .dtype = type,
                            .dt_lo = s->lo,
                            .dt_hi = s->hi,
                            .seq = {.rows = s->rows, .len = s->len}},
                    .segments = s->segments != 0,
                    .accumulate = accumulate,
                    .forward_only = forward_only,
                    .frozen = frozen};
    size_t kept[2];
    struct cuda_trial t = cuda_trial_new(r, call_ssd, &o, "ssd %s %s%s%s", nf_dtype_name(type), s->what,
                                         accumulate ? ", accumulating"
                                         : frozen   ? ", frozen"
                                                    : "",
                                         forward_only ? ", forward alone" : "");

    for (int k = 0; k < 2; k++) {
        struct nf_ssd_arg arg = o.arg;
        arg.dtype = k ? type : NF_F32;
        kept[k] = nf_ssd_kept(r->q[k], &arg);
        if (nf_device_alloc(r->device[k], kept[k] ? kept[k] : 1, "kept", &o.kept[k]))
            exit(1);
    }
    /* column slices of wider matrices, as the layer has them */
    cuda_real(&t, "x", CUDA_IN, 0, type, T, inner, inner + 2 * bc, 1);
    cuda_real(&t, "b", CUDA_IN, 0, type, T, bc, bc + 3, 0.5);
    cuda_real(&t, "c", CUDA_IN, 0, type, T, bc, bc + 5, 0.5);
    cuda_real(&t, "dt", CUDA_IN, 0, type, T, s->heads, s->heads + 1, 1.5);
    cuda_as_vector(&t, cuda_real(&t, "dt_bias", CUDA_IN, 0, NF_F32, 1, s->heads, 0, 1));
    add_rates(&t, s);
    cuda_as_vector(&t, cuda_real(&t, "d", CUDA_IN, 0, NF_F32, 1, s->heads, 0, 1));
    cuda_real(&t, "dy", CUDA_IN, 0, type, T, inner, inner + 2, 1);
    cuda_real(&t, "y", CUDA_OUT, wide, type, T, inner, inner + 1, 0);
    cuda_real(&t, "dx", back, wide, type, T, inner, inner + 6, 0);
    cuda_real(&t, "db", back, wide, type, T, bc, bc + 1, 0);
    cuda_real(&t, "dc", back, wide, type, T, bc, 0, 0);
    cuda_real(&t, "ddt", back, decays, type, T, s->heads, s->heads + 2, 0);
    cuda_as_vector(&t, cuda_real(&t, "d dt_bias", sum, decays, NF_F32, 1, s->heads, 0, 1));
    cuda_as_vector(&t, cuda_real(&t, "d a_log", sum, decays, NF_F32, !frozen, s->heads, 0, 1));
    cuda_as_vector(&t, cuda_real(&t, "d d", sum, wide, NF_F32, !frozen, s->heads, 0, 1));
    if (s->segments)
        add_segments(&t, s);
    cuda_try(&t);
    for (int k = 0; k < 2; k++)
        nf_device_release(r->device[k], o.kept[k], kept[k] ? kept[k] : 1);
}

static const struct scan scans[] = {
    {"one short row", 1, 5, 2, 4, 1, 3, 0, INFINITY, 1, 0},
    {"odd widths", 2, 131, 6, 5, 3, 7, 0, INFINITY, 1, 0},
    {"whole chunks", 1, 256, 4, 64, 2, 128, 0, INFINITY, 1, 0},
    {"wide heads and states, limits of dt", 2, 300, 2, 96, 1, 160, 0.3f, 1.4f, 0.5, 0},
    {"fast decay", 1, 400, 3, 16, 3, 16, 0, INFINITY, 3, 0},
    {"slow decay over many chunks", 1, 1030, 2, 8, 2, 16, 0, INFINITY, -6, 0},
    {"two segments and padding", 2, 450, 4, 32, 2, 64, 0, INFINITY, 1, 1},
    {"many short segments", 2, 517, 4, 16, 2, 32, 0, INFINITY, 0.5, 2},
    {"Nano's heads", 1, 640, 64, 64, 8, 128, 0, INFINITY, 1, 0},
    {"no row", 0, 64, 2, 8, 1, 8, 0, INFINITY, 1, 0},
    {"Nano's, 4,096 tokens", 1, 4096, 64, 64, 8, 128, 0, INFINITY, 1, 0},
};

void cuda_test_ssd(struct cuda_rig *r)
{
    CUDA_EACH(i, r, scans, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++)
        scan_trial(r, &scans[i], cuda_reals[d], false, true);
}

void cuda_test_ssd_bwd(struct cuda_rig *r)
{
    CUDA_EACH(i, r, scans, 1)
    for (int d = CUDA_FIRST(r); d < 2; d++)
        scan_trial(r, &scans[i], cuda_reals[d], (int)(i % 2) == d, false);
}
