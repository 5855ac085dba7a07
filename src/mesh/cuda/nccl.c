/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nccl.c: collectives and messages over NCCL, for ranks that have a GPU each.
 *
 * Sums are not left to NCCL: its order of additions depends on the algorithm it picks, and bf16 would be rounded at every hop.
 * Each rank owns one part of the array, receives everybody's contribution to it, adds them in rank order and, for an
 * all-reduce, gives the sum to all: the bytes of a reduce-scatter and an all-gather, the bits of comm_mpi.c. Segments bound the
 * staging.
 */
#include "comm.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNED = 256 };

struct nf_gpu_peers {
    ncclComm_t comm;
    int size, rank;
    char *staging; /* contributions of the others to one segment */
    bool owned;
};

static nf_status failed(ncclResult_t r, ncclComm_t comm, const char *call)
{
    return nf_cuda_fail(NF_EPEER, "NCCL: %s: %s: %s", call, ncclGetErrorString(r), ncclGetLastError(comm));
}

#define NCCL_TRY(peers, call)                                                                                                  \
    do {                                                                                                                       \
        ncclResult_t nccl_result = (call);                                                                                     \
        if (nccl_result != ncclSuccess && nccl_result != ncclInProgress)                                                       \
            return failed(nccl_result, (peers)->comm, #call);                                                                  \
    } while (0)

static cudaStream_t stream_of(nf_gpu_queue *queue)
{
    return *(cudaStream_t *)queue; /* its first member: gpu.h */
}

nf_status nf_cuda_peers_id(void *bytes)
{
    ncclUniqueId id;
    ncclResult_t r = ncclGetUniqueId(&id);

    if (r != ncclSuccess)
        return failed(r, NULL, "ncclGetUniqueId");
    memcpy(bytes, &id, sizeof id);
    return NF_OK;
}

nf_status nf_cuda_peers_open(void *device, const void *id_bytes, int size, int rank, nf_gpu_peers **peers)
{
    ncclUniqueId id;
    nf_gpu_peers *p = calloc(1, sizeof *p);

    (void)device; /* current in this thread since it was opened */
    if (!p)
        return nf_cuda_fail(NF_ENOMEM, "no memory for a communicator");
    memcpy(&id, id_bytes, sizeof id);
    p->size = size;
    p->rank = rank;
    /* Communicators of several groups run on several streams: launched in the order of the calls, which is the same everywhere.
     */
    setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
    setenv("NCCL_NVLS_ENABLE", "0", 0); /* sums are ours: NVLink multicast brings nothing */
    ncclResult_t r = ncclCommInitRank(&p->comm, size, id, rank);
    if (r != ncclSuccess) {
        free(p);
        return failed(r, NULL, "ncclCommInitRank");
    }
    *peers = p;
    return NF_OK;
}

void nf_cuda_peers_abort(nf_gpu_peers *peers)
{
    if (peers->comm)
        ncclCommAbort(peers->comm);
    peers->comm = NULL;
}

void nf_cuda_peers_close(nf_gpu_peers *peers)
{
    ncclResult_t asynchronous = ncclSuccess;

    if (!peers)
        return;
    if (peers->comm)
        ncclCommGetAsyncError(peers->comm, &asynchronous);
    if (asynchronous != ncclSuccess)
        nf_cuda_peers_abort(peers); /* others may be gone */
    if (peers->comm)
        ncclCommDestroy(peers->comm);
    if (peers->owned)
        cudaFree(peers->staging);
    free(peers);
}

void nf_cuda_peers_lend(nf_gpu_peers *peers, void *staging)
{
    peers->staging = staging;
}

static nf_status staging_of(nf_gpu_peers *p)
{
    if (p->staging)
        return NF_OK;
    cudaError_t e = cudaMalloc((void **)&p->staging, NF_GPU_STAGING);
    if (e != cudaSuccess)
        return nf_cuda_fail(NF_ENOMEM, "no memory for the staging of NCCL: %s", cudaGetErrorString(e));
    p->owned = true;
    return NF_OK;
}

nf_status nf_cuda_peers_check(nf_gpu_peers *peers)
{
    ncclResult_t r = ncclSuccess;

    NCCL_TRY(peers, ncclCommGetAsyncError(peers->comm, &r));
    return r == ncclSuccess || r == ncclInProgress ? NF_OK : failed(r, peers->comm, "an earlier collective");
}

/* A sum under way: `chunk` elements of `in` belong to a rank, the last may have fewer. */
struct parts {
    const char *in;
    char *out; /* this rank's part of the sum */
    int64_t n, chunk, segment;
    size_t each;
    nf_dtype dtype;
    bool accumulate;
};

static int64_t span(const struct parts *z, int r, int64_t at, int64_t *from)
{
    int64_t end = (r + 1) * z->chunk < z->n ? (r + 1) * z->chunk : z->n;
    *from = r * z->chunk + at;
    int64_t to = *from + z->segment < end ? *from + z->segment : end;
    return to > *from ? to - *from : 0;
}

/* Everybody's contributions to the segment at `at` of each part, to their owners, and the sum of one's own. */
static nf_status contribute(nf_gpu_peers *p, nf_gpu_queue *queue, const struct parts *z, int64_t at)
{
    const size_t stride = ((size_t)z->segment * z->each + ALIGNED - 1) / ALIGNED * ALIGNED;
    int64_t from, own, first, n = span(z, p->rank, at, &own);

    NCCL_TRY(p, ncclGroupStart());
    for (int i = 1; i < p->size; i++) {
        int to = (p->rank + i) % p->size, source = (p->rank + p->size - i) % p->size;
        int64_t m = span(z, to, at, &first);
        if (m)
            NCCL_TRY(p,
                     ncclSend(z->in + (size_t)first * z->each, (size_t)m * z->each, ncclUint8, to, p->comm, stream_of(queue)));
        if (n)
            NCCL_TRY(p, ncclRecv(p->staging + (size_t)(source < p->rank ? source : source - 1) * stride, (size_t)n * z->each,
                                 ncclUint8, source, p->comm, stream_of(queue)));
    }
    NCCL_TRY(p, ncclGroupEnd());
    from = own - p->rank * z->chunk;
    return nf_cuda_sum_ranks(queue, z->out + (size_t)from * z->each, z->accumulate, z->in + (size_t)own * z->each, p->rank,
                             p->staging, stride, p->size, n, z->dtype);
}

static nf_status sum_parts(nf_gpu_peers *p, nf_gpu_queue *queue, struct parts *z)
{
    const int others = p->size > 1 ? p->size - 1 : 1;
    nf_status s = staging_of(p);

    if (s != NF_OK)
        return s;
    z->segment = ((int64_t)NF_GPU_STAGING / others - ALIGNED) / (int64_t)z->each;
    z->segment = z->segment < z->chunk ? z->segment : z->chunk;
    for (int64_t at = 0; at < z->chunk; at += z->segment) {
        s = contribute(p, queue, z, at);
        if (s != NF_OK)
            return s;
    }
    return NF_OK;
}

static size_t bytes_of(nf_dtype t)
{
    return t == NF_BF16 ? 2 : t == NF_F64 ? 8 : 4;
}

nf_status nf_cuda_peers_all_reduce(nf_gpu_peers *p, nf_gpu_queue *queue, void *inout, int64_t n, nf_dtype dtype)
{
    struct parts z = {.in = inout, .n = n, .chunk = (n + p->size - 1) / p->size, .each = bytes_of(dtype), .dtype = dtype};
    char *all = inout;
    int64_t own, mine;

    z.out = all + (size_t)(p->rank * z.chunk) * z.each;
    nf_status s = sum_parts(p, queue, &z);
    if (s != NF_OK)
        return s;
    if (n % p->size == 0) {
        NCCL_TRY(p, ncclAllGather(z.out, all, (size_t)z.chunk * z.each, ncclUint8, p->comm, stream_of(queue)));
        return NF_OK;
    }
    z.segment = z.chunk;
    mine = span(&z, p->rank, 0, &own);
    NCCL_TRY(p, ncclGroupStart());
    for (int i = 1; i < p->size; i++) {
        int to = (p->rank + i) % p->size, source = (p->rank + p->size - i) % p->size;
        int64_t first, m = span(&z, source, 0, &first);
        if (mine)
            NCCL_TRY(p, ncclSend(all + (size_t)own * z.each, (size_t)mine * z.each, ncclUint8, to, p->comm, stream_of(queue)));
        if (m)
            NCCL_TRY(p,
                     ncclRecv(all + (size_t)first * z.each, (size_t)m * z.each, ncclUint8, source, p->comm, stream_of(queue)));
    }
    NCCL_TRY(p, ncclGroupEnd());
    return NF_OK;
}

nf_status nf_cuda_peers_reduce_scatter(nf_gpu_peers *p, nf_gpu_queue *queue, void *out, const void *in, int64_t n_each,
                                       nf_dtype dtype, bool accumulate)
{
    struct parts z = {.in = in,
                      .out = out,
                      .n = n_each * p->size,
                      .chunk = n_each,
                      .each = bytes_of(dtype),
                      .dtype = dtype,
                      .accumulate = accumulate};
    return sum_parts(p, queue, &z);
}

nf_status nf_cuda_peers_all_gather(nf_gpu_peers *p, nf_gpu_queue *queue, void *out, const void *in, size_t bytes_each)
{
    NCCL_TRY(p, ncclAllGather(in, out, bytes_each, ncclUint8, p->comm, stream_of(queue)));
    return NF_OK;
}

nf_status nf_cuda_peers_exchange(nf_gpu_peers *p, nf_gpu_queue *queue, const struct nf_gpu_message *out, int outs,
                                 const struct nf_gpu_message *in, int ins)
{
    NCCL_TRY(p, ncclGroupStart());
    for (int i = 0; i < outs; i++)
        NCCL_TRY(p, ncclSend(out[i].data, out[i].bytes, ncclUint8, out[i].peer, p->comm, stream_of(queue)));
    for (int i = 0; i < ins; i++)
        NCCL_TRY(p, ncclRecv(in[i].data, in[i].bytes, ncclUint8, in[i].peer, p->comm, stream_of(queue)));
    NCCL_TRY(p, ncclGroupEnd());
    return NF_OK;
}
