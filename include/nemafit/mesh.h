/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mesh.h: who is where, and all communication. MPI stays behind opaque types: no mpi.h here.
 *
 * P ranks form one Cartesian communicator [edp = P / ep][ep], ep fastest, so the ranks that share experts between them are
 * neighbours. Every rank has its own data: the data-parallel group is the world.
 *
 *     world rank 0 1 2 3 4 5 6 7     ep = 4:   ep groups  {0 1 2 3} {4 5 6 7}        (split the experts)
 *                                              edp groups {0 4} {1 5} {2 6} {3 7}    (hold the same experts)
 *
 * Collectives are called in the same order by all ranks of their group. Those on queues return an event that fires when the
 * outputs may be read and the inputs reused. Sums are taken in rank order: the same mesh gives the same bits.
 */
#ifndef NEMAFIT_MESH_H
#define NEMAFIT_MESH_H

#include "nemafit/choices.h"
#include "nemafit/device.h"

typedef struct nf_mesh nf_mesh;
typedef struct nf_group nf_group;
enum nf_axis { NF_WORLD, NF_EP, NF_EDP, NF_NODE, NF_AXES };

/*
 * nf_mesh_new: split the world. mpi_comm points to an MPI_Comm (duplicated: the caller keeps its own); NULL: one rank, no MPI.
 * Keeps a pointer to device, whose ring of events polls what is under way (nf_queue_progress(), any wait); the host side's
 * collectives below poll it too.
 * Collective  over mpi_comm
 * Errors      same: NF_EUSAGE if ep does not divide the ranks; local: NF_ENOMEM, NF_EPEER
 */
nf_status nf_mesh_new(const void *mpi_comm, int ep, nf_device *device, nf_mesh **mesh);
/* The same numbers without MPI: collectives only count bytes. For plans and the dry run. */
nf_status nf_mesh_new_virtual(int ranks, int rank, int ep, int ranks_per_node, nf_device *dry, nf_mesh **mesh);
/* The same for this rank of a mesh, with what its transports take: for the rehearsal. */
nf_status nf_mesh_new_twin(const nf_mesh *of, nf_device *dry, nf_mesh **mesh);
/* Device memory for the sums over world and edp, as long as the arena's block is there (no sums after that, until another is
 * given). A mesh that was given none takes its own at its first sum. */
nf_status nf_mesh_reserve(nf_mesh *mesh, nf_arena *run);
void nf_mesh_free(nf_mesh *mesh); /* collective unless virtual */

const nf_group *nf_mesh_group(const nf_mesh *mesh, enum nf_axis axis);
int nf_group_rank(const nf_group *group);
int nf_group_size(const nf_group *group);
int nf_mesh_rank(const nf_mesh *mesh);  /* in world */
int nf_mesh_ranks(const nf_mesh *mesh); /* of world */
bool nf_mesh_virtual(const nf_mesh *mesh);
bool nf_mesh_shares_gpu(const nf_mesh *mesh);       /* some rank of the world shares its GPU with another */
const char *nf_mesh_transport(const nf_mesh *mesh); /* "MPI (host memory)", ... for the start-up block */

/* ---- host side: small things, at start-up and at step boundaries ----------------------------------------------------- */

/*
 * nf_agree: the end of a phase in which ranks can fail alone. All ranks return the same status: NF_OK, or that of the lowest
 * failing rank, whose diagnosis (prefixed with "rank N: " if it is not 0) becomes everybody's.
 * Collective  world
 */
nf_status nf_agree(const nf_mesh *mesh, nf_status mine);

nf_status nf_bcast(const nf_group *group, int root, void *bytes, size_t n);        /* n equal on all ranks */
nf_status nf_bcast_blob(const nf_group *group, int root, void **bytes, size_t *n); /* malloc'd on the others */
nf_status nf_barrier(const nf_group *group);
enum nf_reduce { NF_SUM, NF_MAX, NF_MIN };
nf_status nf_reduce_i64(const nf_group *group, int64_t *inout, int n, enum nf_reduce how);
nf_status nf_reduce_f64(const nf_group *group, double *inout, int n, enum nf_reduce how);   /* SUM in rank order */
nf_status nf_gather_bytes(const nf_group *group, const void *mine, size_t each, void *all); /* to every rank; equal sizes */
/* Is it the same on all ranks? Otherwise NF_EDIVERGED, naming `what` and the first rank that differs from rank 0. */
nf_status nf_same(const nf_mesh *mesh, const void *bytes, size_t n, const char *what);

