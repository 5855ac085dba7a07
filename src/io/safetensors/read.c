/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fill the pieces of this rank from disk through staging buffers of bounded size. A dense tensor that every rank of a node
 * holds whole is read by the node's first rank and passed on as the bytes of the disk; everything else each rank reads for
 * itself. A rank that fails goes on taking part in what the others wait for, and all agree at the end.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    const nf_st *st;
    const nf_named *named;
    nf_queue *queue;
    nf_device *device;
    struct nf_st_reader reader;
    char *raw;      /* bytes of the disk, and 8 more for the verdict of the node's first rank */
    float *wide;    /* fp32 values of bf16 weights whose remainder or master is wanted */
    void *ready[2]; /* converted, on their way to the device */
    nf_event gone[2];
    int turn;
    int64_t *filled; /* [named] elements written so far */
    struct nf_st_odd odd;
};

enum { RAW_BYTES = NF_ST_CHUNK * 4 + 8, READY_BYTES = NF_ST_CHUNK * 6 /* a master and its weight */ };

static nf_status buffers(struct reading *r, int n)
{
    r->filled = calloc((size_t)n + 1, sizeof *r->filled);
    r->raw = malloc(RAW_BYTES);
    r->wide = malloc(NF_ST_CHUNK * sizeof *r->wide);
    if (!r->filled || !r->raw || !r->wide)
        return nf_fail(NF_ENOMEM, "no memory to stage %d bytes of weights", RAW_BYTES);
    for (int i = 0; i < 2; i++)
        NF_TRY(nf_device_alloc_pinned(r->device, READY_BYTES, "staging of weights", &r->ready[i]));
    return NF_OK;
}

static void buffers_free(struct reading *r)
{
    for (int i = 0; i < 2; i++)
        if (r->ready[i])
            nf_device_release(r->device, r->ready[i], READY_BYTES);
    free(r->raw);
    free(r->wide);
    free(r->filled);
    nf_st_reader_close(&r->reader);
}

/* The fp32 values behind `count` bf16 weights, for the remainder or the master of elements [at, ...) of a piece; split weights
 * are rounded their own way. ready: the weights, then as much or twice as much room. */
static nf_status store_exact(struct reading *r, const nf_named *named, int64_t at, int64_t count, uint16_t *ready)
{
    void *rest = ready + count;
    if (named->master) {
        memcpy(rest, r->wide, (size_t)count * sizeof *r->wide);
        return nf_copy(r->queue, named->master + at, rest, (size_t)count * sizeof *r->wide);
    }
    for (int64_t i = 0; i < count; i++)
        nf_split_f32(r->wide[i], &ready[i], (int16_t *)rest + i);
    return nf_copy(r->queue, named->low + at, rest, (size_t)count * sizeof *named->low);
}

/* A chunk of raw elements of a job (NULL: zeros) to its piece. `done`: elements of the job that were stored before. */
static nf_status store(struct reading *r, const struct nf_st_job *job, int64_t done, int64_t count)
{
    const nf_named *named = &r->named[job->named];
    const nf_dtype to = named->desc->dtype;
    const size_t size = nf_dtype_size(to);
    void *ready = r->ready[r->turn];
    NF_TRY(nf_event_host_wait(r->device, r->gone[r->turn])); /* its last content has left */
    if (job->entry < 0)
        memset(ready, 0, (size_t)count * size);
    else
        nf_st_convert(ready, to, r->raw, job->type, count, job->from + done, &r->odd);
    if (to == NF_BF16 && (named->low || named->master)) {
        struct nf_st_odd again = {.first = -1}; /* told by the weights */
        if (job->entry < 0)
            memset(r->wide, 0, (size_t)count * sizeof *r->wide);
        else
            nf_st_convert(r->wide, NF_F32, r->raw, job->type, count, 0, &again);
        NF_TRY(store_exact(r, named, job->to + done, count, ready));
    }
    NF_TRY(nf_copy(r->queue, (char *)named->data + (size_t)(job->to + done) * size, ready, (size_t)count * size));
    NF_TRY(nf_queue_record(r->queue, &r->gone[r->turn]));
    r->turn ^= 1;
    r->filled[job->named] += count;
    return NF_OK;
}

