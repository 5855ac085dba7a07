/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: mesh and groups, MPI with its errors checked, and operations that are under way.
 *
 * A group is const for everybody; what changes (sequence numbers, pool, traffic) lives in its mesh. `comm` is MPI_COMM_NULL
 * where there is nobody to talk to through MPI: one rank, or a virtual mesh; no MPI function is called then.
 */
#ifndef NEMAFIT_MESH_PRIVATE_H
#define NEMAFIT_MESH_PRIVATE_H

#include <mpi.h>

#include "gpu_comm.h"
#include "nemafit/mesh.h"

struct nf_group {
    nf_mesh *mesh;
    enum nf_axis axis;
    int rank, size;
    MPI_Comm comm;
};

struct nf_mesh {
    nf_device *device;
    bool is_virtual;
    bool shares_gpu; /* some rank shares its GPU with another */
    nf_group group[NF_AXES];
    uint32_t sequence[NF_AXES]; /* collectives begun on each group: their tags */
    const struct nf_comm *comm;
    const struct nf_gpu_comm *gpu; /* the plug-in's; NULL: device memory is host memory */
    nf_gpu_peers *peers[NF_AXES];  /* NCCL; NULL elsewhere */
    double next_look;              /* at their errors, while the host waits */
    char lost[512];                /* what NCCL said when a peer was lost; then all of them were aborted */
    void *pinned;                  /* staging of collectives through the host */
    bool windows;                  /* kernels of ep reach each other's memory (xpeer.c) */
    struct nf_window_told *told;   /* pinned: what kernels tell of their waiting; NULL: none waits for peers */
    double patience;               /* seconds of the watchdog; 0: nobody watches */
    struct nf_op *active, *idle;
    struct nf_beat *beat;      /* of the watchdog; NULL: nobody watches */
    struct nf_traffic traffic; /* wait_seconds: in host collectives; waits for events are the device's */
};

/* Sets windows: whether kernels of the ranks of ep can write into each other's memory (xpeer.c). Collective over world. */
nf_status nf_xpeer_probe(nf_mesh *mesh);

/* ---- MPI (mpi.c) ----------------------------------------------------------------------------------------------------- */

/* NF_EPEER with MPI's own words, unless rc is MPI_SUCCESS. */
nf_status nf_mpi_status(int rc, const char *call);
#define NF_MPI(call) NF_TRY(nf_mpi_status((call), #call))

/* One datatype of so many bytes, for counts beyond int. Committed; the caller frees it. */
nf_status nf_mpi_bytes_type(size_t bytes, MPI_Datatype *type);
/* Block until the request is complete, moving all other operations of the mesh on. eager: data is flowing, never sleep. */
nf_status nf_mpi_wait(nf_mesh *mesh, MPI_Request *request, bool eager);

/* ---- operations under way (op.c) ------------------------------------------------------------------------------------- */

/* Sums in rank order, round by round (comm_mpi.c). */
struct nf_reduce_state {
    const nf_group *group;
    const char *in;
    char *out;     /* this rank's part of the sum */
    char *all;     /* all_reduce: where the parts of the others go, else NULL */
    int64_t n;     /* elements of in */
    int64_t chunk; /* elements a rank owns */
    int64_t segment, segments;
    int64_t round;
    nf_dtype dtype;
    bool accumulate, direct;
    int tag;
};

/* Expert ids of received rows become this rank's own numbers on arrival (xsend.c). */
struct nf_filter_state {
    int32_t *ids;
    int64_t count;
    int32_t first, experts;
};

/*
 * An operation: rounds of sends and receives. When those of a round are complete, next() posts the next round, or returns true:
 * over. Operations, their requests and staging are pooled; the pool never shrinks, and holds as many operations as were ever
 * under way at once.
 */
struct nf_op {
    struct nf_op *link;
    nf_mesh *mesh;
    bool (*next)(struct nf_op *op);
    MPI_Request *request;
    int requests, request_cap;
    char *staging;
    size_t staging_cap;
    nf_status status;
    bool over;
    union {
        struct nf_reduce_state reduce;
        struct nf_filter_state filter;
    } u;
};

nf_status nf_op_new(nf_mesh *mesh, int requests, size_t staging, struct nf_op **op);
/* Begin: next() is called for the first round; *event fires after the last. next NULL: the requests posted so far are all. */
nf_status nf_op_start(struct nf_op *op, bool (*next)(struct nf_op *op), nf_event *event);
void nf_op_drop(struct nf_op *op); /* instead of start */
/* A failure is kept in op->status and ends the operation. No bytes: nothing is posted, on the other side neither. */
void nf_op_send(struct nf_op *op, MPI_Comm comm, const void *data, size_t bytes, int to, int tag);
void nf_op_recv(struct nf_op *op, MPI_Comm comm, void *data, size_t bytes, int from, int tag);
/* The slot for a request that the caller posts itself. */
MPI_Request *nf_op_request(struct nf_op *op);
void nf_op_poll(nf_mesh *mesh); /* moves all on */
void nf_op_pool_free(nf_mesh *mesh);

/* Tags: the exchange's own below 16; the collectives' above, two each, by their number on the group. */
enum { NF_TAG_ROWS, NF_TAG_SIDE, NF_TAG_IDS, NF_TAG_BACK_ROWS, NF_TAG_BACK_SIDE, NF_TAG_COLLECTIVE = 16 };
int nf_op_tag(const nf_group *group);

/* Is nobody there to talk to, or only counted? */
static inline bool nf_group_alone(const nf_group *group)
{
    return group->size == 1 || group->mesh->is_virtual;
}

#endif