/* Nonblocking: host memory, several int64 summed (exact in any order). */
nf_status nf_reduce_i64_start(const nf_group *group, int64_t *inout, int n, enum nf_reduce how, nf_event *event);

/* ---- device side ------------------------------------------------------------------------------------------------------ */

/* inout [n], fp32, fp64, int32 or bf16 (summed in fp32, rounded once), any n. A group of one returns NF_DONE at once.
 * Errors  fatal: NF_EPEER */
nf_status nf_all_reduce(nf_queue *queue, const nf_group *group, void *inout, int64_t n, nf_dtype dtype, nf_event *event);
/* out [n_each] += or = this rank's part of the sum over the group of in [size * n_each] */
nf_status nf_reduce_scatter(nf_queue *queue, const nf_group *group, void *out, const void *in, int64_t n_each, nf_dtype dtype,
                            bool accumulate, nf_event *event);
nf_status nf_all_gather(nf_queue *queue, const nf_group *group, void *out, const void *in, size_t bytes_each, nf_event *event);

/* ---- token exchange of expert parallelism ------------------------------------------------------------------------------ */
/*
 * A layer's T tokens are cut into `chunks` equal parts (the last may be short). For each, a rank sends every token once to
 * each rank of ep that holds one of its experts ("allgather": to every rank), with a side band of k floats and its k expert
 * ids. The receiver computes one partial row a received row and sends it back.
 *
 * Counts of all chunks travel once a layer, as a matrix that every rank of ep sees. A chunk that would overflow a receiver's
 * window (row_cap token rows, expert_cap rows after expansion) is cut into several passes, the same on all ranks. One chunk
 * pass is a slice; slices are numbered chunk by chunk. Pass 0 of every chunk has memory of its own in the layers' arenas
 * ("kept"); later passes have none: their backward dispatches again. No token is ever dropped.
 *
 *   rows ->  exchange_out  -> received rows -> expand, experts, collapse -> partial rows -> exchange_back -> returned rows
 *
 * The backward is the same walk with the same plan: gradients of the layer's output go out, gradients of its input come back,
 * and the side band carries the gradients of the routing weights home.
 */
struct nf_xshape {
    int64_t tokens; /* T: the most that any rank of ep has; equal on all of them */
    int64_t width;  /* elements of a row */
    int k;
    int experts; /* E; a multiple of the group's size */
    nf_dtype dtype;
    int chunks;
    double recv_factor; /* window size as a multiple of the balanced mean */
    enum nf_dispatch dispatch;
    int row_pad; /* expert groups start on multiples of this (nf_op_row_pad) */
};

int64_t nf_x_chunk_tokens(const struct nf_xshape *shape);                     /* ceil(T / chunks) */
int64_t nf_x_row_cap(const nf_group *ep, const struct nf_xshape *shape);      /* token rows received by one slice, at most */
int64_t nf_x_expert_cap(const nf_group *ep, const struct nf_xshape *shape);   /* expert rows of one slice, padding included */
int64_t nf_x_return_slots(const nf_group *ep, const struct nf_xshape *shape); /* R: rows that can come back for one token */

/* Windows and staging for the largest layer; from the run arena. Two slices are in flight. */
typedef struct nf_exchange nf_exchange;
nf_status nf_exchange_new(const nf_mesh *mesh, nf_exchange **x);
void nf_exchange_reserve(nf_exchange *x, const struct nf_xshape *shape); /* before commit, for every shape that will be used */
nf_status nf_exchange_commit(nf_exchange *x, nf_arena *run);
const char *nf_exchange_transport(const nf_exchange *x); /* "NCCL", ...: of the first shape reserved; NULL: none was */
void nf_exchange_free(nf_exchange *x);

/* A layer's plan: kept until its backward, sized by shapes, on the arena given. Freed with the arena's mark. */
typedef struct nf_xplan nf_xplan;
nf_status nf_xplan_new(nf_queue *queue, nf_exchange *x, nf_arena *arena, enum nf_end end, const struct nf_xshape *shape,
                       nf_xplan **plan);
