/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_optim.c: rows of t_cuda: AdamW in all schemes of state, the decision before it. */
#include "cuda_rows.h"

struct update {
    enum nf_state_scheme scheme;
    nf_dtype w, g;
    bool skip;
    const struct nf_adamw_piece *piece;
    int pieces;
};

enum { W, LOW, MASTER, M, V, G, VARS, DECISION };

static nf_status call_adamw(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct update *o = t->opt;
    const bool half = o->w == NF_BF16;
    const struct nf_adamw_arg arg = {
        .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .scheme = o->scheme, .seed = 99};
    const struct nf_adamw_run run = {.w = *CUDA_T(t, W),
                                     .low = half && o->scheme == NF_STATE_SPLIT ? *CUDA_T(t, LOW) : (nf_tensor){0},
                                     .master = half && o->scheme == NF_STATE_FP32 ? *CUDA_T(t, MASTER) : (nf_tensor){0},
                                     .m = *CUDA_T(t, M),
                                     .v = *CUDA_T(t, V),
                                     .g = *CUDA_T(t, G),
                                     .piece = o->piece,
                                     .pieces = o->pieces};
    return nf_adamw(q, &run, &arg, CUDA_P(t, VARS), CUDA_P(t, DECISION));
}

static int vector(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t n,
                  double spread)
{
    const int k = cuda_real(t, name, use, noise, type, 1, n, 0, spread);
    cuda_as_vector(t, k);
    return k;
}

/* v >= 0; the remainder any 16 bits */
static void positive(struct cuda_trial *t, int k)
{
    unsigned char *p = t->arg[k].init;
    const size_t size = nf_dtype_size(t->arg[k].side[0].dtype);
    for (size_t i = size - 1; i < t->arg[k].bytes; i += size)
        p[i] &= 0x7f;
}

/*
 * An fp32 update is sums of few terms, with a root and a quotient. Stochastic rounding goes up or down by whether 16 random
 * bits carry: fp32 values that differ in their last bit round differently once in 2^16 elements, by a unit of bf16. A split
 * weight and its remainder are held to the fp32 number that they are together.
 */
void cuda_test_adamw(struct cuda_rig *r)
{
    enum { MANY = 150 };
    struct nf_adamw_piece *piece = calloc(MANY, sizeof *piece);
    int64_t flat = 0;

    for (int i = 0; i < MANY; i++) {
        piece[i] =
            (struct nf_adamw_piece){flat, i % 7 == 6 ? 0 : 1 + i * i * 3 % 20011, i % 3 != 0, i * 5, i % 4 ? 0 : 1000003};
        flat += (piece[i].count + 127) / 128 * 128 + (i == 5);
    }
    static const struct update kinds[] = {
        {NF_STATE_FP32, NF_F32, NF_F32, false, NULL, 0},   {NF_STATE_FP32, NF_F32, NF_BF16, false, NULL, 0},
        {NF_STATE_FP32, NF_BF16, NF_F32, false, NULL, 0},  {NF_STATE_FP32, NF_BF16, NF_BF16, true, NULL, 0},
        {NF_STATE_SPLIT, NF_BF16, NF_F32, false, NULL, 0}, {NF_STATE_SPLIT, NF_BF16, NF_BF16, false, NULL, 0},
        {NF_STATE_BF16, NF_BF16, NF_F32, false, NULL, 0},  {NF_STATE_BF16, NF_BF16, NF_BF16, false, NULL, 0}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int all = r->large ? 3 : 0; all < (r->large ? 4 : 3); all++) { /* one piece, many, nothing; a large one */
            struct update o = kinds[k];
            const bool half = o.w == NF_BF16, compact = half && o.scheme != NF_STATE_FP32;
            const nf_dtype moments = compact ? NF_BF16 : NF_F32;
            const int64_t n = all == 0 ? 301 : all == 1 ? flat : all == 2 ? 0 : 50000000;
            const struct nf_step_vars vars = {.lr = 1e-2f};
            const struct nf_decision decision = {.clip_scale = 0.5f, .skip = o.skip, .t = 3};
            const struct nf_adamw_piece one = {1, n > 1 ? n - 2 : 0, true, 8, 5};
            o.piece = all == 1 ? piece : &one;
            o.pieces = all == 1 ? MANY : all != 2;
            struct cuda_trial t = cuda_trial_new(r, call_adamw, &o, "adamw state %d, w %s, g %s, %d pieces%s", (int)o.scheme,
                                                 nf_dtype_name(o.w), nf_dtype_name(o.g), o.pieces, o.skip ? " skipped" : "");
            cuda_same_types(&t);
            const bool split = half && o.scheme == NF_STATE_SPLIT;
            const int w = vector(&t, "w", CUDA_INOUT, cuda_sum(4), o.w, n, 1);
            const int low = cuda_flat(&t, "low", split ? CUDA_INOUT : CUDA_IN, split ? cuda_sum(4) : 0, NF_I16, n, NULL);
            if (split)
                cuda_joined(&t, low, w);
            vector(&t, "master", half && o.scheme == NF_STATE_FP32 ? CUDA_INOUT : CUDA_IN, cuda_sum(4), NF_F32, n, 1);
            vector(&t, "m", CUDA_INOUT, cuda_sum(4), moments, n, 0.1);
            positive(&t, vector(&t, "v", CUDA_INOUT, cuda_sum(4), moments, n, 0.01));
            vector(&t, "g", CUDA_IN, 0, o.g, n, 0.3);
            cuda_flat(&t, "vars", CUDA_IN, 0, NF_U8, sizeof vars, &vars);
            cuda_flat(&t, "decision", CUDA_IN, 0, NF_U8, sizeof decision, &decision);
            cuda_try(&t);
        }
    free(piece);
}

static nf_status call_decide(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_decide(q, CUDA_P(t, 0), CUDA_P(t, 1), *(const double *)t->opt);
}

void cuda_test_decide(struct cuda_rig *r)
{
    static const double clips[] = {0, 1, 100},
                        sums[][4] = {{4, 2, 1, 0.5}, {NAN, 1, 0, 0}, {1e6, INFINITY, 0, 0}, {0, 0, 0, 0}};

    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 4; k++) {
            struct nf_decision before;
            memset(&before, 0, sizeof before);
            before.t = 6;
            struct cuda_trial t = cuda_trial_new(r, call_decide, &clips[c], "decide: norm^2 %g, clip %g", sums[k][0], clips[c]);
            cuda_flat(&t, "decision", CUDA_INOUT, 0, NF_U8, sizeof before, &before);
            cuda_flat(&t, "reduced", CUDA_IN, 0, NF_F64, 4, sums[k]);
            cuda_try(&t);
        }
}
