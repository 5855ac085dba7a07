/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_attention.c: rows of t_cuda: attention on tensor cores, in plain arithmetic and by cuDNN, q, k and v as slices of one
 * tensor, with windows, sinks, packed segments and padding, rows of odd lengths.
 */
#include "cuda_rows.h"

struct setting {
    int rows, len, heads, kv_heads, d_qk, d_v, window;
    bool sinks;
    int segments; /* 0: none, 1: a few with padding behind, 2: padding in front and in the middle */
    nf_dtype type;
    enum nf_attention_backend backend;
};

enum { Q, K, V, O, LSE, SINKS, SEGMENT, G, DQ, DK, DV, DSINKS };

static int32_t *segments_of(const struct setting *s)
{
    int32_t *seg = calloc((size_t)(s->rows * s->len) + 1, sizeof *seg);

    for (int b = 0; b < s->rows; b++)
        for (int i = 0; i < s->len; i++) {
            const int at = (i + 29 * b) * 8 / (s->len + 29 * s->rows); /* 0 to 7 */
            seg[b * s->len + i] = s->segments == 1 ? (at < 7 ? at / 2 + 1 : 0) : (at == 0 || at == 4 ? 0 : at < 4 ? 1 : 2);
        }
    return seg;
}

static struct nf_attention_arg arg_of(struct cuda_trial *t, int side)
{
    const struct setting *s = t->opt;
    return (struct nf_attention_arg){
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .d_qk = s->d_qk,
        .d_v = s->d_v,
        .scale = 1.0f / sqrtf((float)s->d_qk),
        .window = s->window,
        .sinks = s->sinks ? CUDA_P(t, SINKS) : NULL,
        .seq = {.rows = s->rows, .len = s->len, .segment = s->segments ? CUDA_P(t, SEGMENT) : NULL},
        .backend = s->backend,
        .training = true};
}

static nf_status call_forward(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct nf_attention_arg a = arg_of(t, side);
    return nf_attention(q, CUDA_T(t, O), CUDA_P(t, LSE), CUDA_T(t, Q), CUDA_T(t, K), CUDA_T(t, V), &a);
}

/* o and lse are given: both sides start from the same. */
static nf_status call_backward(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct setting *s = t->opt;
    const struct nf_attention_arg a = arg_of(t, side);
    const nf_grad ds = {s->sinks ? *CUDA_T(t, DSINKS) : (nf_tensor){0}, true};

    return nf_attention_bwd(q, CUDA_T(t, DQ), CUDA_T(t, DK), CUDA_T(t, DV), ds, CUDA_T(t, G), CUDA_T(t, Q), CUDA_T(t, K),
                            CUDA_T(t, V), CUDA_T(t, O), CUDA_P(t, LSE), &a);
}

/* The forward of the definition fills o and lse of the trial. */
static void fill_forward(struct cuda_trial *t)
{
    struct cuda_trial on_host = *t;

    for (int i = 0; i < t->args; i++) {
        on_host.arg[i].side[0] = t->arg[i].side[1];
        on_host.arg[i].side[0].data = t->arg[i].init;
    }
    if (call_forward(&on_host, t->rig->q[0], 0)) {
        printf("Bail out! %s\n", nf_diagnosis());
        exit(1);
    }
}

/*
 * What two terms of an element of dq may come to that cancel, where a query sees few keys: scale dS k with dS at most a quarter
 * of the difference of two dP (their deviation is sqrt(2 d_v) / 3; four of them) and k at most 2. The roundings of dS are
 * relative to these, not to what is left. cuDNN rounds scale dS, which meets such an element in the largest shape here.
 */
static double two_keys(const struct setting *s)
{
    return 2 * 2 * sqrt(2.0 * s->d_v) / 3 / sqrt(s->d_qk);
}

