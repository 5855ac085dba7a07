/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_moe.h: a layer of experts small enough to be checked by hand. Expert e turns a row x into f(e) x, f a small whole
 * number; a token's result is the sum over its experts of weight times that. On a GPU, too, it computes on the host: what is
 * sent and what arrives lies on the device. It walks the exchange as a real layer does, forward and backward, keeping what a
 * layer keeps, sending again what was not kept.
 */
#ifndef NEMAFIT_VALIDATION_PARALLEL_FAKE_MOE_H
#define NEMAFIT_VALIDATION_PARALLEL_FAKE_MOE_H

#include "world.h"

int fake_factor(int expert);

struct fake_case {
    struct nf_xshape shape;
    int64_t ld; /* of x and dy, elements */
    int64_t tokens;
    const int32_t *ids;  /* [tokens, k]; all of it on the host */
    const void *x, *dy;  /* [tokens, ld] */
    const float *weight; /* [tokens, k] */
};

struct fake_result {
    float *y, *dx;  /* [tokens, width] */
    float *dweight; /* [tokens, k] */
    int64_t slices, overflow;
    int64_t host_waits; /* of the forward */
    uint64_t dispatch;  /* bytes sent by the forward, counts included */
    uint64_t combine;
    size_t plan_bytes;
    bool windows; /* rows travelled through windows of peers; overflow then counts the repeated forward's */
    bool fits;    /* no slice held more than row_cap rows or expert_cap expert rows */
};

double fake_get(const void *x, nf_dtype type, int64_t i);
void fake_put(void *x, nf_dtype type, int64_t i, double value);
struct fake_result fake_result_new(int64_t tokens, const struct nf_xshape *shape);
void fake_result_free(struct fake_result *r);
void fake_walk(struct world *w, const nf_mesh *mesh, const struct fake_case *c, struct fake_result *r);

#endif
