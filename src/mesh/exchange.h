/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the token exchange share.
 *
 *   exchange.c   windows, and which transport serves a shape        xplan.c    a layer's plan
 *   xtrip.c      a slice out and home, whoever carries it           xshape.c   sizes
 *   xcounts.c    counts over MPI, and the passes they give          xwindow.c  which rows belong to a slice
 *
 * A transport is a table of functions; a plan carries the one that serves it:
 *
 *   xalone.c     a group of one                                     xhost.c    host memory over MPI (walk: xsend.c, xreturn.c)
 *   xstaged.c    device memory over MPI, through pinned memory     xnccl.c    device memory over NCCL
 *   xpeer.c      device memory of peers, written into by kernels
 *
 * All lists are in chunk order; `pairs` are arrays [chunks][P] of numbers between this rank and each rank of ep.
 */
#ifndef NEMAFIT_MESH_EXCHANGE_H
#define NEMAFIT_MESH_EXCHANGE_H

#include "beat.h"

/* Rows, their side bands [rows, k], expert ids [rows, k] and number; as much of it as is needed. */
struct nf_rows {
    void *rows;
    float *side;
    int32_t *ids, *count;
};

/* Two of each: slices in flight outwards, what of them is packed by the sender, chunks at home. */
struct nf_xbuffers {
    struct nf_rows in[2], packed[2], home[2];
};

/* Who is in them. */
struct nf_window {
    const nf_xplan *plan;
    int slice;
    nf_event event; /* of the slice sent last from this staging and into this window */
    struct nf_received received;
};
struct nf_home {
    const nf_xplan *plan;
    int chunk;
    bool has_side;
};

/* One slice on its way, out or home. */
struct nf_trip {
    nf_exchange *x;
    nf_xplan *plan;
    const nf_group *ep;
    struct nf_slice slice;
    int turn;                 /* which of the two buffers */
    struct nf_window *window; /* out; `received` shows x->at.in[turn], and a transport may make it show other memory */
    const char *rows;         /* out: of the chunk's first token; home: partial rows in the order of arrival, dense */
    const float *side;        /* likewise, or NULL */
    size_t stride, row;       /* bytes */
    int k;
    int32_t first, local; /* this rank's experts */
};

/* Pieces of one block; with base NULL only their sum (xdevice.c). */
struct nf_pieces {
    char *base;
    size_t at;
};
void *nf_x_piece(struct nf_pieces *p, size_t bytes);

/*
 * A transport. Arguments are checked; on a virtual mesh or a dry queue only commit is called, whose arena then counts. On a
 * device layers read and write device memory, whatever the transport does between.
 */
struct nf_xtransport {
    const char *name;
    /* nf_xplan_slices() leaves the plan's send, recv, before, window and passes on the host; else the transport knows them
     * elsewhere, and counts the bytes of its trips itself. */
    bool host_counts;
    bool device_list; /* plans have their list on the device too */
    /* Its pieces of the block of windows, or with no base their sizes. NULL: none. */
    void (*lay)(nf_exchange *x, struct nf_pieces *p);
    /* What it needs besides the windows x->at, for x->most. NULL: nothing. Called once. */
    nf_status (*commit)(nf_exchange *x, nf_arena *run);
    void (*free)(nf_exchange *x); /* may be NULL; also after a commit that failed */
    /* The functions of mesh.h. Each file says where its transport blocks the host. */
    nf_status (*counts)(nf_queue *queue, nf_xplan *plan, nf_event *event); /* of plan->given */
    nf_status (*slices)(nf_queue *queue, nf_xplan *plan);                  /* sets plan->slices */
    nf_status (*out)(nf_queue *queue, struct nf_trip *trip, nf_event *event);
    nf_status (*back)(nf_queue *queue, struct nf_trip *trip, nf_event *event);
};

extern const struct nf_xtransport nf_x_alone, nf_x_host, nf_x_staged, nf_x_nccl, nf_x_peer;
enum { NF_X_TRANSPORTS = 5 }; /* that can serve one exchange */

