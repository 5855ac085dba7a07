/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectives over MPI on host memory, as chains of rounds that polling completes.
 *
 * Each rank owns one part of the array. Round i brings everybody's contributions to segment i of the parts to their owners, and
 * the finished segment i - 1 back to everybody; the owner adds in rank order. Segments bound the staging: it holds one segment
 * from each other rank, a few MiB in all. Sums of a few numbers go to everybody whole, in one round.
 *
 * A contribution has left inout (its send is complete) a round before the sum arrives in its place.
 */
#include "comm.h"
#include "private.h"

static const int64_t direct_bytes = 2048, staging_bytes = (int64_t)8 << 20, segment_most = (int64_t)4 << 20;
static const int64_t segment_least = (int64_t)32 << 10;

bool nf_comm_is_direct(const nf_group *group, int64_t n, nf_dtype dtype)
{
    return n < group->size || n * (int64_t)nf_dtype_size(dtype) <= direct_bytes;
}

size_t nf_comm_all_reduce_bytes(const nf_group *group, int64_t n, nf_dtype dtype)
{
    size_t others = (size_t)group->size - 1, bytes = (size_t)n * nf_dtype_size(dtype);
    return nf_comm_is_direct(group, n, dtype) ? others * bytes : 2 * (bytes * others / (size_t)group->size);
}

size_t nf_comm_reduce_scatter_bytes(const nf_group *group, int64_t n_each, nf_dtype dtype)
{
    return ((size_t)group->size - 1) * (size_t)n_each * nf_dtype_size(dtype);
}

size_t nf_comm_all_gather_bytes(const nf_group *group, size_t bytes_each)
{
    return ((size_t)group->size - 1) * bytes_each;
}

/* Segment s of rank r's part: elements [*from, result) of the array. */
static int64_t segment_of(const struct nf_reduce_state *z, int r, int64_t s, int64_t *from)
{
    int64_t end = (r + 1) * z->chunk < z->n ? (r + 1) * z->chunk : z->n;
    *from = r * z->chunk + s * z->segment;
    int64_t to = *from + z->segment < end ? *from + z->segment : end;
    return to > *from ? to : *from;
}

static size_t stride_of(const struct nf_reduce_state *z)
{
    return (size_t)z->segment * nf_dtype_size(z->dtype);
}

static void contributions(struct nf_op *op, int64_t s)
{
    struct nf_reduce_state *z = &op->u.reduce;
    const nf_group *g = z->group;
    const size_t each = nf_dtype_size(z->dtype);
    int64_t from, to = segment_of(z, g->rank, s, &from);

    for (int i = 1; i < g->size; i++) {
        int r = (g->rank + i) % g->size;
        nf_op_recv(op, g->comm, op->staging + (size_t)(r < g->rank ? r : r - 1) * stride_of(z), (size_t)(to - from) * each, r,
                   z->tag);
    }
    for (int i = 1; i < g->size; i++) {
        int r = (g->rank + i) % g->size;
        int64_t first, last = segment_of(z, r, s, &first);
        nf_op_send(op, g->comm, z->in + (size_t)first * each, (size_t)(last - first) * each, r, z->tag);
    }
}

static void results(struct nf_op *op, int64_t s)
{
    struct nf_reduce_state *z = &op->u.reduce;
    const nf_group *g = z->group;
    const size_t each = nf_dtype_size(z->dtype);
    int64_t from, to = segment_of(z, g->rank, s, &from);

    for (int i = 1; i < g->size; i++) {
        int r = (g->rank + i) % g->size;
        int64_t first, last = segment_of(z, r, s, &first);
        nf_op_recv(op, g->comm, z->all + (size_t)first * each, (size_t)(last - first) * each, r, z->tag + 1);
    }
    for (int i = 1; i < g->size; i++) {
        int r = (g->rank + i) % g->size;
        nf_op_send(op, g->comm, z->all + (size_t)from * each, (size_t)(to - from) * each, r, z->tag + 1);
    }
}

static bool reduce_next(struct nf_op *op)
{
    struct nf_reduce_state *z = &op->u.reduce;
    const size_t each = nf_dtype_size(z->dtype);
    const int64_t now = z->round++;

    if (now > 0 && now <= z->segments) {
        int64_t from, to = segment_of(z, z->group->rank, now - 1, &from);
        nf_comm_sum(z->out + (size_t)((now - 1) * z->segment) * each, z->accumulate, z->in + (size_t)from * each,
                    z->group->rank, op->staging, stride_of(z), z->group->size, to - from, z->dtype);
    }
    if (now > 0 && z->all && now <= z->segments)
        results(op, now - 1);
    if (now < z->segments)
        contributions(op, now);
    return now >= z->segments + (z->all ? 1 : 0) || op->status != NF_OK;
}

