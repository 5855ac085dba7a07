/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden_half.c: how far bf16 may lie from the reference (doc/numerics.md, "Whole models"): relative errors in the 2-norm that
 * independent roundings add up to, along the blocks forward and back, with the sizes of stream and branches as the pass in fp32
 * met them; or, where a model amplifies errors by more, what follows from a second pass in fp32, with weights rounded to bf16.
 * A figure may be twice what is expected.
 */
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One rounding to bf16 in the 2-norm: 2^-7 / sqrt(12) over the root mean square of a mantissa that is spread evenly by
 * logarithm */
#define RHO2 (1.53e-3 * 1.53e-3)
#define TWICE 2.0
/*
 * All roundings over those of weights, squares: in the forward 2.5 (a mamba block) to 3.5 (experts), with those of a backward 4
 * to 5.4. What the weights' alone do is measured, in fp32: so much more do all together.
 */
#define ALL_OF_FORWARD 3.5
#define ALL_OF_GRADIENTS 5.4
#define RELU2 (4.0 / 3)

/*
 * What a mixer makes of a relative error of its input, squared, and the roundings of its own, in squares of RHO: of activations
 * and of weights. What stands before several factors of a product counts for each of them. relu2 of a normal u makes of an
 * error e |u| that a product has mixed |2 u e| / |u^2|, squared 4/3 e^2, but 4 of u's own rounding, which goes with its size.
 */
static const struct mixer_roundings {
    double gain, own;
} mixers[NF_MIXER_KINDS] = {
    /* normalised row, norm, its weight, projection, its weight: for x, B, C, z, dt and the decays; convolution and weight: for
     * x, B and C; y, states; gated norm, weight, result, weight */
    [NF_MIXER_MAMBA] = {6, 5 * 6 + 2 * 3 + 2 + 4},
    /* the first five for q, k and v, with scores of size 1; probabilities, o, result, weight */
    [NF_MIXER_ATTENTION] = {3, 5 * 3 + 4},
    /* normalised row, norm, its weight, projection's weight before relu2; the projection; activation, result, weight, sum */
    [NF_MIXER_MLP] = {RELU2, 4 * RELU2 + 4 + 4},
    /* and the router's input and weight */
    [NF_MIXER_MOE] = {RELU2, 4 * RELU2 + 4 + 4 + 2},
};

nf_status nf_half_keep(const struct golden *g, float **kept, float *ref, const float *mine, int64_t n)
{
    const size_t bytes = (size_t)n * sizeof *ref;

    if (g->pass == GOLDEN_FIRST) {
        free(*kept);
        *kept = malloc(bytes + 1);
        if (!*kept)
            return nf_fail(NF_ENOMEM, "no memory for a comparison in bf16");
        memcpy(*kept, mine, bytes);
    } else if (g->pass == GOLDEN_ROUNDED) {
        memcpy(ref, *kept, bytes);
    }
    return NF_OK;
}

double nf_half_found(const struct golden *g, double *kept, double found, double ref)
{
    if (g->pass == GOLDEN_FIRST)
        *kept = found;
    return g->pass == GOLDEN_ROUNDED ? *kept : ref;
}

void nf_half_free(struct golden *g)
{
    struct golden_half *h = &g->expected;

    free(h->last);
    for (int i = 0; i <= GOLDEN_HIDDEN_MAX; i++)
        free(h->rows[i]);
    for (int k = 0; k < 2; k++) {
        for (int64_t r = 0; h->tensor[k] && r < h->tensors; r++)
            free(h->tensor[k][r]);
        free(h->tensor[k]);
        free(h->row[k]);
    }
    free(g->choices);
}

nf_status nf_half_observe(struct golden *g, int index, const float *hidden, int64_t n)
{
    struct golden_half *h = &g->expected;

    if (index == 0) { /* of a forward that is repeated, the last counts */
        memset(h->stream, 0, sizeof h->stream);
        memset(h->branch, 0, sizeof h->branch);
        free(h->last);
        h->last = malloc((size_t)n * sizeof *h->last + 1);
        if (!h->last)
            return nf_fail(NF_ENOMEM, "no memory for hidden states");
    }
    for (int64_t i = 0; i < n && h->last; i++) {
        const double x = (double)hidden[i], d = index ? x - (double)h->last[i] : 0;
        h->stream[index] += x * x;
        if (index)
            h->branch[index - 1] += d * d;
        h->last[i] = hidden[i];
    }
    return NF_OK;
}

