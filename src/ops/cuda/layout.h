/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h: parts of one scratch block. The sizes add up nf_part()s; a kernel's launcher takes the same parts with nf_carve(),
 * which gives NULL where the sizes promised less: then the call fails as our mistake instead of writing beyond.
 */
#ifndef NEMAFIT_OPS_CUDA_LAYOUT_H
#define NEMAFIT_OPS_CUDA_LAYOUT_H

#include "nemafit/ops.h"

static inline size_t nf_part(size_t bytes)
{
    return (bytes + 255) & ~(size_t)255;
}

/* Bytes of an activation, parameter or gradient */
static inline size_t nf_real_size(nf_dtype type)
{
    return type == NF_F32 ? 4 : 2;
}

struct nf_carving {
    char *at;
    size_t left;
};

static inline void *nf_carve(struct nf_carving *c, size_t bytes)
{
    const size_t part = nf_part(bytes);
    char *p = c->at;

    if (bytes == 0)
        return (void *)NF_ALIGN; /* an address that nobody reads */
    if (part > c->left)
        return NULL;
    c->at += part;
    c->left -= part;
    return p;
}

static inline int64_t nf_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

#endif