static nf_status reduce_start(struct nf_reduce_state z, nf_event *event)
{
    const int64_t others = z.group->size - 1, each = (int64_t)nf_dtype_size(z.dtype);
    int64_t bytes = staging_bytes / others;
    struct nf_op *op;

    bytes = bytes > segment_most ? segment_most : bytes < segment_least ? segment_least : bytes;
    z.segment = bytes / each < z.chunk ? bytes / each : z.chunk;
    z.segments = (z.chunk + z.segment - 1) / z.segment;
    z.tag = nf_op_tag(z.group);
    NF_TRY(nf_op_new(z.group->mesh, (int)(4 * others), (size_t)(others * z.segment * each), &op));
    op->u.reduce = z;
    return nf_op_start(op, reduce_next, event);
}

static bool direct_next(struct nf_op *op)
{
    struct nf_reduce_state *z = &op->u.reduce;
    const nf_group *g = z->group;
    const size_t bytes = (size_t)z->n * nf_dtype_size(z->dtype);

    if (z->round++ > 0) {
        nf_comm_sum(z->out, false, z->in, g->rank, op->staging, bytes, g->size, z->n, z->dtype);
        return true;
    }
    for (int i = 1; i < g->size; i++) {
        int r = (g->rank + i) % g->size;
        nf_op_recv(op, g->comm, op->staging + (size_t)(r < g->rank ? r : r - 1) * bytes, bytes, r, z->tag);
    }
    for (int i = 1; i < g->size; i++)
        nf_op_send(op, g->comm, z->in, bytes, (g->rank + i) % g->size, z->tag);
    return op->status != NF_OK;
}

static nf_status direct_start(struct nf_reduce_state z, nf_event *event)
{
    const int others = z.group->size - 1;
    struct nf_op *op;

    z.tag = nf_op_tag(z.group);
    NF_TRY(nf_op_new(z.group->mesh, 2 * others, (size_t)others * (size_t)z.n * nf_dtype_size(z.dtype), &op));
    op->u.reduce = z;
    return nf_op_start(op, direct_next, event);
}

static nf_status all_reduce(nf_queue *queue, const nf_group *group, void *inout, int64_t n, nf_dtype dtype, nf_event *event)
{
    (void)queue;
    struct nf_reduce_state z = {.group = group, .in = inout, .n = n, .dtype = dtype};
    if (nf_comm_is_direct(group, n, dtype)) {
        z.out = inout;
        return direct_start(z, event);
    }
    z.chunk = (n + group->size - 1) / group->size;
    z.all = inout;
    z.out = z.all + (size_t)(group->rank * z.chunk) * nf_dtype_size(dtype);
    return reduce_start(z, event);
}

static nf_status reduce_scatter(nf_queue *queue, const nf_group *group, void *out, const void *in, int64_t n_each,
                                nf_dtype dtype, bool accumulate, nf_event *event)
{
    (void)queue;
    if (group->size == 1) {
        nf_comm_sum(out, accumulate, in, 0, NULL, 0, 1, n_each, dtype);
        return NF_OK;
    }
    return reduce_start((struct nf_reduce_state){.group = group,
                                                 .in = in,
                                                 .out = out,
                                                 .n = n_each * group->size,
                                                 .chunk = n_each,
                                                 .dtype = dtype,
                                                 .accumulate = accumulate},
                        event);
}

static nf_status all_gather(nf_queue *queue, const nf_group *group, void *out, const void *in, size_t bytes_each,
                            nf_event *event)
{
    (void)queue;
    const int tag = nf_op_tag(group);
    struct nf_op *op;

    NF_TRY(nf_op_new(group->mesh, 2 * (group->size - 1), 0, &op));
    for (int i = 1; i < group->size; i++) {
        int r = (group->rank + group->size - i) % group->size;
        nf_op_recv(op, group->comm, (char *)out + (size_t)r * bytes_each, bytes_each, r, tag);
    }
    for (int i = 1; i < group->size; i++)
        nf_op_send(op, group->comm, in, bytes_each, (group->rank + i) % group->size, tag);
    return nf_op_start(op, NULL, event);
}

const struct nf_comm nf_comm_mpi = {
    .name = "MPI (host memory)",
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
};