static nf_status odd_verdict(struct reading *r, const struct nf_st_job *job)
{
    char shown[280];
    const struct nf_st_odd odd = r->odd;
    r->odd = (struct nf_st_odd){.first = -1};
    if (odd.count == 0)
        return NF_OK;
    const struct nf_st_entry *e = &r->st->entry[job->entry];
    return nf_fail(NF_ENONFINITE, "%s/%s: ST-027: tensor '%s': %lld value%s %s not finite as %s, first at index %lld",
                   r->st->dir, r->st->shard[e->file].name, nf_str_shown(shown, e->name, strlen(e->name)), (long long)odd.count,
                   odd.count == 1 ? "" : "s", odd.count == 1 ? "is" : "are", nf_dtype_name(r->named[job->named].desc->dtype),
                   (long long)odd.first);
}

static nf_status fetch(struct reading *r, const struct nf_st_job *job, int64_t done, int64_t count)
{
    const size_t size = nf_dtype_size(job->type);
    return nf_st_reader_get(&r->reader, job->file, r->raw, (size_t)count * size, job->at + (uint64_t)done * size);
}

static nf_status run_local(struct reading *r, const struct nf_st_job *job, int64_t jobs)
{
    r->odd = (struct nf_st_odd){.first = -1};
    for (int64_t j = 0; j < jobs; j++) {
        for (int64_t done = 0; done < job[j].count;) {
            const int64_t count = job[j].count - done < NF_ST_CHUNK ? job[j].count - done : NF_ST_CHUNK;
            if (job[j].entry >= 0)
                NF_TRY(fetch(r, &job[j], done, count));
            NF_TRY(store(r, &job[j], done, count));
            done += count;
        }
        NF_TRY(odd_verdict(r, &job[j]));
    }
    return NF_OK;
}

/* Jobs are the same on all ranks of the node, in number, order and size. The verdict of the first rank travels with the bytes.
 */
static nf_status run_shared(struct reading *r, const nf_group *node, const struct nf_st_job *job, int64_t jobs)
{
    const bool reads = nf_group_rank(node) == 0;
    nf_status mine = NF_OK;
    r->odd = (struct nf_st_odd){.first = -1};
    for (int64_t j = 0; j < jobs; j++) {
        for (int64_t done = 0; done < job[j].count;) {
            const int64_t count = job[j].count - done < NF_ST_CHUNK ? job[j].count - done : NF_ST_CHUNK;
            if (job[j].entry >= 0) {
                const size_t bytes = (size_t)count * nf_dtype_size(job[j].type);
                int64_t stop = 0;
                if (reads && mine == NF_OK)
                    mine = fetch(r, &job[j], done, count);
                if (reads)
                    stop = mine != NF_OK;
                memcpy(r->raw + bytes, &stop, sizeof stop);
                NF_TRY(nf_bcast(node, 0, r->raw, bytes + sizeof stop));
                memcpy(&stop, r->raw + bytes, sizeof stop);
                if (stop)
                    return mine; /* the agreement that follows says why */
            }
            if (mine == NF_OK)
                mine = store(r, &job[j], done, count);
            done += count;
        }
        if (mine == NF_OK)
            mine = odd_verdict(r, &job[j]);
    }
    return mine;
}

/* Dense pieces that are whole on every rank of the node, each once. Collective over the node. */
static nf_status find_shared(const nf_group *node, const nf_param_desc *desc, int params, const nf_named *named, int n,
                             bool *shared)
{
    int64_t *whole = calloc((size_t)params + 1, sizeof *whole);
    nf_status status = whole ? NF_OK : nf_fail(NF_ENOMEM, "no memory to plan the reading of %d parameters", params);
    NF_TRY(status);
    for (int i = 0; i < n; i++) {
        const nf_piece *piece = &named[i].piece;
        const nf_param_desc *d = &desc[piece->param];
        const bool all = d->spread == NF_DENSE && piece->first == 0 && piece->count == nf_st_desc_count(d) && piece->count > 0;
        whole[piece->param] = whole[piece->param] == 0 && all ? 1 : -1;
    }
    status = nf_reduce_i64(node, whole, params, NF_MIN);
    for (int i = 0; i < n && status == NF_OK; i++)
        shared[i] = whole[named[i].piece.param] == 1;
    free(whole);
    return status;
}

