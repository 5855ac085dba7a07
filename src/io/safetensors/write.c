/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write a checkpoint: every rank puts its share of the elements into the same shard files, then all of it is read back from the
 * disk and compared with what is in memory, and only then the directory gets its name. A phase ends in agreement: what fails on
 * one rank fails on all, and nobody waits for a rank that has given up.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `count` elements of a piece, or bytes of a tensor that is passed through (named -1), to a place in a file. */
struct job {
    int file, named;
    int64_t out, from, count; /* from: element of the piece, or byte of the source's tensor */
    int64_t first;            /* element of the tensor on disk */
    uint64_t at;
};

struct writing {
    const nf_st *source;
    const nf_named *named;
    const struct nf_st_layout *layout;
    const char *dir;
    const struct nf_st_write_arg *arg;
    nf_queue *queue;
    nf_device *device;
    struct nf_st_reader reader;
    void *staging;      /* elements as in memory */
    char *bytes, *back; /* as on disk; as read back */
    struct job *job;
    int64_t jobs;
};

enum { BUFFER_BYTES = NF_ST_CHUNK * 4 };

static int by_place(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* ---- the plan of this rank ------------------------------------------------------------------------------------------------
 */

static nf_status sinks(const struct nf_st_layout *layout, const nf_weight_map *map, const nf_param_desc *desc,
                       struct nf_st_span **spans, int64_t *count)
{
    struct nf_st_span *span = malloc((size_t)(layout->outs + 1) * sizeof *span);
    nf_status status = span ? NF_OK : nf_fail(NF_ENOMEM, "no memory to plan the writing");
    int64_t n = 0;
    for (int64_t i = 0; status == NF_OK && i < layout->outs; i++) {
        if (layout->out[i].row < 0)
            continue;
        const nf_map_row *row = &map->row[layout->out[i].row];
        struct nf_st_span *s = &span[n++];
        *s = (struct nf_st_span){.param = row->param, .item = i};
        status = nf_st_row_span(row, &desc[row->param], &s->first, &s->count);
    }
    if (status != NF_OK) {
        free(span);
        return status;
    }
    nf_st_spans_sort(span, n);
    *spans = span;
    *count = n;
    return NF_OK;
}

static int64_t element_size(const struct nf_st_out *out)
{
    return nf_st_dtype_bits(out->e.dtype) / 8;
}

/* Jobs of a share, counted if w->job is NULL. */
static void plan_share(struct writing *w, const struct nf_st_span *span, int64_t spans, const struct nf_st_share *share)
{
    const int64_t end = share->first + share->count;
    for (int64_t k = nf_st_spans_find(span, spans, share->param, share->first);
         k < spans && span[k].param == share->param && span[k].first < end; k++) {
        const int64_t from = span[k].first > share->first ? span[k].first : share->first;
        const int64_t to = span[k].first + span[k].count < end ? span[k].first + span[k].count : end;
        if (to <= from)
            continue;
        const struct nf_st_out *out = &w->layout->out[span[k].item];
        if (w->job)
            w->job[w->jobs] = (struct job){.file = out->e.file,
                                           .named = share->named,
                                           .out = span[k].item,
                                           .from = from - w->named[share->named].piece.first,
                                           .count = to - from,
                                           .first = from - span[k].first,
                                           .at = out->e.begin + (uint64_t)((from - span[k].first) * element_size(out))};
        w->jobs++;
    }
}

static nf_status plan(struct writing *w, const struct nf_st_span *span, int64_t spans, const struct nf_st_share *share,
                      int64_t shares, int rank, int ranks)
{
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(w->job = malloc((size_t)(w->jobs + 1) * sizeof *w->job)))
            return nf_fail(NF_ENOMEM, "no memory to plan the writing");
        w->jobs = 0;
        for (int64_t i = 0; i < shares; i++)
            plan_share(w, span, spans, &share[i]);
        for (int64_t i = 0; i < w->layout->outs; i++) {
            const struct nf_st_out *out = &w->layout->out[i];
            if (out->row >= 0 || i % ranks != rank || out->e.bytes == 0)
                continue;
            if (pass)
                w->job[w->jobs] = (struct job){
                    .file = out->e.file, .named = -1, .out = i, .count = (int64_t)out->e.bytes, .at = out->e.begin};
            w->jobs++;
        }
    }
    if (w->jobs)
        qsort(w->job, (size_t)w->jobs, sizeof *w->job, by_place);
    return NF_OK;
}

/* ---- carrying it out ------------------------------------------------------------------------------------------------------
 */

/* Elements of a piece from the device to w->staging, in the type that comes out: the fp32 value behind a bf16 weight, where it
 * is known and of use. */
