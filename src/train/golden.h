/* SPDX-License-Identifier: Apache-2.0 */
/* golden.h: a stored reference (logits, hidden states, losses, gradients, weights after some steps) and how far we are from it.
 */
#ifndef NEMAFIT_TRAIN_GOLDEN_H
#define NEMAFIT_TRAIN_GOLDEN_H

#include "batch.h"

/* Bounds of the relative error in the 2-norm: what regrouped fp32 sums leave. */
#define GOLDEN_FORWARD 1e-5 /* logits, hidden states, losses */
#define GOLDEN_GRADIENT 1e-4
#define GOLDEN_WEIGHTS 1e-3 /* division by sqrt(v) amplifies rounding where gradients are near zero */
#define GOLDEN_STEPS_MAX 64
#define GOLDEN_HIDDEN_MAX 512
#define GOLDEN_FIGURES (GOLDEN_HIDDEN_MAX + 1 + 2 * GOLDEN_STEPS_MAX) /* hidden states, logits, losses, gradient norms */

/* What roundings to bf16 are expected to do, squares of relative errors in the 2-norm, and the sizes it follows from. */
struct golden_half {
    double stream[GOLDEN_HIDDEN_MAX], branch[GOLDEN_HIDDEN_MAX]; /* squares, as the pass in fp32 met them */
    float *last;                                                 /* host: the hidden state before */
    double hidden[GOLDEN_HIDDEN_MAX], unit[GOLDEN_HIDDEN_MAX];   /* of hidden states; of gradients, by unit */
    double logits, gradients;
    double loss; /* absolute, no square: standard deviation */
    /* What bf16's roundings of the weights alone do in fp32, relative differences of the second pass from the first, no
     * squares: of the figures, and of each row of the weight map that is here: of gradients and of weights after the steps */
    double figure[GOLDEN_FIGURES];
    double *row[2];
    /* What the first pass found here, host: hidden states and, last, logits; tensors by row of the map; losses and norms */
    float *rows[GOLDEN_HIDDEN_MAX + 1], **tensor[2];
    int64_t tensors;
    double loss_found[GOLDEN_STEPS_MAX], norm_found[GOLDEN_STEPS_MAX];
};

enum golden_figure { GOLDEN_HIDDEN_STATE, GOLDEN_LOGITS, GOLDEN_LOSS, GOLDEN_NORM };
static inline int golden_slot(enum golden_figure figure, int i)
{
    static const int first[] = {0, GOLDEN_HIDDEN_MAX, GOLDEN_HIDDEN_MAX + 1, GOLDEN_HIDDEN_MAX + 1 + GOLDEN_STEPS_MAX};
    return first[figure] + i;
}

struct golden {
    const char *dir;
    nf_st *values, *grads, *after;
    int64_t rows, len;
    int32_t *ids, *labels, *segment; /* [rows, len]; segment NULL: none */
    int steps;
    double loss[GOLDEN_STEPS_MAX], norm[GOLDEN_STEPS_MAX];
    double lr, beta1, beta2, eps, weight_decay, clip;
    /* squares of differences and of the reference, summed on this rank */
    double hidden_diff[GOLDEN_HIDDEN_MAX], hidden_ref[GOLDEN_HIDDEN_MAX];
    double logits_diff, logits_ref;
    int hidden;          /* how many the reference has */
    int64_t first, mine; /* this rank's rows */
    struct engine *e;
    /* The reference in fp32; or first in fp32, then so with weights rounded to bf16, then in bf16 */
    enum golden_pass { GOLDEN_ALONE, GOLDEN_FIRST, GOLDEN_ROUNDED, GOLDEN_HALF } pass;
    /* Host [1 + steps][MoE layers, tokens, k]: who chose which expert in the pass in fp32, for that in bf16; NULL: not wanted
     */
    int32_t *choices;
    int64_t choices_each;
    struct golden_half expected;
    bool failed; /* some figure was beyond its bound */
};

nf_status nf_golden_open(const nf_mesh *mesh, const char *dir, struct golden *g);
/* Ids and labels are in the vocabulary, and what is there of the tensors is as large as the model's. Errors  same: NF_EDATA */
nf_status nf_golden_check(const struct golden *g, const nf_model *model);
void nf_golden_close(struct golden *g);

/* golden_steps.c: all figures of one pass, printed and held to bounds; rows: this rank's. Collective. */
nf_status nf_golden_repeat(struct golden *g, struct row_buffers *rows);

/* nf_run.observe: compares a hidden state of this rank's rows. */
nf_status nf_golden_hidden(void *golden, int index, const nf_tensor *hidden);
nf_status nf_golden_logits(struct golden *g, const nf_tensor *hidden);

/*
 * golden_half.c. Of three passes the first keeps what it found, in *kept, and the second is compared with that: ref, n values,
 * is overwritten with it. In other passes nothing happens. nf_half_found: what a figure of this pass is to be compared with.
 */
nf_status nf_half_keep(const struct golden *g, float **kept, float *ref, const float *mine, int64_t n);
double nf_half_found(const struct golden *g, double *kept, double found, double ref);
void nf_half_free(struct golden *g);
/* In the pass in fp32: this rank's hidden states, and then, from all that was seen, what is expected of bf16:
 * collective. logit_square: mean square of the logits; scored: targets. */
nf_status nf_half_observe(struct golden *g, int index, const float *hidden, int64_t n);
nf_status nf_half_expect(struct golden *g, const nf_model *model, double logit_square, int64_t scored);
/* Bounds: of row `row` of the weight map, n elements of a unit, its gradient or its weight after the steps; of a figure */
double nf_half_row(const struct golden *g, enum nf_kind kind, int64_t row, int unit, int64_t n);
double nf_half_figure(const struct golden *g, enum golden_figure kind, int i);

/* The bound of a figure in this pass: `fp32`, or what is derived for bf16. In the pass with rounded weights the figure is kept.
 */
double nf_golden_bound(struct golden *g, enum golden_figure kind, int i, double error, double fp32);
/* Print one figure ("name  error  bound") on rank 0 and remember whether it holds. */
void nf_golden_figure(struct golden *g, const char *name, double error, double bound, const char *worst);
/* Worst tensor of a kind against its reference, over all ranks. */
nf_status nf_golden_tensors(struct golden *g, const nf_st *reference, enum nf_kind kind, double bound, const char *what);

#endif
