/* SPDX-License-Identifier: Apache-2.0 */
/* fake_comm.c: the mesh's kernels on a GPU that is none, and NCCL's part over MPI. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "fake_gpu.h"

/* ---- kernels ----------------------------------------------------------------------------------------------------------- */

static nf_status ramp(nf_gpu_queue *queue, int32_t *out, int64_t n, int32_t first, int32_t step)
{
    (void)queue;
    fake_begin();
    for (int64_t i = 0; i < n; i++)
        out[i] = first + (int32_t)i * step;
    return fake_end();
}

static double get(const void *x, nf_dtype t, int64_t i)
{
    return t == NF_F64   ? ((const double *)x)[i]
           : t == NF_F32 ? ((const float *)x)[i]
           : t == NF_I32 ? (double)((const int32_t *)x)[i]
                         : nf_bf16_to_f32(((const uint16_t *)x)[i]);
}

static void add_up(void *out, bool accumulate, const void *mine, int rank, const void *others, size_t stride, int size,
                   int64_t n, nf_dtype t)
{
    for (int64_t i = 0; i < n; i++) {
        double wide = 0;
        float narrow = 0;
        for (int r = 0; r < size; r++) {
            double x = r == rank ? get(mine, t, i) : get((const char *)others + (size_t)(r < rank ? r : r - 1) * stride, t, i);
            wide = r == 0 ? x : wide + x;
            narrow = r == 0 ? (float)x : narrow + (float)x;
        }
        wide += accumulate ? get(out, t, i) : 0;
        narrow = accumulate ? (float)get(out, t, i) + narrow : narrow;
        if (t == NF_F64)
            ((double *)out)[i] = wide;
        else if (t == NF_F32)
            ((float *)out)[i] = narrow;
        else if (t == NF_I32)
            ((int32_t *)out)[i] = (int32_t)wide;
        else
            ((uint16_t *)out)[i] = nf_f32_to_bf16(narrow);
    }
}

static nf_status sum(nf_gpu_queue *queue, void *out, bool accumulate, const void *mine, int rank, const void *others,
                     size_t stride, int size, int64_t n, nf_dtype t)
{
    (void)queue;
    fake_begin();
    add_up(out, accumulate, mine, rank, others, stride, size, n, t);
    return fake_end();
}

static nf_status gather(nf_gpu_queue *queue, const struct nf_gpu_gather *g)
{
    const size_t band = (size_t)g->k * sizeof(float);

    (void)queue;
    fake_begin();
    for (int s = 0; s < g->segments; s++)
        for (int64_t i = 0; i < g->segment[s].rows; i++) {
            const int64_t token = g->list[g->segment[s].from + i] - g->token0, to = g->segment[s].to + i;
            memcpy((char *)g->out_rows + (size_t)to * g->row, (const char *)g->rows + (size_t)token * g->stride, g->row);
            if (g->side)
                memcpy(g->out_side + to * g->k, g->side + token * g->k, band);
            memcpy(g->out_ids + to * g->k, g->ids + token * g->k, band);
        }
    return fake_end();
}

static nf_status localize(nf_gpu_queue *queue, int32_t *ids, int64_t n, int32_t first, int32_t experts)
{
    (void)queue;
    fake_begin();
    for (int64_t i = 0; i < n; i++)
        ids[i] = ids[i] >= first && ids[i] < first + experts ? ids[i] - first : -1;
    return fake_end();
}

/* ---- communicators ----------------------------------------------------------------------------------------------------- */

struct nf_gpu_peers {
    MPI_Comm comm;
    int size, rank;
    bool aborted;
};

static nf_status id(void *bytes)
{
    int rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    memcpy(bytes, &rank, sizeof rank);
    return NF_OK;
}

/* All ranks of the world open at once, each the communicator of its own group. */
static nf_status open_peers(void *device, const void *bytes, int size, int rank, nf_gpu_peers **peers)
{
    nf_gpu_peers *p = calloc(1, sizeof *p);
    int first;

    (void)device;
    if (!p)
        return fake_host->fail(NF_ENOMEM, "peers");
    memcpy(&first, bytes, sizeof first);
    p->size = size;
    p->rank = rank;
    MPI_Comm_split(MPI_COMM_WORLD, first, rank, &p->comm);
    *peers = p;
    return NF_OK;
}

