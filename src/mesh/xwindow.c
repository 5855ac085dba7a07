/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rows belong to a slice. A receiver's rows of a chunk are the lists of all senders to it, one after the other in rank
 * order; pass p takes rows [p w, (p + 1) w) of them. Sender and receiver cut alike, from the same counts.
 */
#include "exchange.h"

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static const int32_t *pairs(const nf_xplan *plan, const int32_t *of, int chunk)
{
    return of + (int64_t)chunk * plan->x->ep->size;
}

struct nf_span nf_xwindow_sent(const nf_xplan *plan, const struct nf_slice *slice, int d)
{
    int64_t n = pairs(plan, plan->send, slice->chunk)[d], before = pairs(plan, plan->before, slice->chunk)[d];
    int64_t w = plan->window[slice->chunk], low = slice->pass * w;
    return (struct nf_span){clamp(low - before, 0, n), clamp(low + w - before, 0, n)};
}

struct nf_span nf_xwindow_received(const nf_xplan *plan, const struct nf_slice *slice, int s)
{
    const int32_t *from = pairs(plan, plan->recv, slice->chunk);
    int64_t begin = 0, w = plan->window[slice->chunk], low = slice->pass * w;

    for (int r = 0; r < s; r++)
        begin += from[r];
    return (struct nf_span){clamp(begin - low, 0, w), clamp(begin + from[s] - low, 0, w)};
}

int64_t nf_xwindow_count(const nf_xplan *plan, const struct nf_slice *slice)
{
    return nf_xwindow_received(plan, slice, plan->x->ep->size - 1).end;
}

int64_t nf_xwindow_base(const nf_xplan *plan, int chunk, int d)
{
    const int32_t *to = pairs(plan, plan->send, chunk);
    int64_t base = 0;

    for (int r = 0; r < d; r++)
        base += to[r];
    return base;
}
