/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer's plan: made of the shape alone, filled by the counts, walked twice. It lies on the caller's arena. In a dry run the
 * arena only counts, so the few numbers a walk reads are kept by the exchange.
 */
#include "exchange.h"

#include <stdlib.h>

static nf_status shape_check(const nf_group *ep, const struct nf_xshape *s)
{
    if (s->dispatch == NF_FUSED)
        return nf_fail(NF_ENOTIMPL, "dispatch 'fused' needs peer windows; this transport has none");
    NF_CHECK(s->tokens >= 0 && s->width >= 0 && s->k >= 1 && s->chunks >= 1 && s->row_pad >= 1 && s->recv_factor > 0);
    NF_CHECK(s->experts >= ep->size && s->experts % ep->size == 0 && s->k <= s->experts);
    NF_CHECK((double)nf_x_chunk_tokens(s) * ep->size * s->k < INT32_MAX && (double)s->tokens * ep->size < INT32_MAX);
    return NF_OK;
}

/* The plan itself: NULL where arenas only count. */
static nf_status header(nf_exchange *x, nf_arena *arena, enum nf_end end, const struct nf_xshape *shape, bool dry,
                        nf_xplan **plan)
{
    void *p;

    NF_TRY(nf_arena_get(arena, end, sizeof **plan, "exchange plan", &p));
    if (x->on_device && !dry)
        return nf_xdevice_plan(x, p, shape, plan);
    if (dry) {
        p = malloc(sizeof **plan);
        if (!p)
            return nf_fail(NF_ENOMEM, "no memory for the plan of a dry run");
    }
    *plan = p;
    **plan = (nf_xplan){.x = x};
    if (dry) {
        (*plan)->next_dry = x->dry;
        x->dry = *plan;
    }
    return NF_OK;
}

nf_status nf_xplan_new(nf_queue *queue, nf_exchange *x, nf_arena *arena, enum nf_end end, const struct nf_xshape *shape,
                       nf_xplan **plan)
{
    const size_t word = sizeof(int32_t);
    const bool dry = nf_arena_counting(arena) || nf_queue_is_dry(queue);
    nf_xplan *p = NULL;

    NF_TRY(shape_check(x->ep, shape));
    NF_TRY(header(x, arena, end, shape, dry, &p));
    p->shape = *shape;
    p->chunk_tokens = nf_x_chunk_tokens(shape);
    p->slots = nf_x_return_slots(x->ep, shape);
    const size_t chunks = (size_t)shape->chunks, pairs = chunks * (size_t)x->ep->size;
    const size_t places = chunks * (size_t)(p->chunk_tokens * p->slots);
    struct nf_taker from = {arena, end, "exchange plan", NF_OK};
    if (x->on_device) { /* the rest is the host's */
        p->device_where = nf_x_take(&from, places * word);
        NF_TRY(from.status);
        *plan = p;
        return NF_OK;
    }
    p->where = nf_x_take(&from, places * word);
    if (!nf_x_sends_all(x->ep, shape))
        p->list = nf_x_take(&from, places * word);
    p->send = nf_x_take(&from, pairs * word);
    p->recv = nf_x_take(&from, pairs * word);
    p->before = nf_x_take(&from, pairs * word);
    p->window = nf_x_take(&from, chunks * sizeof *p->window);
    p->passes = nf_x_take(&from, chunks * word);
    NF_TRY(from.status);
    *plan = p;
    return NF_OK;
}

bool nf_xplan_only_counted(nf_queue *queue, const nf_xplan *plan)
{
    return nf_queue_is_dry(queue) || plan->x->mesh->is_virtual || plan->x->nowhere;
}

int64_t nf_xplan_token0(const nf_xplan *plan, int chunk)
{
    int64_t first = chunk * plan->chunk_tokens;
    return first < plan->tokens ? first : plan->tokens;
}

int64_t nf_xplan_chunk_rows(const nf_xplan *plan, int chunk)
{
    return nf_xplan_token0(plan, chunk + 1) - nf_xplan_token0(plan, chunk);
}

/* Without counts every chunk has one pass. */
static int passes_of(const nf_xplan *plan, int chunk)
{
    return plan->slices == plan->shape.chunks ? 1 : plan->passes[chunk];
}

struct nf_slice nf_xplan_slice(const nf_xplan *plan, int slice)
{
    int chunk = 0, first = 0;

    while (chunk < plan->shape.chunks - 1 && slice >= first + passes_of(plan, chunk))
        first += passes_of(plan, chunk++);
    return (struct nf_slice){.chunk = chunk,
                             .pass = slice - first,
                             .kept = slice == first,
                             .last = slice == first + passes_of(plan, chunk) - 1,
                             .token0 = nf_xplan_token0(plan, chunk),
                             .tokens = nf_xplan_chunk_rows(plan, chunk)};
}

const int32_t *nf_xplan_overflow(const nf_xplan *plan)
{
    (void)plan;
    return NULL; /* passes follow from counts: nothing can be left over */
}

int64_t nf_xplan_overflow_slices(const nf_xplan *plan)
{
    return plan->slices - plan->shape.chunks;
}
