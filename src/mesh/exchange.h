/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the token exchange share: exchange.c (buffers), xsend.c (out), xreturn.c (home), xshape.c (sizes), xplan.c
 * (a layer's plan), xcounts.c (counts and passes), xwindow.c (which rows belong to a slice).
 *
 * All lists are in chunk order; `pairs` are arrays [chunks][P] of numbers between this rank and each rank of ep.
 *
 * On device memory (xdevice.c) what travels is staged: everything here works on pinned memory of the host, and what layers read
 * is copied to its place on the device. A group of one stays on the device and asks for no counts.
 */
#ifndef NEMAFIT_MESH_EXCHANGE_H
#define NEMAFIT_MESH_EXCHANGE_H

#include "beat.h"

/* Where layers find rows on the device; all NULL on the host, where they find the windows themselves. */
struct nf_device_rows {
    void *rows;
    float *side;
    int32_t *ids, *count;
};

/* Two of each: slices in flight outwards, slices in flight home, chunks at home. */
struct nf_window {
    const nf_xplan *plan;
    int slice;
    nf_event event; /* of the slice sent last from this staging and into this window */
    void *rows;
    float *side;
    int32_t *ids;
    int32_t *count;
    void *packed; /* rows on their way out */
    float *packed_side;
    int32_t *packed_ids;
    struct nf_received received;
    struct nf_device_rows on; /* device: what `received` shows */
};

struct nf_home {
    const nf_xplan *plan;
    int chunk;
    void *rows;
    float *side;
    bool has_side;
    struct nf_device_rows on;
};

struct nf_exchange {
    nf_mesh *mesh;
    const nf_group *ep;
    bool committed, nowhere; /* nowhere: its memory was only counted */
    bool on_device;
    struct { /* bytes, the largest of all shapes reserved */
        size_t rows, side, packed, packed_side, home_rows, home_side, zeros, counts, chunk_rows, chunk_side;
    } most;
    struct nf_window window[2];
    struct nf_home home[2];
    nf_event back[2];
    unsigned outs, backs, homes; /* calls so far; the low bit chooses */
    float *zeros;                /* a side band nobody filled */
    int32_t *counts;             /* [P][chunks][P][2] */
    const nf_xplan *counting;    /* whose counts lie there */
    nf_xplan *dry;               /* plans of dry runs: a counting arena has no memory for them */
    struct nf_xhost *hosts;      /* device: the host's side of plans */
    void *pinned;                /* device: windows and staging of the host, one block */
    void *chunk_rows;            /* device: rows of a slice before they leave, as they lay there */
    float *chunk_side;
};

struct nf_xplan {
    nf_exchange *x;
    struct nf_xshape shape;
    nf_xplan *next_dry;
    int64_t chunk_tokens, slots;
    int64_t tokens;            /* of this rank */
    const int32_t *ids;        /* device: the host's copy, own_ids; a group of one has none */
    const int32_t *device_ids; /* device: as they were given */
    int32_t *own_ids;
    int32_t *where;        /* [T, slots] */
    int32_t *device_where; /* device: what layers read */
    int32_t *list;         /* [chunks][chunk_tokens * slots] tokens by destination, ascending; NULL: all to everybody */
    int32_t *send;         /* pairs: rows of this rank to d */
    int32_t *recv;         /* pairs: rows from s to this rank */
    int32_t *before;       /* pairs: rows of lower ranks to d */
    int64_t *window;       /* [chunks] received rows of one pass */
    int32_t *passes;       /* [chunks] */
    int slices;
    bool counted;
    nf_event event;
};

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

/* Device memory (xdevice.c). Without a device they are not called. */
nf_status nf_xdevice_commit(nf_exchange *x, nf_arena *run);
void nf_xdevice_free(nf_exchange *x);
/* The host's side of the plan at this address of a device's arena: of the one that lay there before, or new. */
nf_status nf_xdevice_plan(nf_exchange *x, void *address, const struct nf_xshape *shape, nf_xplan **plan);
nf_status nf_xdevice_counts(nf_queue *queue, nf_xplan *plan, const int32_t *ids);
nf_status nf_xdevice_where(nf_queue *queue, nf_xplan *plan);
/* Rows and sides of a slice's chunk into the host's staging; *rows and *side are then addressed as the layer's were. */
nf_status nf_xdevice_down(nf_queue *queue, const nf_xplan *plan, const struct nf_slice *slice, const char **rows,
                          size_t *stride, const float **side);
nf_status nf_xdevice_received(nf_queue *queue, struct nf_window *w, int64_t count, bool side, nf_event *event);
nf_status nf_xdevice_partial(nf_queue *queue, const nf_xplan *plan, int64_t count, const char **rows, const float **side);
nf_status nf_xdevice_home(nf_queue *queue, const nf_xplan *plan, struct nf_home *home, nf_event *event);
/* A group of one. */
nf_status nf_xdevice_stay(nf_queue *queue, const nf_xplan *plan, struct nf_window *w, const struct nf_slice *slice,
                          const char *rows, size_t stride, const float *side, nf_event *event);
nf_status nf_xdevice_return(nf_queue *queue, const nf_xplan *plan, struct nf_home *home, const struct nf_slice *slice,
                            const char *rows, const float *side, nf_event *event);

/* Plans (xplan.c). */
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
