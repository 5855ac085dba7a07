/* SPDX-License-Identifier: Apache-2.0 */
/* residency.h: the flat runs of a model on this rank. */
#ifndef NEMAFIT_MODEL_RESIDENCY_H
#define NEMAFIT_MODEL_RESIDENCY_H

#include "nemafit/model.h"

/* Parameters of one unit that share spread, types and whether they are trained. */
struct run {
    int unit;
    enum nf_spread spread;
    bool trained;
    int64_t n;               /* elements, gaps included */
    nf_dtype type[NF_KINDS]; /* of what is held */
    char *data[NF_KINDS];    /* by nf_kind; NULL: not now, or never */
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
    nf_named *named[NF_KINDS];
    nf_dtype *types[NF_KINDS];
    int micro;
    bool passing; /* gradients live on the step arena */
};

/* Elements of a parameter on this rank, and the first of them in the logical tensor. */
void nf_residency_local(const nf_residency *res, const nf_param_desc *d, int64_t *first, int64_t *count);
static inline size_t nf_run_bytes(const struct run *r, enum nf_kind kind)
{
    return (size_t)r->n * nf_dtype_size(r->type[kind]);
}

/* residency_state.c: types of all kinds for a parameter; whether a run holds the kind for good; memory from the state arena. */
void nf_residency_types_of(const nf_residency *res, const nf_param_desc *d, nf_dtype type[NF_KINDS]);
nf_status nf_residency_take(nf_residency *res);
const char *nf_residency_what(const struct run *r, enum nf_kind kind); /* for the table of memory */

#endif
