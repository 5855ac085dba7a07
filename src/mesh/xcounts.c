/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting. Each rank counts, for each chunk and destination, token rows and expert rows; one nonblocking gather makes them the
 * matrix [source][chunk][destination][2] that every rank of ep sees. From it all derive the same number of passes: a chunk fits
 * if no receiver gets more than row_cap rows or more than expert_cap expert rows; else it is cut into windows that fit whatever
 * they hold. While the counts travel, the lists are made.
 */
#include "exchange.h"

#include <string.h>

nf_status nf_xcounts_check(const nf_xplan *plan)
{
    const int k = plan->shape.k;

    for (int64_t i = 0; i < plan->tokens * k; i++)
        if (plan->ids[i] < -1 || plan->ids[i] >= plan->shape.experts)
            return nf_fail(NF_EBUG, "token %lld is routed to expert %d of %d", (long long)(i / k), plan->ids[i],
                           plan->shape.experts);
    return NF_OK;
}

/* The rank that owns an expert, without a division for each: exact as long as both are below 2^20. */
struct owners {
    uint64_t factor;
};

static struct owners owners_of(int local)
{
    return (struct owners){(((uint64_t)1 << 40) + (uint64_t)local - 1) / (uint64_t)local};
}

static int owner(struct owners o, int32_t id)
{
    return (int)((uint64_t)id * o.factor >> 40);
}

/* Destinations of one token into `where`, ascending; returns their number. Sets of up to 64 ranks are words, a part of the
 * ranks after the other. */
static int choose(const int32_t *ids, int k, struct owners o, int ranks, int32_t *where)
{
    int n = 0;

    for (int first = 0; first < ranks; first += 64) {
        uint64_t set = 0;
        for (int j = 0; j < k; j++) {
            const int d = ids[j] < 0 ? -1 : owner(o, ids[j]) - first;
            if (d >= 0 && d < 64)
                set |= (uint64_t)1 << d;
        }
        for (; set; set &= set - 1)
            where[n++] = first + __builtin_ctzll(set);
    }
    return n;
}

/* Destinations of every token into `where`, and their numbers into mine [chunks][P][2]. */
static void destinations(nf_xplan *plan, int32_t *mine)
{
    const int k = plan->shape.k, ranks = plan->x->ep->size;
    const struct owners o = owners_of(nf_x_local_experts(plan->x->ep, &plan->shape));
    const bool all = nf_x_sends_all(plan->x->ep, &plan->shape);

    memset(mine, 0, (size_t)plan->shape.chunks * (size_t)ranks * 2 * sizeof *mine);
    for (int64_t t = 0; t < plan->tokens; t++) {
        const int32_t *ids = plan->ids + t * k;
        int32_t *where = plan->host_where + t * plan->slots;
        int32_t *count = mine + t / plan->chunk_tokens * ranks * 2;
        int n = 0;
        if (all)
            for (; n < ranks; n++)
                where[n] = n;
        else
            n = choose(ids, k, o, ranks, where);
        for (int i = 0; i < n; i++)
            count[2 * where[i]]++;
        for (int j = 0; j < k; j++)
            if (ids[j] >= 0)
                count[2 * owner(o, ids[j]) + 1]++;
        for (; n < plan->slots; n++)
            where[n] = -1;
    }
}

/* Lists by destination, tokens ascending; `where` becomes the place in the chunk's list, which is the place of the returned
 * row. */
static void lists(nf_xplan *plan, const int32_t *mine)
{
    const int ranks = plan->x->ep->size;

    for (int c = 0; c < plan->shape.chunks; c++) {
        int32_t *next = plan->before + (int64_t)c * ranks; /* free until the matrix is here */
        int32_t *send = plan->send + (int64_t)c * ranks;
        int64_t first = nf_xplan_token0(plan, c), n = nf_xplan_chunk_rows(plan, c);
        for (int d = 0, base = 0; d < ranks; d++) {
            send[d] = mine[((int64_t)c * ranks + d) * 2];
            next[d] = base;
            base += send[d];
        }
        for (int64_t t = first; t < first + n; t++) {
            int32_t *where = plan->host_where + t * plan->slots;
            for (int64_t i = 0; i < plan->slots && where[i] >= 0; i++) {
                where[i] = next[where[i]]++;
                if (plan->list)
                    plan->list[c * plan->chunk_tokens * plan->slots + where[i]] = (int32_t)t;
            }
        }
    }
}

nf_status nf_xcounts_start(nf_xplan *plan, nf_event *event)
{
    nf_exchange *x = plan->x;
    const size_t each = (size_t)plan->shape.chunks * (size_t)x->ep->size * 2;
    struct nf_op *op;

    NF_CHECK(x->most.counts >= each * (size_t)x->ep->size * sizeof *x->counts);
    if (x->counting)
        return nf_fail(NF_EBUG, "a plan is counted while the slices of another have not been asked for");
    int32_t *mine = x->counts + (size_t)x->ep->rank * each;
    NF_TRY(nf_xcounts_check(plan));
    x->counting = plan;
    destinations(plan, mine);
    NF_TRY(nf_op_new(x->mesh, 1, 0, &op));
    NF_MPI(
        MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, x->counts, (int)each, MPI_INT32_T, x->ep->comm, nf_op_request(op)));
    NF_TRY(nf_op_start(op, NULL, event));
    lists(plan, mine);
    return NF_OK;
}

/* Passes of one chunk, and this rank's neighbours in it. */
static void derive(nf_xplan *plan, int chunk)
{
    const nf_group *ep = plan->x->ep;
    const int64_t row_cap = nf_x_row_cap(ep, &plan->shape), expert_cap = nf_x_expert_rows_cap(ep, &plan->shape);
    const int64_t chunks = plan->shape.chunks;
    int64_t most_rows = 0, most_expert_rows = 0;

    for (int d = 0; d < ep->size; d++) {
        int64_t rows = 0, expert_rows = 0;
        for (int s = 0; s < ep->size; s++) {
            const int32_t *count = plan->x->counts + ((s * chunks + chunk) * ep->size + d) * 2;
            if (s == ep->rank)
                plan->before[(int64_t)chunk * ep->size + d] = (int32_t)rows;
            if (d == ep->rank)
                plan->recv[(int64_t)chunk * ep->size + s] = count[0];
            rows += count[0];
            expert_rows += count[1];
        }
        most_rows = rows > most_rows ? rows : most_rows;
        most_expert_rows = expert_rows > most_expert_rows ? expert_rows : most_expert_rows;
    }
    const bool fits = most_rows <= row_cap && most_expert_rows <= expert_cap;
    const int64_t w = fits ? (row_cap > 0 ? row_cap : 1) : nf_x_pass_rows(ep, &plan->shape);
    plan->window[chunk] = w;
    plan->passes[chunk] = most_rows > w ? (int32_t)((most_rows + w - 1) / w) : 1;
}

nf_status nf_xcounts_slices(nf_queue *queue, nf_xplan *plan)
{
    NF_CHECK(plan->x->counting == plan);
    NF_TRY(nf_event_host_wait(nf_queue_device(queue), plan->event));
    plan->slices = 0;
    for (int c = 0; c < plan->shape.chunks; c++) {
        derive(plan, c);
        plan->slices += plan->passes[c];
    }
    plan->x->counting = NULL;
    return NF_OK;
}
