/* SPDX-License-Identifier: Apache-2.0 */
/* residency.h: the flat runs of a model on this rank. */
#ifndef NEMAFIT_MODEL_RESIDENCY_H
#define NEMAFIT_MODEL_RESIDENCY_H

#include "nemafit/model.h"

/* Parameters of one unit that share spread, type and whether they are trained. */
struct run {
    int unit;
    enum nf_spread spread;
    nf_dtype dtype;
    bool trained;
    int64_t n;           /* elements, gaps included */
    char *w, *m, *v, *g; /* m, v, g fp32; NULL: not now, or never */
    struct nf_adamw_piece *piece;
    int pieces;
    nf_event reduced;
};

struct nf_residency {
    struct nf_residency_arg arg;
    struct run *run;
    int runs;
    struct nf_flat *flat; /* of the trained runs */
    int flats;
    nf_named *named[4]; /* by nf_kind */
    int micro;
    bool passing; /* gradients live on the step arena */
};

/* Elements of a parameter on this rank, and the first of them in the logical tensor. */
void nf_residency_local(const nf_residency *res, const nf_param_desc *d, int64_t *first, int64_t *count);
size_t nf_residency_grad_bytes(const struct run *r);

#endif