struct nf_exchange {
    nf_mesh *mesh;
    const nf_group *ep;
    bool committed, nowhere; /* nowhere: its memory was only counted */
    bool on_device;
    const struct nf_xtransport *used[NF_X_TRANSPORTS]; /* by the shapes reserved */
    struct {                                           /* bytes, the largest of all shapes reserved */
        size_t rows, side, packed, packed_side, home_rows, home_side, zeros, counts, chunk_rows, chunk_side, tiles;
    } most;
    bool detour;           /* 'fused' without windows */
    bool may_overflow;     /* windows that plan without host counts may be too small */
    bool by_host;          /* plans are made for the transport with host counts */
    void *block;           /* of the windows: the same layout on all ranks */
    struct nf_xbuffers at; /* what layers read: windows and homes; and packed, where it is of the same memory */
    struct nf_window window[2];
    struct nf_home home[2];
    nf_event back[2];
    unsigned outs, backs, homes; /* calls so far; the low bit chooses */
    float *zeros;                /* a side band nobody filled, for a group of one */
    bool zeroed;
    int32_t *counts;          /* [P][chunks][P][2], host */
    const nf_xplan *counting; /* whose counts lie there */
    nf_xplan *dry;            /* plans of dry runs: a counting arena has no memory for them */
    struct nf_xhost *hosts;   /* device: the host's side of plans */
    struct {
        void *pinned; /* one block for all of it */
        struct nf_xbuffers at;
        struct nf_rows chunk; /* what goes down: rows that leave, or partial rows that return, as they lay on the device */
    } staged;
    struct {
        struct nf_gpu_message *out, *in; /* of one trip */
    } nccl;
    struct {
        void *control, *counts[2], *tiles; /* pieces of the block */
        int32_t *overflow, *overflow_host; /* device, pinned */
        void *opened[NF_WINDOW_RANKS];     /* blocks of the others */
        bool open;
        struct nf_gpu_windows windows;
    } peer;
};

struct nf_xplan {
    nf_exchange *x;
    const struct nf_xtransport *via;
    struct nf_xshape shape;
    nf_xplan *next_dry;
    int64_t chunk_tokens, slots;
    int64_t tokens;       /* of this rank */
    const int32_t *given; /* ids as they were given */
    const int32_t *ids;   /* where the host reads them */
    int32_t *own_ids;     /* device: the host's copy */
    int32_t *where;       /* [T, slots] what layers read */
    int32_t *host_where;  /* where the host makes it; host: the same */
    int32_t *list;        /* [chunks][chunk_tokens * slots] tokens by destination, ascending; NULL: all to everybody */
    int32_t *device_list; /* NULL: the transport has no use for it */
    int32_t *send;        /* pairs: rows of this rank to d */
    int32_t *recv;        /* pairs: rows from s to this rank */
    int32_t *before;      /* pairs: rows of lower ranks to d */
    int64_t *window;      /* [chunks] received rows of one pass */
    int32_t *passes;      /* [chunks] */
    int slices;
    int32_t *table;          /* windows: nf_window_table() numbers a chunk, on the device */
    bool counted, uncounted; /* on the host; windows: not yet on the device */
    nf_event event;
};

/* Windows (xpeer.c): their part of a plan. */
size_t nf_xpeer_table_bytes(const nf_group *ep, const struct nf_xshape *shape);

/* Who serves a shape, on every rank of ep alike; NULL: nobody can (exchange.c). */
const struct nf_xtransport *nf_x_transport(const nf_exchange *x, const struct nf_xshape *shape);
bool nf_x_windowed(const nf_exchange *x, const struct nf_xshape *shape); /* through windows, unless it is repeated */
const struct nf_xtransport *nf_x_by_counts(const nf_exchange *x);        /* on a device, by counts of the host */