static void close_peers(nf_gpu_peers *p)
{
    MPI_Comm_free(&p->comm);
    free(p);
}

/* $FAKE_NCCL_ERROR: the number of a question that is answered with an error, on every rank. */
static nf_status check(nf_gpu_peers *p)
{
    static int asked;
    const char *broken = getenv("FAKE_NCCL_ERROR");

    (void)p;
    if (broken && ++asked >= atoi(broken))
        return fake_host->fail(NF_EPEER, "NCCL: an earlier collective: remote process exited");
    return NF_OK;
}

static void abort_peers(nf_gpu_peers *p)
{
    p->aborted = true;
}

static void lend(nf_gpu_peers *p, void *staging)
{
    (void)p;
    (void)staging;
}

static size_t bytes_of(nf_dtype t)
{
    return t == NF_BF16 ? 2 : t == NF_F64 ? 8 : 4;
}

/* Everybody's `in` in rank order, without one's own. */
static char *others_of(nf_gpu_peers *p, const void *in, size_t bytes)
{
    char *all = malloc((size_t)p->size * bytes + 1);

    if (!all)
        abort();
    MPI_Allgather(in, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, p->comm);
    char *own = all + (size_t)p->rank * bytes;
    memmove(own, own + bytes, (size_t)(p->size - 1 - p->rank) * bytes);
    return all;
}

static nf_status all_reduce(nf_gpu_peers *p, nf_gpu_queue *queue, void *inout, int64_t n, nf_dtype t)
{
    const size_t bytes = (size_t)n * bytes_of(t);

    (void)queue;
    fake_begin();
    char *others = others_of(p, inout, bytes);
    add_up(inout, false, inout, p->rank, others, bytes, p->size, n, t);
    free(others);
    return fake_end();
}

static nf_status reduce_scatter(nf_gpu_peers *p, nf_gpu_queue *queue, void *out, const void *in, int64_t n_each, nf_dtype t,
                                bool accumulate)
{
    const size_t each = (size_t)n_each * bytes_of(t), bytes = each * (size_t)p->size;

    (void)queue;
    fake_begin();
    char *others = others_of(p, in, bytes);
    add_up(out, accumulate, (const char *)in + (size_t)p->rank * each, p->rank, others + (size_t)p->rank * each, bytes, p->size,
           n_each, t);
    free(others);
    return fake_end();
}

static nf_status all_gather(nf_gpu_peers *p, nf_gpu_queue *queue, void *out, const void *in, size_t bytes_each)
{
    char *own = (char *)out + (size_t)p->rank * bytes_each;

    (void)queue;
    fake_begin();
    if (own != in)
        memcpy(own, in, bytes_each);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, out, (int)bytes_each, MPI_BYTE, p->comm);
    return fake_end();
}

static nf_status exchange(nf_gpu_peers *p, nf_gpu_queue *queue, const struct nf_gpu_message *out, int outs,
                          const struct nf_gpu_message *in, int ins)
{
    MPI_Request request[256];

    (void)queue;
    if (outs + ins > 256)
        abort();
    fake_begin();
    for (int i = 0; i < ins; i++)
        MPI_Irecv(in[i].data, (int)in[i].bytes, MPI_BYTE, in[i].peer, 0, p->comm, &request[i]);
    for (int i = 0; i < outs; i++)
        MPI_Isend(out[i].data, (int)out[i].bytes, MPI_BYTE, out[i].peer, 0, p->comm, &request[ins + i]);
    MPI_Waitall(ins + outs, request, MPI_STATUSES_IGNORE);
    return fake_end();
}

const struct nf_gpu_comm fake_comm = {.ramp = ramp,
                                      .sum = sum,
                                      .gather = gather,
                                      .localize = localize,
                                      .id_bytes = sizeof(int),
                                      .id = id,
                                      .open = open_peers,
                                      .close = close_peers,
                                      .lend = lend,
                                      .check = check,
                                      .abort = abort_peers,
                                      .all_reduce = all_reduce,
                                      .reduce_scatter = reduce_scatter,
                                      .all_gather = all_gather,
                                      .exchange = exchange};
