/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes of the exchange: functions of the shape and the group's size alone, the same on every rank and in a dry run.
 *
 * A slice may hold so many expert rows that, whatever the routing, padding fits too: each of the local experts wastes at most
 * row_pad - 1 rows. So only sums over experts need to travel, and no slice can overrun expert_cap.
 */
#include "exchange.h"

#include <math.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int nf_x_local_experts(const nf_group *ep, const struct nf_xshape *shape)
{
    return shape->experts / ep->size;
}

bool nf_x_sends_all(const nf_group *ep, const struct nf_xshape *shape)
{
    return ep->size == 1 || shape->dispatch == NF_ALLGATHER;
}

size_t nf_x_row_bytes(const struct nf_xshape *shape)
{
    return (size_t)shape->width * nf_dtype_size(shape->dtype);
}

int64_t nf_x_chunk_tokens(const struct nf_xshape *shape)
{
    return (shape->tokens + shape->chunks - 1) / shape->chunks;
}

int64_t nf_x_return_slots(const nf_group *ep, const struct nf_xshape *shape)
{
    return nf_x_sends_all(ep, shape) ? ep->size : least(shape->k, ep->size);
}

/* factor times the mean, at least `floor`, at most what can be. */
static int64_t scaled(double factor, int64_t mean, int64_t floor, int64_t limit)
{
    double want = ceil(factor * (double)mean);
    return least(limit, most(floor, want < (double)limit ? (int64_t)want : limit));
}

int64_t nf_x_row_cap(const nf_group *ep, const struct nf_xshape *shape)
{
    int64_t tokens = nf_x_chunk_tokens(shape), all = ep->size * tokens;
    return nf_x_sends_all(ep, shape) ? all : scaled(shape->recv_factor, tokens * least(shape->k, ep->size), 1, all);
}

static int64_t experts_a_row(const nf_group *ep, const struct nf_xshape *shape)
{
    return least(shape->k, nf_x_local_experts(ep, shape));
}

int64_t nf_x_expert_rows_cap(const nf_group *ep, const struct nf_xshape *shape)
{
    int64_t tokens = nf_x_chunk_tokens(shape), each = experts_a_row(ep, shape);
    int64_t all = nf_x_row_cap(ep, shape) * each;
    return nf_x_sends_all(ep, shape) ? all : scaled(shape->recv_factor, tokens * shape->k, each, all);
}

int64_t nf_x_expert_cap(const nf_group *ep, const struct nf_xshape *shape)
{
    return nf_x_expert_rows_cap(ep, shape) + (int64_t)nf_x_local_experts(ep, shape) * (shape->row_pad - 1);
}

int64_t nf_x_pass_rows(const nf_group *ep, const struct nf_xshape *shape)
{
    return most(1, least(nf_x_row_cap(ep, shape), nf_x_expert_rows_cap(ep, shape) / experts_a_row(ep, shape)));
}

int64_t nf_x_packed_rows(const nf_group *ep, const struct nf_xshape *shape)
{
    int64_t tokens = nf_x_chunk_tokens(shape);
    return nf_x_sends_all(ep, shape) ? tokens : tokens * least(shape->k, ep->size - 1);
}

double nf_x_even_rows(const nf_group *ep, const struct nf_xshape *shape, int64_t tokens)
{
    int local = nf_x_local_experts(ep, shape);
    double missed = 1; /* the chance that none of a token's k experts lies on a given rank */

    for (int i = 0; i < shape->k && !nf_x_sends_all(ep, shape); i++)
        missed *= fmax(0, shape->experts - local - i) / (shape->experts - i);
    if (nf_x_sends_all(ep, shape))
        missed = 0;
    return (double)tokens * (ep->size - 1) * (1 - missed);
}