static nf_status fetch(struct writing *w, const nf_named *named, int64_t at, int64_t count, nf_dtype to, nf_dtype *type)
{
    const bool exact = named->desc->dtype == NF_BF16 && to != NF_BF16;
    const bool joined = exact && named->low;
    const void *from = exact && named->master ? named->master : named->data;
    *type = exact && named->master ? NF_F32 : named->desc->dtype;
    const size_t size = nf_dtype_size(*type);
    uint16_t *half = w->staging; /* weights, then remainders */
    NF_TRY(nf_copy(w->queue, w->staging, (const char *)from + (size_t)at * size, (size_t)count * size));
    if (joined)
        NF_TRY(nf_copy(w->queue, half + count, named->low + at, (size_t)count * sizeof *named->low));
    NF_TRY(nf_queue_drain(w->queue));
    if (!joined)
        return NF_OK;
    for (int64_t i = 0; i < count; i++) {
        int16_t low;
        memcpy(&low, half + count + i, sizeof low);
        const float x = nf_join_f32(half[i], low);
        memcpy(w->back + (size_t)i * sizeof x, &x, sizeof x); /* free until the verification reads into it */
    }
    memcpy(w->staging, w->back, (size_t)count * sizeof(float));
    *type = NF_F32;
    return NF_OK;
}

/* The bytes on disk of a chunk of a job, in w->bytes. */
static nf_status make_bytes(struct writing *w, const struct job *job, int64_t done, int64_t count, size_t *bytes)
{
    const struct nf_st_out *out = &w->layout->out[job->out];
    if (job->named < 0) {
        const struct nf_st_entry *e = &w->source->entry[out->source];
        *bytes = (size_t)count;
        return nf_st_reader_get(&w->reader, e->file, w->bytes, *bytes, e->begin + (uint64_t)done);
    }
    const nf_named *named = &w->named[job->named];
    struct nf_st_odd odd = {.first = -1};
    nf_dtype to = NF_F32, type;
    nf_st_dtype_float(out->e.dtype, &to);
    if (w->arg->get)
        NF_TRY(w->arg->get(w->arg->ctx, job->named, job->from + done, count, to, w->staging, &type));
    else
        NF_TRY(fetch(w, named, job->from + done, count, to, &type));
    nf_st_convert(w->bytes, to, w->staging, type, count, job->first + done, &odd);
    *bytes = (size_t)count * nf_dtype_size(to);
    return odd.count == 0
               ? NF_OK
               : nf_fail(NF_ENONFINITE, "ST-027: tensor '%s': index %lld is not finite as %s: the checkpoint is not written",
                         out->e.name, (long long)odd.first, out->e.dtype);
}

static nf_status run_job(struct writing *w, const struct job *job, int fd, const char *path, bool verify)
{
    const struct nf_st_out *out = &w->layout->out[job->out];
    const int64_t size = job->named < 0 ? 1 : element_size(out), most = job->named < 0 ? BUFFER_BYTES : NF_ST_CHUNK;
    for (int64_t done = 0; done < job->count;) {
        const int64_t count = job->count - done < most ? job->count - done : most;
        const uint64_t at = job->at + (uint64_t)(done * size);
        size_t bytes = 0;
        NF_TRY(make_bytes(w, job, done, count, &bytes));
        if (!verify) {
            NF_TRY(nf_pwrite(fd, path, w->bytes, bytes, at));
        } else {
            NF_TRY(nf_st_pread(fd, path, w->back, bytes, at));
            if (memcmp(w->bytes, w->back, bytes) != 0)
                return nf_fail(NF_EIO, "%s: tensor '%s' reads back with other bytes than were written", path, out->e.name);
        }
        done += count;
    }
    return NF_OK;
}