/* Shapes (xshape.c). */
int nf_x_local_experts(const nf_group *ep, const struct nf_xshape *shape);
int64_t nf_x_pass_rows(const nf_group *ep, const struct nf_xshape *shape); /* received rows whose expert rows always fit */
int64_t nf_x_expert_rows_cap(const nf_group *ep, const struct nf_xshape *shape); /* expert_cap without padding */
int64_t nf_x_packed_rows(const nf_group *ep, const struct nf_xshape *shape);     /* staged by a sender for one slice, at most */
size_t nf_x_row_bytes(const struct nf_xshape *shape);
/* All tokens go to every rank of the group: nothing is listed. */
bool nf_x_sends_all(const nf_group *ep, const struct nf_xshape *shape);
/* Rows that one rank sends to others for so many tokens if routing is even. */
double nf_x_even_rows(const nf_group *ep, const struct nf_xshape *shape, int64_t tokens);

/* Several pieces from an arena; the first failure stays in status (exchange.c). */
struct nf_taker {
    nf_arena *arena;
    enum nf_end end;
    const char *what;
    nf_status status;
};
void *nf_x_take(struct nf_taker *from, size_t bytes);
void nf_x_take_packed(nf_exchange *x, struct nf_taker *from); /* what senders pack, twice: x->at.packed */

/* On a device (xdevice.c): ids as the host's copy, for which it waits; `where` and the list as the device's. */
nf_status nf_xdevice_ids(nf_queue *queue, nf_xplan *plan);
nf_status nf_xdevice_lists(nf_queue *queue, nf_xplan *plan);

/* Counts over MPI, of plan->ids: destinations and lists of this rank, and the matrix, which travels meanwhile. slices waits for
 * it (xcounts.c). */
nf_status nf_xcounts_check(const nf_xplan *plan); /* NF_EBUG: an id of no expert */
nf_status nf_xcounts_start(nf_xplan *plan, nf_event *event);
nf_status nf_xcounts_slices(nf_queue *queue, nf_xplan *plan);

/* The walk over MPI on memory of the host (xsend.c, xreturn.c): out of the trip's rows into `in`; home from its rows. */
nf_status nf_xmpi_out(struct nf_trip *trip, const struct nf_rows *in, const struct nf_rows *packed, nf_event *event);
nf_status nf_xmpi_back(struct nf_trip *trip, const struct nf_rows *home, nf_event *event);

/* Plans (xplan.c): their part of the arena, and *plan if the run is dry; then the whole plan but for what nf_xplan_new() fills
 * in, for memory of the host and of a device (xdevice.c), whose pinned half is freed with the exchange. */
nf_status nf_xplan_header(nf_exchange *x, struct nf_taker *from, bool dry, void **address, nf_xplan **plan);
nf_status nf_xplan_on_host(nf_exchange *x, struct nf_taker *from, const struct nf_xshape *shape, bool dry, nf_xplan **plan);
nf_status nf_xdevice_plan(nf_exchange *x, struct nf_taker *from, const struct nf_xshape *shape, bool dry, nf_xplan **plan);
void nf_xdevice_free(nf_exchange *x);
int64_t nf_xplan_token0(const nf_xplan *plan, int chunk);
int64_t nf_xplan_chunk_rows(const nf_xplan *plan, int chunk); /* tokens of this rank in it */
bool nf_xplan_only_counted(nf_queue *queue, const nf_xplan *plan);

/* Which rows (xwindow.c). */
struct nf_span {
    int64_t begin, end;
};
/* Rows of this rank to rank d in the slice: numbers within its list to d. */
struct nf_span nf_xwindow_sent(const nf_xplan *plan, const struct nf_slice *slice, int d);
/* Rows from rank s in the slice: their place among the received. */
struct nf_span nf_xwindow_received(const nf_xplan *plan, const struct nf_slice *slice, int s);
int64_t nf_xwindow_count(const nf_xplan *plan, const struct nf_slice *slice);
/* Where the rows to d begin in the chunk's list, and in its returned rows. */
int64_t nf_xwindow_base(const nf_xplan *plan, int chunk, int d);

#endif
