/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer's plan: made of the shape alone, filled by the counts, walked twice. It lies on the caller's arena. In a dry run the
 * arena only counts, so the few numbers a walk reads are kept by the exchange.
 */
#include "exchange.h"

#include <stdlib.h>

static nf_status shape_check(const nf_exchange *x, const struct nf_xshape *s)
{
    const nf_group *ep = x->ep;

    if (!nf_x_transport(x, s))
        return nf_fail(NF_ENOTIMPL, "parallel.dispatch = 'fused' is for GPUs: their kernels write into each other's memory"
                                    "\n  Hint: use 'alltoall', which sends the same rows");
    NF_CHECK(s->tokens >= 0 && s->width >= 0 && s->k >= 1 && s->chunks >= 1 && s->row_pad >= 1 && s->recv_factor > 0);
    NF_CHECK(s->experts >= ep->size && s->experts % ep->size == 0 && s->k <= s->experts && s->experts < 1 << 20);
    NF_CHECK((double)nf_x_chunk_tokens(s) * ep->size * s->k < INT32_MAX && (double)s->tokens * ep->size < INT32_MAX);
    return NF_OK;
}

nf_status nf_xplan_header(nf_exchange *x, struct nf_taker *from, bool dry, void **address, nf_xplan **plan)
{
    *address = nf_x_take(from, sizeof **plan);
    NF_TRY(from->status);
    if (!dry)
        return NF_OK;
    nf_xplan *p = calloc(1, sizeof *p);
    if (!p)
        return nf_fail(NF_ENOMEM, "no memory for the plan of a dry run");
    p->next_dry = x->dry;
    *plan = x->dry = p;
    return NF_OK;
}

nf_status nf_xplan_on_host(nf_exchange *x, struct nf_taker *from, const struct nf_xshape *shape, bool dry, nf_xplan **plan)
{
    const size_t word = sizeof(int32_t), chunks = (size_t)shape->chunks, pairs = chunks * (size_t)x->ep->size;
    const size_t places = chunks * (size_t)(nf_x_chunk_tokens(shape) * nf_x_return_slots(x->ep, shape));
    nf_xplan p = {0};
    void *address;

    NF_TRY(nf_xplan_header(x, from, dry, &address, plan));
    p.where = p.host_where = nf_x_take(from, places * word);
    p.list = nf_x_sends_all(x->ep, shape) ? NULL : nf_x_take(from, places * word);
    p.send = nf_x_take(from, pairs * word);
    p.recv = nf_x_take(from, pairs * word);
    p.before = nf_x_take(from, pairs * word);
    p.window = nf_x_take(from, chunks * sizeof *p.window);
    p.passes = nf_x_take(from, chunks * word);
    NF_TRY(from->status);
    if (dry)
        return NF_OK;
    *plan = address;
    **plan = p;
    return NF_OK;
}

nf_status nf_xplan_new(nf_queue *queue, nf_exchange *x, nf_arena *arena, enum nf_end end, const struct nf_xshape *shape,
                       nf_xplan **plan)
{
    const bool dry = nf_arena_counting(arena) || nf_queue_is_dry(queue);
    struct nf_taker from = {arena, end, "exchange plan", NF_OK};

    NF_TRY(shape_check(x, shape));
    NF_TRY((x->on_device ? nf_xdevice_plan : nf_xplan_on_host)(x, &from, shape, dry, plan));
    (*plan)->x = x;
    (*plan)->via = nf_x_transport(x, shape);
    (*plan)->shape = *shape;
    (*plan)->chunk_tokens = nf_x_chunk_tokens(shape);
    (*plan)->slots = nf_x_return_slots(x->ep, shape);
    return NF_OK;
}

nf_status nf_xplan_counts(nf_queue *queue, nf_xplan *plan, const int32_t *ids, int64_t tokens, nf_event *event)
{
    nf_exchange *x = plan->x;
    const size_t sent = ((size_t)x->ep->size - 1) * (size_t)plan->shape.chunks * (size_t)x->ep->size * 2 * sizeof(int32_t);

    NF_CHECK(tokens >= 0 && tokens <= plan->shape.tokens);
    nf_beat_call(x->ep, NF_CALL_COUNTS);
    plan->tokens = tokens;
    plan->ids = plan->given = ids;
    plan->counted = false;
    plan->slices = plan->shape.chunks;
    plan->event = *event = NF_DONE;
    if (plan->via->host_counts) /* others count what they send */
        x->mesh->traffic.dispatch += sent;
    nf_queue_count_sent(queue, (double)sent);
    if (nf_xplan_only_counted(queue, plan))
        return NF_OK;
    NF_CHECK(x->committed);
    NF_TRY(plan->via->counts(queue, plan, event));
    plan->event = *event;
    return NF_OK;
}

nf_status nf_xplan_slices(nf_queue *queue, nf_xplan *plan, int *slices)
{
    if (!nf_xplan_only_counted(queue, plan) && !plan->counted) {
        NF_TRY(plan->via->slices(queue, plan));
        plan->counted = true;
    }
    *slices = plan->slices;
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

int64_t nf_xplan_overflow_slices(const nf_xplan *plan)
{
    return plan->slices - plan->shape.chunks;
}