static nf_status check_pieces(const nf_param_desc *desc, int params, const nf_named *named, int n)
{
    for (int i = 0; i < n; i++) {
        const nf_piece *piece = &named[i].piece;
        NF_CHECK(piece->param >= 0 && piece->param < params && piece->first >= 0 && piece->count >= 0);
        NF_CHECK(piece->first + piece->count <= nf_st_desc_count(&desc[piece->param]));
        NF_CHECK(nf_st_dtype_disk(named[i].desc->dtype) != NULL && (named[i].data || piece->count == 0));
    }
    return NF_OK;
}

static nf_status check_filled(const struct reading *r, int n)
{
    for (int i = 0; i < n; i++)
        if (r->filled[i] != r->named[i].piece.count)
            return nf_fail(NF_EBUG, "parameter '%s': %lld of %lld elements were filled", r->named[i].desc->name,
                           (long long)r->filled[i], (long long)r->named[i].piece.count);
    return NF_OK;
}

nf_status nf_st_read(const nf_st *st, const nf_mesh *mesh, const nf_weight_map *map, const nf_param_desc *desc,
                     const nf_named *named, int n, nf_queue *queue)
{
    const nf_group *node = nf_mesh_group(mesh, NF_NODE);
    struct reading r = {.st = st, .named = named, .queue = queue, .device = nf_queue_device(queue), .reader = NF_ST_READER(st)};
    struct nf_st_span *span = NULL;
    struct nf_st_job *shared_job = NULL, *local_job = NULL;
    int64_t spans = 0, shared_jobs = 0, local_jobs = 0;
    int params = 0;
    for (int64_t i = 0; i < map->rows; i++)
        params = map->row[i].param >= params ? map->row[i].param + 1 : params;
    bool *shared = calloc((size_t)n + 1, sizeof *shared);
    nf_status status = shared ? NF_OK : nf_fail(NF_ENOMEM, "no memory to plan the reading of %d pieces", n);
    if (status == NF_OK)
        status = check_pieces(desc, params, named, n);
    if (status == NF_OK)
        status = nf_st_sources_make(st, map, desc, params, &span, &spans);
    if (status == NF_OK)
        status = nf_st_sources_check(st, desc, params, span, spans);
    if (status == NF_OK)
        status = buffers(&r, n);
    status = nf_agree(mesh, status);
    if (status != NF_OK)
        goto done;

    if (nf_group_size(node) > 1)
        status = find_shared(node, desc, params, named, n, shared);
    if (status == NF_OK)
        status = nf_st_jobs_make(st, span, spans, named, n, shared, &shared_job, &shared_jobs);
    for (int i = 0; i < n; i++)
        shared[i] = !shared[i];
    if (status == NF_OK)
        status = nf_st_jobs_make(st, span, spans, named, n, shared, &local_job, &local_jobs);
    status = nf_agree(mesh, status);
    if (status != NF_OK)
        goto done;

    status = run_shared(&r, node, shared_job, shared_jobs);
    if (status == NF_OK)
        status = run_local(&r, local_job, local_jobs);
    const nf_status drained = nf_queue_drain(queue); /* also after a failure: staging is in use until then */
    status = status == NF_OK ? drained : status;
    status = nf_agree(mesh, status);
    if (status == NF_OK) /* a rank that was told to stop has holes, but is not to blame: hence not before */
        status = nf_agree(mesh, check_filled(&r, n));
done:
    buffers_free(&r);
    free(span);
    free(shared);
    free(shared_job);
    free(local_job);
    return status;
}