/* Branch i over stream i, squared. What follows the last norm is no stream: the last branch is taken to be as the largest. */
static double share(const struct golden_half *h, int i, int blocks)
{
    double most = 0;
    for (int k = 0; k < blocks - 1; k++)
        most = fmax(most, h->branch[k] / h->stream[k]);
    return i < blocks - 1 ? h->branch[i] / h->stream[i] : blocks > 1 ? most : 1;
}

nf_status nf_half_expect(struct golden *g, const nf_model *m, double logit_square, int64_t scored)
{
    struct golden_half *h = &g->expected;
    const nf_group *world = nf_mesh_group(g->e->mesh, NF_WORLD);
    const int B = m->blocks;
    double *e = h->hidden, d;

    NF_TRY(nf_reduce_f64(world, h->stream, B + 1, NF_SUM));
    NF_TRY(nf_reduce_f64(world, h->branch, B + 1, NF_SUM));
    e[0] = RHO2;
    for (int i = 0; i < B; i++) {
        const struct mixer_roundings *k = &mixers[m->block[i].kind];
        const double f = share(h, i, B), next = i < B - 1 ? h->stream[i + 1] / h->stream[i] : 1 + f;
        e[i + 1] = (e[i] + f * (k->gain * e[i] + k->own * RHO2)) / next + RHO2;
    }
    const double last = e[B] + 3 * RHO2; /* normalised row, norm, its weight */
    h->logits = last + RHO2;
    h->loss = sqrt(h->logits * logit_square / (double)(scored ? scored : 1));
    d = h->logits * logit_square + 5 * RHO2; /* of the logits' gradient, rounded; the head's weight; the last norm */
    h->unit[m->units - 1] = d + last;
    for (int i = B - 1; i >= 0; i--) {
        const struct mixer_roundings *k = &mixers[m->block[i].kind];
        const double r = k->gain * share(h, i, B), inside = k->gain * e[i] + 2 * k->own * RHO2;
        h->unit[m->block[i].unit] = fmax(h->unit[m->block[i].unit], d + inside + RHO2);
        d += r / (1 + r) * inside + RHO2;
    }
    h->unit[0] = d + RHO2;
    for (int u = 0; u < m->units; u++)
        h->gradients = fmax(h->gradients, h->unit[u]);
    e[B] = last;
    return NF_OK;
}

/* Few elements may err by more than the mean of many. */
static double few(double square, int64_t n)
{
    return TWICE * sqrt(square * (1 + 36 / (double)n));
}

static double square(double x)
{
    return x * x;
}

double nf_half_row(const struct golden *g, enum nf_kind kind, int64_t row, int unit, int64_t n)
{
    const struct golden_half *h = &g->expected;
    if (kind == NF_GRADIENTS)
        return few(fmax(h->unit[unit], ALL_OF_GRADIENTS * square(h->row[0][row])), n);
    return few(RHO2 + ALL_OF_GRADIENTS * square(h->row[1][row]), n);
}

/* The largest of a row of figures up to the i-th: a step's alone may be small by chance. */
static double most(const double *figure, int i)
{
    double x = 0;
    for (int k = 0; k <= i; k++)
        x = fmax(x, figure[k]);
    return x;
}

double nf_half_figure(const struct golden *g, enum golden_figure kind, int i)
{
    const struct golden_half *h = &g->expected;
    const double *by_weights = &h->figure[golden_slot(kind, 0)], gradients = TWICE * sqrt(ALL_OF_GRADIENTS);

    switch (kind) {
    case GOLDEN_HIDDEN_STATE: return TWICE * sqrt(fmax(h->hidden[i], ALL_OF_FORWARD * square(by_weights[i])));
    case GOLDEN_LOGITS: return TWICE * sqrt(fmax(h->logits, ALL_OF_FORWARD * square(by_weights[0])));
    case GOLDEN_LOSS: return 2 * TWICE * h->loss / fabs(g->loss[i]) + gradients * most(by_weights, i);
    default: return TWICE * sqrt(h->gradients) + gradients * most(by_weights, i);
    }
}