static void try(struct cuda_rig *rig, const struct setting *s, bool backward)
{
    const int64_t T = (int64_t)s->rows * s->len, nq = (int64_t)s->heads * s->d_qk, nk = (int64_t)s->kv_heads * s->d_qk;
    const int64_t nv = (int64_t)s->kv_heads * s->d_v, no = (int64_t)s->heads * s->d_v, wide = nq + nk + nv;
    const bool dnn = s->backend == NF_ATTN_CUDNN;
    /* on tensor cores probabilities, and their gradients, are rounded to bf16 before the products; cuDNN rounds dk and dv of
     * each query head too, before it adds up those of a kv head */
    const double sums = 2 * cuda_sum(s->d_qk + s->len), b = sums + (s->type == NF_F32 ? 0 : cuda_operands(1));
    const double keys = dnn && s->heads > s->kv_heads ? sums + cuda_operands(2) : b;
    struct cuda_trial t = cuda_trial_new(rig, backward ? call_backward : call_forward, s,
                                         "attention%s %s%s, %d x %d, heads %d / %d of %d, %d, window %d%s, segments %d",
                                         backward ? " backward" : "", nf_dtype_name(s->type),
                                         s->backend == NF_ATTN_REFERENCE ? " reference"
                                         : dnn                           ? " cuDNN"
                                                                         : "",
                                         s->rows, s->len, s->heads, s->kv_heads, s->d_qk, s->d_v, s->window,
                                         s->sinks ? ", sinks" : "", s->segments);
    int32_t *seg = segments_of(s);
    float *lse = calloc((size_t)(s->heads * T) + 1, sizeof *lse);
    for (int64_t i = 0; i < s->heads * T; i++)
        lse[i] = 8; /* of a backward that is only repeated; else the forward's */

    t.free_bits = dnn && backward;
    cuda_real(&t, "q", CUDA_IN, 0, s->type, T, nq, wide, 2);
    cuda_real(&t, "k", CUDA_IN, 0, s->type, T, nk, wide, 2);
    cuda_real(&t, "v", CUDA_IN, 0, s->type, T, nv, wide, 1);
    cuda_real(&t, "o", backward ? CUDA_IN : CUDA_OUT, b, s->type, T, no, 0, 1);
    cuda_flat(&t, "lse", backward ? CUDA_IN : CUDA_OUT, sums, NF_F32, s->heads * T, backward ? lse : NULL);
    cuda_as_vector(&t, cuda_real(&t, "sinks", CUDA_IN, 0, NF_F32, 1, s->heads, 0, 1));
    cuda_flat(&t, "segment", CUDA_IN, 0, NF_I32, T, seg);
    if (backward) {
        cuda_real(&t, "do", CUDA_IN, 0, s->type, T, no, no + 8, 1);
        cuda_real(&t, "dq", CUDA_OUT, b, s->type, T, nq, wide, 0);
        if (dnn)
            cuda_rounded(&t, DQ, 1, 0, two_keys(s));
        cuda_real(&t, "dk", CUDA_OUT, keys, s->type, T, nk, wide, 0);
        cuda_real(&t, "dv", CUDA_OUT, keys, s->type, T, nv, wide, 0);
        cuda_as_vector(&t,
                       cuda_real(&t, "dsinks", s->sinks ? CUDA_INOUT : CUDA_IN, 2 * cuda_sum(T), NF_F32, 1, s->heads, 0, 1));
        if (!rig->large)
            fill_forward(&t);
    }
    cuda_try(&t);
    free(seg);
    free(lse);
}

static const struct setting settings[] = {
    {1, 3, 2, 1, 8, 8, 0, false, 0, NF_F32, NF_ATTN_FLASH},
    {3, 17, 3, 3, 5, 7, 0, false, 0, NF_F32, NF_ATTN_FLASH},
    {2, 150, 8, 2, 16, 16, 0, false, 0, NF_F32, NF_ATTN_REFERENCE},
    {2, 140, 4, 4, 192, 128, 0, false, 0, NF_F32, NF_ATTN_FLASH},
    {2, 130, 4, 2, 64, 64, 37, true, 0, NF_F32, NF_ATTN_FLASH},
    {3, 160, 6, 2, 32, 32, 0, false, 1, NF_F32, NF_ATTN_FLASH},
    {2, 160, 4, 1, 24, 24, 50, true, 2, NF_F32, NF_ATTN_FLASH},
    {2, 150, 4, 2, 40, 40, 0, false, 1, NF_BF16, NF_ATTN_FLASH},
    {1, 128, 4, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_REFERENCE},
    {1, 64, 1, 1, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
    {1, 128, 2, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
    {2, 300, 8, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
    {3, 513, 4, 1, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
    {2, 400, 4, 2, 128, 128, 100, false, 0, NF_BF16, NF_ATTN_FLASH},
    {2, 300, 4, 2, 64, 64, 1, true, 0, NF_BF16, NF_ATTN_FLASH},
    {2, 450, 6, 3, 128, 128, 0, true, 1, NF_BF16, NF_ATTN_FLASH},
    {2, 500, 4, 1, 64, 64, 128, true, 2, NF_BF16, NF_ATTN_FLASH},
    {1, 1024, 32, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
    {0, 16, 4, 2, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
    {1, 5, 2, 2, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {1, 64, 1, 1, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {2, 100, 2, 1, 40, 40, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {2, 130, 6, 3, 96, 96, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {2, 140, 4, 4, 192, 128, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {1, 257, 4, 2, 256, 256, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {2, 300, 8, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {3, 513, 4, 1, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {1, 1024, 32, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {0, 16, 4, 2, 64, 64, 0, false, 0, NF_BF16, NF_ATTN_CUDNN},
    {1, 4096, 32, 2, 128, 128, 0, false, 0, NF_BF16, NF_ATTN_FLASH},
};

void cuda_test_attention(struct cuda_rig *rig)
{
    CUDA_EACH(i, rig, settings, 1)
    try(rig, &settings[i], false);
}
void cuda_test_attention_bwd(struct cuda_rig *rig)
{
    CUDA_EACH(i, rig, settings, 1)
    try(rig, &settings[i], true);
}
