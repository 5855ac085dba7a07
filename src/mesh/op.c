/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations under way: a pool, and what moves them on. Who waits on the device's ring of events moves the operations there by
 * test(); who waits inside MPI on the host moves them by nf_op_poll(). An operation goes back to the pool when the ring has
 * seen its end, whoever brought it there.
 */
#include "private.h"

#include <limits.h>
#include <stdlib.h>

static bool grow(struct nf_op *op, int requests, size_t staging)
{
    if (requests > op->request_cap) {
        MPI_Request *more = realloc(op->request, (size_t)requests * sizeof *more);
        if (!more)
            return false;
        op->mesh->traffic.staging += (size_t)(requests - op->request_cap) * sizeof *more;
        op->request = more;
        op->request_cap = requests;
    }
    if (staging > op->staging_cap) {
        free(op->staging); /* nothing in it is kept: no copy */
        op->mesh->traffic.staging -= op->staging_cap;
        op->staging_cap = 0;
        op->staging = malloc(staging);
        if (!op->staging)
            return false;
        op->mesh->traffic.staging += staging;
        op->staging_cap = staging;
    }
    return true;
}

/* The smallest that is large enough, else the largest: so a step that repeats itself finds the same ones again. */
static struct nf_op *take(nf_mesh *mesh, int requests, size_t staging)
{
    struct nf_op **best = NULL;
    bool best_fits = false;

    for (struct nf_op **at = &mesh->idle; *at; at = &(*at)->link) {
        bool fits = (*at)->staging_cap >= staging && (*at)->request_cap >= requests;
        size_t size = (*at)->staging_cap;
        if (!best || (fits && !best_fits) ||
            (fits == best_fits && (fits ? size < (*best)->staging_cap : size > (*best)->staging_cap))) {
            best = at;
            best_fits = fits;
        }
    }
    if (!best)
        return NULL;
    struct nf_op *op = *best;
    *best = op->link;
    return op;
}

/* Few sizes, so that operations of like size can take each other's place. */
static size_t rounded(size_t staging)
{
    size_t size = staging > 0 ? 4096 : 0;
    while (size < staging)
        size *= 2;
    return size;
}

nf_status nf_op_new(nf_mesh *mesh, int requests, size_t least_staging, struct nf_op **result)
{
    const size_t staging = rounded(least_staging);
    struct nf_op *op = take(mesh, requests, staging);

    if (!op) {
        op = calloc(1, sizeof *op);
        if (!op)
            return nf_fail(NF_ENOMEM, "no memory for a collective");
        op->mesh = mesh;
        mesh->traffic.staging += sizeof *op;
    }
    if (!grow(op, requests, staging)) {
        nf_op_drop(op);
        return nf_fail(NF_ENOMEM, "no memory for a collective: %zu bytes of staging", staging);
    }
    op->requests = 0;
    op->status = NF_OK;
    op->over = false;
    *result = op;
    return NF_OK;
}

void nf_op_drop(struct nf_op *op)
{
    op->link = op->mesh->idle;
    op->mesh->idle = op;
}

static void retire(struct nf_op *op)
{
    struct nf_op **at = &op->mesh->active;
    while (*at != op)
        at = &(*at)->link;
    *at = op->link;
    nf_op_drop(op);
}

static void move(struct nf_op *op)
{
    while (!op->over) {
        int done = 0;
        if (op->status == NF_OK)
            op->status = nf_mpi_status(MPI_Testall(op->requests, op->request, &done, MPI_STATUSES_IGNORE), "MPI_Testall");
        if (op->status == NF_OK && !done)
            return;
        op->requests = 0;
        op->over = op->status != NF_OK || !op->next || op->next(op);
    }
}

static bool test(void *obj, nf_status *status)
{
    struct nf_op *op = obj;
    move(op);
    if (!op->over)
        return false;
    *status = op->status;
    retire(op);
    return true;
}

nf_status nf_op_start(struct nf_op *op, bool (*next)(struct nf_op *op), nf_event *event)
{
    static const struct nf_pending_ops pending = {.test = test};

    op->next = next;
    op->link = op->mesh->active;
    op->mesh->active = op;
    move(op);
    if (op->over) {
        nf_status status = op->status;
        retire(op);
        *event = NF_DONE;
        return status;
    }
    return nf_event_pending(op->mesh->device, &pending, op, event);
}

void nf_op_poll(nf_mesh *mesh)
{
    for (struct nf_op *op = mesh->active; op; op = op->link)
        move(op);
}

void nf_op_pool_free(nf_mesh *mesh)
{
    struct nf_op *lists[2] = {mesh->active, mesh->idle};
    for (int i = 0; i < 2; i++)
        for (struct nf_op *op = lists[i], *after; op; op = after) {
            after = op->link;
            free(op->request);
            free(op->staging);
            free(op);
        }
    mesh->active = mesh->idle = NULL;
}

MPI_Request *nf_op_request(struct nf_op *op)
{
    if (op->requests == op->request_cap) {
        op->status = nf_fail(NF_EBUG, "a collective posts more than its %d requests", op->request_cap);
        op->requests = 0;
    }
    return &op->request[op->requests++];
}

/* One message either way. A type that is freed lives on until the message has gone. */
static void post(struct nf_op *op, MPI_Comm comm, void *data, size_t bytes, int peer, int tag, bool is_send)
{
    if (bytes == 0 || op->status != NF_OK)
        return;
    MPI_Datatype type = MPI_BYTE;
    int count = (int)bytes;
    if (bytes > INT_MAX) {
        op->status = nf_mpi_bytes_type(bytes, &type);
        count = 1;
    }
    MPI_Request *request = op->status == NF_OK ? nf_op_request(op) : NULL;
    if (op->status != NF_OK)
        return;
    if (is_send)
        op->status = nf_mpi_status(MPI_Isend(data, count, type, peer, tag, comm, request), "MPI_Isend");
    else
        op->status = nf_mpi_status(MPI_Irecv(data, count, type, peer, tag, comm, request), "MPI_Irecv");
    if (type != MPI_BYTE)
        MPI_Type_free(&type);
}

void nf_op_send(struct nf_op *op, MPI_Comm comm, const void *data, size_t bytes, int to, int tag)
{
    post(op, comm, (void *)data, bytes, to, tag, true);
}

void nf_op_recv(struct nf_op *op, MPI_Comm comm, void *data, size_t bytes, int from, int tag)
{
    post(op, comm, data, bytes, from, tag, false);
}

int nf_op_tag(const nf_group *group)
{
    const uint32_t in_flight = 8192; /* far above the events of a device's ring; two tags each stay below MPI's least limit */
    return NF_TAG_COLLECTIVE + 2 * (int)(group->mesh->sequence[group->axis]++ % in_flight);
}
