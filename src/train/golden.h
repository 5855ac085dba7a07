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
    bool half;   /* bf16: figures are told; a router's near ties fall otherwise, so no bound holds for all models */
    bool failed; /* some figure was beyond its bound */
};

nf_status nf_golden_open(const nf_mesh *mesh, const char *dir, struct golden *g);
/* Ids and labels are in the vocabulary, and what is there of the tensors is as large as the model's. Errors  same: NF_EDATA */
nf_status nf_golden_check(const struct golden *g, const nf_model *model);
void nf_golden_close(struct golden *g);

/* nf_run.observe: compares a hidden state of this rank's rows. */
nf_status nf_golden_hidden(void *golden, int index, const nf_tensor *hidden);
nf_status nf_golden_logits(struct golden *g, const nf_tensor *hidden);

/* Print one figure ("name  error  bound") on rank 0 and remember whether it holds. */
void nf_golden_figure(struct golden *g, const char *name, double error, double bound, const char *worst);
/* Worst tensor of a kind against its reference, over all ranks. */
nf_status nf_golden_tensors(struct golden *g, const nf_st *reference, enum nf_kind kind, double bound, const char *what);

#endif