/* ids [tokens, k], device memory, kept by reference until the plan is done; -1: this slot is not routed. tokens <= shape.tokens
 * may differ from rank to rank and be 0 (chunk c holds tokens [c chunk_tokens, (c+1) chunk_tokens) as far as they exist); no
 * rows are sent for what does not exist, under 'allgather' neither. Counts, starts the exchange of counts. Collective over ep.
 */
nf_status nf_xplan_counts(nf_queue *queue, nf_xplan *plan, const int32_t *ids, int64_t tokens, nf_event *event);

struct nf_slice {
    int chunk, pass;
    bool kept;              /* pass 0: memory of chunk's own */
    bool last;              /* of its chunk */
    int64_t token0, tokens; /* of the chunk, on this rank */
};
/* Number of slices, the same on all ranks of ep. Transports over host counts wait for them here; windows answer `chunks`
 * (nf_exchange_overflowed()). */
nf_status nf_xplan_slices(nf_queue *queue, nf_xplan *plan, int *slices);
struct nf_slice nf_xplan_slice(const nf_xplan *plan, int slice);
int64_t nf_xplan_overflow_slices(const nf_xplan *plan); /* slices beyond the chunks, for the log */

/* Send rows [tokens, width] (stride ld elements) and side [tokens, k] (NULL: zeros; on all ranks or on none) of one slice: of
 * the layer's T tokens, those of the slice are taken. rows and side must stay until the event; in a group of one, where dense
 * rows are received where they lie, as long as what was received is read. At most two slices may be under way in each
 * direction: a third waits for the first. */
nf_status nf_exchange_out(nf_queue *queue, nf_xplan *plan, int slice, const void *rows, int64_t ld, const float *side,
                          nf_event *event);
struct nf_received {
    const void *rows;     /* [row_cap, width], dense; the first *count are filled */
    const float *side;    /* [row_cap, k] */
    const int32_t *ids;   /* [row_cap, k] experts of this rank as numbers 0..E_local-1; -1: elsewhere or not routed */
    const int32_t *count; /* device */
    int64_t cap;
};
/* Valid from the slice's out event until the next-but-one nf_exchange_out (one window of two). */
struct nf_received nf_xplan_received(const nf_xplan *plan, int slice);

/* Send back one partial row a received row, and (backward) its side band; rows must stay until the event. */
nf_status nf_exchange_back(nf_queue *queue, nf_xplan *plan, int slice, const void *rows, const float *side, nf_event *event);
struct nf_returned {
    const void *rows;     /* partial rows of the whole chunk */
    const float *side;    /* [rows, k], as the experts' ranks gave it; NULL if they gave none */
    const int32_t *where; /* [tokens of the chunk, R] row of each partial in rank order, -1: none */
    int64_t slots;        /* R */
    int64_t token0, tokens;
};
/* Valid from the back events of all slices of the chunk until the next-but-one chunk. */
struct nf_returned nf_xplan_returned(const nf_xplan *plan, int chunk);

/*
 * Transports that plan without counts on the host (dispatch 'fused' through peer windows) run one slice a chunk, and say
 * afterwards whether that held everything. The forward that did not is of no use: it is repeated with plans that count on the
 * host.
 *
 * nf_exchange_may_overflow: can that happen with any of the shapes reserved? The same on all ranks.
 * nf_exchange_overflowed: did it, on any rank, since the last call? Work of the queue, and what it waited for, is asked about.
 * One host wait, and none if it cannot happen. Collective over world. Errors  NF_EBUG: an id was of no expert.
 * nf_exchange_count_on_host: plans made from now on count on the host, or no longer do.
 */
bool nf_exchange_may_overflow(const nf_exchange *x);
nf_status nf_exchange_overflowed(nf_queue *queue, nf_exchange *x, bool *overflowed);
void nf_exchange_count_on_host(nf_exchange *x, bool on);

struct nf_traffic {
    uint64_t dispatch, combine, gather, reduce; /* bytes sent by this rank since the start */
    uint64_t staging;    /* bytes of host memory held for collectives: for as many as were ever under way at once */
    double wait_seconds; /* the host stood still in communication */
};
struct nf_traffic nf_mesh_traffic(const nf_mesh *mesh);

#endif
