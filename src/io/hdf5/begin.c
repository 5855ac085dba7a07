/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a snapshot, up to the point where each rank's file is on the disk: the plan, the room, the temporary, and either all
 * of it at once or a copy in host memory and a thread that writes it. Each phase ends in agreement.
 */
#include "private.h"

#include "nemafit/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_place(const void *a, const void *b)
{
    const struct nf_h5_part *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* This rank's file: layout, and where its bytes come from. */
static nf_status lay_out(nf_snapshot *s, const struct nf_snapshot_arg *arg)
{
    const struct nf_h5_manifest *m = &s->plan.m;
    const int rank = nf_mesh_rank(s->mesh);
    struct nf_h5_stream *st = &s->stream;
    int64_t n = 0;
    for (int64_t i = 0; i < m->pieces; i++)
        n += m->piece[i].file == rank;
    uint64_t *at = calloc((size_t)n + 1, sizeof *at);
    st->part = calloc((size_t)n + 1, sizeof *st->part);
    if (!at || !st->part) {
        free(at);
        return nf_fail(NF_ENOMEM, "no memory to plan a snapshot");
    }
    const nf_status status = nf_h5_rank_file(m, rank, &st->image, at);
    for (int64_t i = 0; status == NF_OK && i < m->pieces; i++) {
        const struct nf_h5_piece *p = &m->piece[i];
        nf_dtype dtype;
        if (p->file != rank)
            continue;
        const nf_named *named = nf_h5_named(arg->field, arg->fields, s->plan.source[p->tensor], &dtype);
        const size_t size = nf_dtype_size(dtype);
        st->part[st->parts] =
            (struct nf_h5_part){.at = at[st->parts],
                                .bytes = (uint64_t)p->count * size,
                                .data = (const char *)named->data + (size_t)(p->first - named->piece.first) * size,
                                .piece = st->parts};
        st->parts++;
    }
    free(at);
    if (st->parts)
        qsort(st->part, (size_t)st->parts, sizeof *st->part, by_place);
    st->blocks = nf_h5_blocks(st->image.size);
    return status;
}

/* What all files together will take: the ranks' exactly, the others by the length of their lines. */
static nf_status count_bytes(nf_snapshot *s, const struct nf_snapshot_arg *arg)
{
    int64_t sum = (int64_t)s->stream.image.size;
    NF_TRY(nf_reduce_i64(nf_mesh_group(s->mesh, NF_WORLD), &sum, 1, NF_SUM));
    for (int t = 0; t < s->plan.m.tensors; t++)
        sum += 2 * (int64_t)strlen(s->plan.m.tensor[t].name) + 320; /* in snapshot.h5 and MANIFEST */
    sum += s->plan.m.pieces * 160 + sum / NF_H5_BLOCK * 4 + 4096;
    for (int i = 0; i < arg->attachments; i++)
        sum += (int64_t)arg->attachment[i].n;
    s->cost.rank_bytes = s->stream.image.size;
    s->cost.bytes = (uint64_t)sum;
    return NF_OK;
}

static nf_status prepare(const struct nf_snapshot_arg *arg, nf_snapshot *s)
{
    s->mesh = arg->mesh;
    s->lease = arg->lease;
    s->begin = nf_seconds();
    NF_TRY(nf_h5_plan_make(arg->mesh, arg->field, arg->fields, &s->plan));
    struct nf_snapshot_meta *meta = &s->plan.m.meta;
    if (arg->meta)
        *meta = *arg->meta;
    meta->format = NF_SNAPSHOT_FORMAT;
    meta->ranks = nf_mesh_ranks(arg->mesh);
    meta->ep = nf_group_size(nf_mesh_group(arg->mesh, NF_EP));
    if (arg->lease) {
        meta->generation = arg->lease->generation;
        memcpy(s->plan.m.run, arg->lease->run, sizeof s->plan.m.run);
    }
    NF_TRY(nf_agree(arg->mesh, lay_out(s, arg)));
    return count_bytes(s, arg);
}

nf_status nf_snapshot_size(const struct nf_snapshot_arg *arg, struct nf_snapshot_cost *cost)
{
    nf_snapshot *s = calloc(1, sizeof *s);
    nf_status status = nf_agree(arg->mesh, s ? NF_OK : nf_fail(NF_ENOMEM, "no memory to plan a snapshot"));
    if (status == NF_OK)
        status = prepare(arg, s);
    if (status == NF_OK)
        *cost = s->cost;
    if (s)
        s->over = true; /* no file of it */
    nf_snapshot_free(s);
    return status;
}

static nf_status name(nf_snapshot *s)
{
    nf_str target = {0}, temporary = {0}, file = {0};
    char own[NF_H5_FILE_NAME_MAX];
    nf_h5_rank_name(own, nf_mesh_rank(s->mesh));
    nf_str_addf(&target, "%s/step-%08lld", s->lease->dir, (long long)s->plan.m.meta.step);
    nf_str_addf(&temporary, "%s.g%lld.tmp", target.text ? target.text : "", (long long)s->lease->generation);
    nf_str_addf(&file, "%s/%s", temporary.text ? temporary.text : "", own);
    s->target = target.text;
    s->temporary = temporary.text;
    s->stream.path = file.text;
    return target.failed || temporary.failed || file.failed ? nf_fail(NF_ENOMEM, "no memory for a path") : NF_OK;
}

/* Rank 0: is there room, is the directory ours, and where to write. */
static nf_status make_temporary(nf_snapshot *s)
{
    uint64_t room = 0;
    char a[32], b[32];
    NF_TRY(nf_lease_check(s->lease));
    NF_TRY(nf_h5_remove_dir(s->temporary)); /* of an attempt that failed */
    NF_TRY(nf_snapshot_room(s->lease->dir, &room));
    if (room < s->cost.bytes)
        return nf_fail(NF_EIO,
                       "%s: not begun: the snapshot needs %s (%llu bytes), %s (%llu bytes) are free"
                       "\n  Hint: free some space, or choose another snapshot.dir",
                       s->target, nf_str_bytes(a, (double)s->cost.bytes), (unsigned long long)s->cost.bytes,
                       nf_str_bytes(b, (double)room), (unsigned long long)room);
    return mkdir(s->temporary, 0750) == 0 ? NF_OK : nf_fail_errno(errno, s->temporary, "cannot create");
}

static nf_status keep_attachments(nf_snapshot *s, const struct nf_snapshot_arg *arg)
{
    s->attachment = calloc((size_t)arg->attachments + 1, sizeof *s->attachment);
    if (!s->attachment)
        return nf_fail(NF_ENOMEM, "no memory for a snapshot");
    for (int i = 0; i < arg->attachments; i++) {
        const struct nf_snapshot_attachment *a = &arg->attachment[i];
        NF_CHECK(nf_h5_file_name_ok(a->name) && strncmp(a->name, "rank-", 5) != 0 && strcmp(a->name, "snapshot.h5") != 0 &&
                 strcmp(a->name, "checksums") != 0 && arg->attachments < 32);
        char *title = strdup(a->name), *bytes = malloc(a->n + 1);
        s->attachment[s->attachments++] = (struct nf_snapshot_attachment){title, bytes, a->n};
        if (!title || !bytes)
            return nf_fail(NF_ENOMEM, "no memory for a snapshot");
        if (a->n)
            memcpy(bytes, a->bytes, a->n);
    }
    return NF_OK;
}

/* ---- at once, or behind the run --------------------------------------------------------------------------------------------
 */

static void *thread_main(void *arg)
{
    nf_snapshot *s = arg;
    nf_h5_stream_run(&s->stream);
    atomic_store(&s->written, true);
    return NULL;
}

/* Without a thread to be had it is done here. */
static void start(nf_snapshot *s)
{
    if (s->started || atomic_load(&s->written))
        return;
    s->started = pthread_create(&s->thread, NULL, thread_main, s) == 0;
    if (!s->started)
        (void)thread_main(s);
}

static void join(nf_snapshot *s)
{
    if (s->started && !s->joined)
        pthread_join(s->thread, NULL);
    s->joined = s->started;
}

/* The staging that was given, or one for this snapshot alone. */
static nf_status take_staging(nf_snapshot *s, const struct nf_snapshot_arg *arg)
{
    s->staging = arg->staging;
    if (!s->staging) {
        NF_TRY(nf_snapshot_staging_new(s->mesh, s->device, s->stream.image.size, arg->async, &s->own_staging));
        s->staging = s->own_staging;
    }
    NF_CHECK(!s->staging->taken && s->staging->device == s->device);
    s->staging->taken = true;
    s->stream.queue = s->staging->queue;
    s->stream.chunk = s->staging->chunk;
    return NF_OK;
}

/* A copy of the file as the staging has room for it: on every rank, or on none. */
static nf_status may_copy(const nf_snapshot *s, const struct nf_snapshot_arg *arg, bool *may)
{
    int64_t fits = arg->async && s->staging->copy && s->staging->copy_bytes >= s->stream.image.size;
    NF_TRY(nf_reduce_i64(nf_mesh_group(s->mesh, NF_WORLD), &fits, 1, NF_MIN));
    *may = fits != 0;
    return NF_OK;
}

static nf_status write_out(nf_snapshot *s, const struct nf_snapshot_arg *arg)
{
    nf_event ready = NF_DONE;
    bool copies = false;
    NF_TRY(take_staging(s, arg));
    s->stream.block = calloc((size_t)s->stream.blocks + 1, sizeof *s->stream.block);
    nf_status status = s->stream.block ? NF_OK : nf_fail(NF_ENOMEM, "no memory to write a snapshot");
    if (status == NF_OK)
        status = nf_queue_record(arg->queue, &ready);
    if (status == NF_OK)
        status = nf_queue_wait(s->stream.queue, ready); /* the state is that behind the step, whatever runs meanwhile */
    NF_TRY(nf_agree(s->mesh, status));
    NF_TRY(may_copy(s, arg, &copies));
    if (!copies) {
        (void)thread_main(s); /* its failure is told at the poll */
        return NF_OK;
    }
    s->stream.copy = s->staging->copy;
    status = nf_h5_stream_gather(&s->stream, 0, s->stream.image.size, s->stream.copy);
    if (status == NF_OK)
        status = nf_queue_record(s->stream.queue, &s->copied);
    NF_TRY(nf_agree(s->mesh, status));
    if (nf_event_done(s->device, s->copied))
        start(s);
    return NF_OK;
}

static nf_status carry_out(const struct nf_snapshot_arg *arg, nf_snapshot *s)
{
    const bool first = nf_mesh_rank(arg->mesh) == 0;
    NF_TRY(prepare(arg, s));
    s->device = nf_queue_device(arg->queue);
    s->stream.watch = arg->watch;
    nf_status status = name(s);
    if (status == NF_OK && first)
        status = keep_attachments(s, arg);
    NF_TRY(nf_agree(arg->mesh, status));
    NF_TRY(nf_agree(arg->mesh, first ? make_temporary(s) : NF_OK));
    return write_out(s, arg);
}

nf_status nf_snapshot_begin(const struct nf_snapshot_arg *arg, nf_snapshot **snapshot)
{
    nf_snapshot *s = calloc(1, sizeof *s);
    NF_TRY(nf_agree(arg->mesh, s ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a snapshot")));
    const nf_status status = carry_out(arg, s);
    if (status == NF_OK)
        *snapshot = s;
    else
        nf_snapshot_free(s);
    return status;
}

nf_event nf_snapshot_copied(const nf_snapshot *s)
{
    return s->copied;
}

struct nf_snapshot_cost nf_snapshot_cost(const nf_snapshot *s)
{
    return s->cost;
}

nf_status nf_snapshot_poll(nf_snapshot *s, bool block, bool *committed)
{
    *committed = false;
    NF_CHECK(!s->over);
    if (block && !atomic_load(&s->written))
        NF_TRY(nf_event_host_wait(s->device, s->copied));
    if (nf_event_done(s->device, s->copied))
        start(s);
    if (block)
        join(s);
    int64_t all = atomic_load(&s->written);
    NF_TRY(nf_reduce_i64(nf_mesh_group(s->mesh, NF_WORLD), &all, 1, NF_MIN));
    if (!all)
        return NF_OK;
    join(s);
    s->cost.seconds_write = s->stream.seconds_write;
    s->cost.seconds_verify = s->stream.seconds_verify;
    nf_status status = s->stream.status;
    if (status == NF_OK && s->stream.fault.err != 0)
        status = nf_h5_fail(&s->stream.fault, s->stream.path, s->cost.bytes);
    status = nf_agree(s->mesh, status);
    if (status == NF_OK)
        status = nf_h5_commit(s);
    if (status != NF_OK && nf_mesh_rank(s->mesh) == 0)
        (void)nf_h5_remove_dir(s->temporary); /* else the next lease does it; the first diagnosis stands */
    s->over = true;
    s->cost.seconds = nf_seconds() - s->begin;
    *committed = status == NF_OK;
    return status;
}

void nf_snapshot_free(nf_snapshot *s)
{
    if (!s)
        return;
    join(s);
    if (!s->over && s->temporary && nf_mesh_rank(s->mesh) == 0)
        (void)nf_h5_remove_dir(s->temporary);
    if (s->staging) {
        (void)nf_queue_drain(s->staging->queue); /* what was given up may still copy into it */
        s->staging->taken = false;
    }
    nf_snapshot_staging_free(s->own_staging);
    for (int i = 0; i < s->attachments; i++) {
        free((char *)s->attachment[i].name);
        free((void *)s->attachment[i].bytes);
    }
    free(s->attachment);
    free(s->stream.block);
    free(s->stream.part);
    free(s->stream.path);
    nf_h5_image_free(&s->stream.image);
    nf_h5_plan_free(&s->plan);
    free(s->target);
    free(s->temporary);
    free(s);
}

nf_status nf_snapshot_take(const struct nf_snapshot_arg *arg)
{
    nf_snapshot *s = NULL;
    bool committed = false;
    NF_TRY(nf_snapshot_begin(arg, &s));
    const nf_status status = nf_snapshot_poll(s, true, &committed);
    nf_snapshot_free(s);
    return status;
}