/* All jobs of one file. */
static nf_status run_file(struct writing *w, const struct job *job, int64_t jobs, bool verify)
{
    char *path = nf_path_join(w->dir, w->layout->file[job->file].name);
    if (!path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", w->dir);
    const int fd = open(path, (verify ? O_RDONLY : O_WRONLY) | O_NOFOLLOW | O_CLOEXEC);
    nf_status status = fd >= 0 ? NF_OK : nf_fail_errno(errno, path, "cannot open");
    if (fd >= 0 && verify)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, not from memory */
    for (int64_t i = 0; i < jobs && status == NF_OK; i++)
        status = run_job(w, &job[i], fd, path, verify);
    if (status == NF_OK && !verify && fsync(fd) != 0)
        status = nf_fail_errno(errno, path, "cannot bring it to the disk");
    if (fd >= 0 && close(fd) != 0 && status == NF_OK)
        status = nf_fail_errno(errno, path, "cannot close");
    free(path);
    return status;
}

static nf_status run(struct writing *w, bool verify)
{
    for (int64_t first = 0; first < w->jobs;) {
        int64_t end = first;
        while (end < w->jobs && w->job[end].file == w->job[first].file)
            end++;
        NF_TRY(run_file(w, w->job + first, end - first, verify));
        first = end;
    }
    return NF_OK;
}

/* ---- phases ---------------------------------------------------------------------------------------------------------------
 */

static nf_status prepare(struct writing *w, const nf_mesh *mesh, const nf_weight_map *map, const nf_param_desc *desc,
                         const struct nf_st_share *share, int64_t shares)
{
    struct nf_st_span *span = NULL;
    int64_t spans = 0;
    NF_TRY(sinks(w->layout, map, desc, &span, &spans));
    nf_status status = plan(w, span, spans, share, shares, nf_mesh_rank(mesh), nf_mesh_ranks(mesh));
    free(span);
    NF_TRY(status);
    NF_TRY(nf_device_alloc_pinned(w->device, BUFFER_BYTES, "staging of weights", &w->staging));
    w->bytes = malloc(BUFFER_BYTES);
    w->back = malloc(BUFFER_BYTES);
    return w->bytes && w->back ? NF_OK : nf_fail(NF_ENOMEM, "no memory to stage %d bytes of weights", BUFFER_BYTES);
}

static nf_status begin(struct nf_st_dir *dir, const nf_st *source, const struct nf_st_layout *layout,
                       const struct nf_st_write_arg *arg)
{
    uint64_t need = 0;
    NF_TRY(nf_st_dir_carried(arg->source_dir, &need));
    for (int i = 0; i < layout->files; i++)
        need += layout->file[i].size;
    NF_TRY(nf_st_dir_check(dir, source, arg, need));
    NF_TRY(nf_st_dir_begin(dir, layout));
    return nf_st_dir_carry(dir, arg->source_dir);
}

/* From the agreed plan to the committed directory. */
static nf_status carry_out(struct writing *w, const nf_mesh *mesh, struct nf_st_dir *dir, const struct nf_st_write_arg *arg)
{
    const bool first = nf_mesh_rank(mesh) == 0;
    NF_TRY(nf_agree(mesh, first ? begin(dir, w->source, w->layout, arg) : NF_OK));
    void *name = first ? dir->temporary : NULL;
    size_t n = first ? strlen(dir->temporary) + 1 : 0;
    NF_TRY(nf_bcast_blob(nf_mesh_group(mesh, NF_WORLD), 0, &name, &n));
    w->dir = name;
    nf_status status = nf_agree(mesh, run(w, false));
    if (status == NF_OK)
        status = nf_agree(mesh, run(w, true));
    w->dir = NULL;
    if (!first)
        free(name);
    if (status == NF_OK)
        status = nf_agree(mesh, first ? nf_st_dir_commit(dir, w->layout) : NF_OK);
    return status;
}

nf_status nf_st_write(const nf_st *source, const nf_mesh *mesh, const nf_weight_map *map, const nf_param_desc *desc, int params,
                      const nf_named *named, int n, nf_queue *queue, const struct nf_st_write_arg *arg)
{
    struct nf_st_layout layout = {0};
    struct nf_st_dir dir = {0};
    struct nf_st_share *share = NULL;
    struct writing w = {
        .source = source, .named = named, .layout = &layout, .arg = arg, .queue = queue, .device = nf_queue_device(queue)};
    w.reader = NF_ST_READER(source);
    int64_t shares = 0;
    nf_status status = nf_agree(mesh, nf_st_layout_make(source, map, desc, params, arg, &layout));
    if (status == NF_OK)
        status = nf_agree(mesh, nf_st_owners(mesh, desc, params, named, n, &share, &shares));
    if (status == NF_OK)
        status = nf_agree(mesh, prepare(&w, mesh, map, desc, share, shares));
    if (status == NF_OK)
        status = carry_out(&w, mesh, &dir, arg);
    nf_st_reader_close(&w.reader);
    nf_st_dir_end(&dir);
    if (w.staging)
        nf_device_release(w.device, w.staging, BUFFER_BYTES);
    free(w.bytes);
    free(w.back);
    free(w.job);
    free(share);
    nf_st_layout_free(&layout);
    return status;
}

nf_status nf_st_write_check(const nf_st *source, const nf_mesh *mesh, const struct nf_st_write_arg *arg)
{
    return nf_agree(mesh, nf_mesh_rank(mesh) == 0 ? nf_st_dir_foresee(source, arg) : NF_OK);
}
