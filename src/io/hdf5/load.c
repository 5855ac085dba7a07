/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From files to pieces, whatever mesh wrote them. Bytes are read in large windows, in the order of the disk, and each window is
 * held to its checksums again: what was whole at the start and is not now is refused.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- windows ----------------------------------------------------------------------------------------------------------------
 */

static nf_status seek(nf_snapshot_reader *r, int f)
{
    uint64_t size = 0;
    if (r->file == f)
        return NF_OK;
    if (r->fd >= 0)
        close(r->fd);
    r->file = r->fd = -1;
    r->chunk_n = 0;
    char *path = nf_path_join(r->path, r->m.file[f].name);
    nf_status status = path ? nf_h5_open(path, &r->fd, &size) : nf_fail(NF_ENOMEM, "%s: no memory for a path", r->path);
    if (status == NF_OK && size != r->m.file[f].size)
        status = nf_fail(NF_EDATA, "%s: changed since it was checked: has %llu bytes, %llu are expected", path,
                         (unsigned long long)size, (unsigned long long)r->m.file[f].size);
    free(path);
    if (status == NF_OK)
        r->file = f;
    return status;
}

/* The window that holds byte `at` of file f. */
static nf_status load_window(nf_snapshot_reader *r, int f, uint64_t at)
{
    NF_TRY(seek(r, f));
    const uint64_t from = at / NF_H5_CHUNK * NF_H5_CHUNK, size = r->m.file[f].size;
    if (r->chunk_n > 0 && r->chunk_at == from)
        return NF_OK;
    const size_t n = size - from < NF_H5_CHUNK ? (size_t)(size - from) : NF_H5_CHUNK;
    r->chunk_n = 0;
    if (r->reads_chunk)
        NF_TRY(nf_queue_drain(r->reads_chunk));
    r->reads_chunk = NULL;
    const int err = nf_h5_pread(r->fd, r->chunk, n, from);
    if (err > 0)
        return nf_fail_errno(err, r->path, "cannot read a tensor");
    for (size_t k = 0; k < n; k += NF_H5_BLOCK) {
        const size_t some = n - k < NF_H5_BLOCK ? n - k : NF_H5_BLOCK;
        if (err < 0 || nf_crc32c(0, r->chunk + k, some) != r->block[f][(from + k) / NF_H5_BLOCK])
            return nf_h5_damaged(r, f, from + k, some, "changed since it was checked");
    }
    r->chunk_at = from;
    r->chunk_n = n;
    if (r->watch.moved)
        r->watch.moved(r->watch.ctx, (int64_t)n);
    return NF_OK;
}

/* Bytes of a file to host memory (queue NULL) or wherever the queue's device keeps them. */
static nf_status read_bytes(nf_snapshot_reader *r, int f, uint64_t at, uint64_t n, char *to, nf_queue *queue)
{
    while (n > 0) {
        NF_TRY(load_window(r, f, at));
        const uint64_t left = r->chunk_at + r->chunk_n - at, some = n < left ? n : left;
        if (queue) {
            NF_TRY(nf_copy(queue, to, r->chunk + (at - r->chunk_at), (size_t)some));
            r->reads_chunk = queue; /* waited for before the window is used again */
        } else {
            memcpy(to, r->chunk + (at - r->chunk_at), (size_t)some);
        }
        to += some;
        at += some;
        n -= some;
    }
    return NF_OK;
}

/* ---- single tensors
 * ---------------------------------------------------------------------------------------------------------- */

int nf_snapshot_tensors(const nf_snapshot_reader *r)
{
    return r->m.tensors;
}

struct nf_snapshot_tensor nf_snapshot_tensor(const nf_snapshot_reader *r, int tensor)
{
    const struct nf_h5_tensor *t = &r->m.tensor[tensor];
    return (struct nf_snapshot_tensor){t->field, t->name, t->dtype, t->nd, {t->dim[0], t->dim[1], t->dim[2]}};
}

int nf_snapshot_find(const nf_snapshot_reader *r, const char *field, const char *name)
{
    for (int t = 0; t < r->m.tensors; t++)
        if (strcmp(r->m.tensor[t].name, name) == 0 && strcmp(r->m.tensor[t].field, field) == 0)
            return t;
    return -1;
}

/* The first piece of a tensor that ends behind element `first`. */
static int64_t find_piece(const struct nf_h5_manifest *m, int tensor, int64_t first)
{
    int64_t low = m->piece_of[tensor], high = m->piece_of[tensor + 1];
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (m->piece[middle].first + m->piece[middle].count <= first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

nf_status nf_snapshot_get(nf_snapshot_reader *r, int tensor, int64_t first, int64_t count, void *out)
{
    NF_CHECK(tensor >= 0 && tensor < r->m.tensors && first >= 0 && count >= 0 &&
             first + count <= nf_h5_tensor_count(&r->m.tensor[tensor]));
    const size_t size = nf_dtype_size(r->m.tensor[tensor].dtype);
    const int64_t end = first + count;
    char *to = out;
    for (int64_t i = find_piece(&r->m, tensor, first); first < end; i++) {
        const struct nf_h5_piece *p = &r->m.piece[i];
        const int64_t stop = p->first + p->count < end ? p->first + p->count : end;
        const size_t bytes = (size_t)(stop - first) * size;
        NF_TRY(read_bytes(r, p->file, p->at + (uint64_t)(first - p->first) * size, bytes, to, NULL));
        to += bytes;
        first = stop;
    }
    return NF_OK;
}

/* ---- fields
 * ------------------------------------------------------------------------------------------------------------------ */

/* Bytes of a file for a place in memory. */
struct job {
    int file;
    uint64_t at, bytes;
    char *to;
};

static int by_place(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Numbers of the snapshot's tensors, in the order of their names, for finding thousands of them. */
struct names {
    const struct nf_h5_manifest *m;
    int *order;
};

static int compare_names(const struct nf_h5_tensor *t, const char *field, const char *name)
{
    const int c = strcmp(t->field, field);
    return c ? c : strcmp(t->name, name);
}

static int by_name(const void *a, const void *b, void *ctx)
{
    const struct nf_h5_manifest *m = ctx;
    const struct nf_h5_tensor *y = &m->tensor[*(const int *)b];
    return compare_names(&m->tensor[*(const int *)a], y->field, y->name);
}

static int find_name(const struct names *n, const char *field, const char *name)
{
    int low = 0, high = n->m->tensors;
    while (low < high) {
        const int middle = (low + high) / 2;
        const int c = compare_names(&n->m->tensor[n->order[middle]], field, name);
        if (c == 0)
            return n->order[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static void show_shape(nf_str *out, nf_dtype dtype, int nd, const int64_t *dim)
{
    nf_str_addf(out, "%s [", nf_dtype_name(dtype));
    for (int d = 0; d < nd; d++)
        nf_str_addf(out, "%s%lld", d ? ", " : "", (long long)dim[d]);
    nf_str_add(out, "]");
}

static nf_status check_shape(const nf_snapshot_reader *r, const struct nf_h5_tensor *t, const nf_param_desc *d, nf_dtype dtype)
{
    bool same = t->nd == d->nd && t->dtype == dtype;
    for (int i = 0; i < d->nd && same; i++)
        same = t->dim[i] == d->dim[i];
    if (same)
        return NF_OK;
    nf_str found = {0}, wanted = {0};
    show_shape(&found, t->dtype, t->nd, t->dim);
    show_shape(&wanted, dtype, d->nd, d->dim);
    const nf_status status = nf_fail(NF_EDATA,
                                     "%s: %s of '%s' are %s, the model of this run has %s"
                                     "\n  Hint: it is a snapshot of another model, or of other precision",
                                     r->path, t->field, t->name, found.text ? found.text : "", wanted.text ? wanted.text : "");
    nf_str_free(&found);
    nf_str_free(&wanted);
    return status;
}

struct loading {
    nf_snapshot_reader *r;
    struct names names;
    bool *used; /* [tensors] */
    struct job *job;
    int64_t jobs, cap;
};

static nf_status add_job(struct loading *l, const struct nf_h5_piece *p, int64_t first, int64_t count, size_t size, char *to)
{
    if (l->jobs == l->cap) {
        const int64_t more = l->cap ? 2 * l->cap : 256;
        struct job *grown = realloc(l->job, (size_t)more * sizeof *grown);
        if (!grown)
            return nf_fail(NF_ENOMEM, "%s: no memory to plan its reading", l->r->path);
        l->job = grown;
        l->cap = more;
    }
    l->job[l->jobs++] = (struct job){
        .file = p->file, .at = p->at + (uint64_t)(first - p->first) * size, .bytes = (uint64_t)count * size, .to = to};
    return NF_OK;
}

static nf_status plan_tensor(struct loading *l, const struct nf_snapshot_field *field, int i)
{
    const struct nf_h5_manifest *m = &l->r->m;
    const nf_named *named = &field->named[i];
    const nf_param_desc *d = named->desc;
    const nf_dtype dtype = field->dtype ? field->dtype[i] : d->dtype;
    const size_t size = nf_dtype_size(dtype);
    const int t = find_name(&l->names, field->name, d->name);
    if (t < 0) {
        const bool may = field->want == NF_WANT_HELD || (field->want == NF_WANT_TRAINED && (d->frozen || d->buffer));
        if (may && !named->data)
            return NF_OK;
        return nf_fail(NF_EDATA, "%s: has no %s of '%s', which the model of this run has", l->r->path, field->name, d->name);
    }
    l->used[t] = true;
    NF_TRY(check_shape(l->r, &m->tensor[t], d, dtype));
    const int64_t end = named->piece.first + named->piece.count;
    int64_t at = named->piece.first;
    for (int64_t k = find_piece(m, t, at); named->data && at < end; k++) {
        const struct nf_h5_piece *p = &m->piece[k];
        const int64_t stop = p->first + p->count < end ? p->first + p->count : end;
        NF_TRY(add_job(l, p, at, stop - at, size, (char *)named->data + (size_t)(at - named->piece.first) * size));
        at = stop;
    }
    return NF_OK;
}

static nf_status plan(struct loading *l, const struct nf_snapshot_field *field, int fields)
{
    const struct nf_h5_manifest *m = &l->r->m;
    l->names.m = m;
    l->names.order = malloc(((size_t)m->tensors + 1) * sizeof *l->names.order);
    l->used = calloc((size_t)m->tensors + 1, sizeof *l->used);
    if (!l->names.order || !l->used)
        return nf_fail(NF_ENOMEM, "%s: no memory to plan its reading", l->r->path);
    for (int t = 0; t < m->tensors; t++)
        l->names.order[t] = t;
    qsort_r(l->names.order, (size_t)m->tensors, sizeof *l->names.order, by_name, (void *)m);
    for (int f = 0; f < fields; f++)
        for (int i = 0; i < field[f].n; i++)
            NF_TRY(plan_tensor(l, &field[f], i));
    for (int t = 0; t < m->tensors; t++)
        for (int f = 0; f < fields && !l->used[t]; f++)
            if (strcmp(m->tensor[t].field, field[f].name) == 0)
                return nf_fail(NF_EDATA, "%s: has %s of '%s', which the model of this run has not", l->r->path,
                               m->tensor[t].field, m->tensor[t].name);
    if (l->jobs)
        qsort(l->job, (size_t)l->jobs, sizeof *l->job, by_place);
    return NF_OK;
}

/* Through pinned memory, if the queue is a GPU's. */
static nf_status carry_out(const struct loading *l, nf_queue *queue)
{
    nf_snapshot_reader *r = l->r;
    nf_device *device = nf_queue_device(queue);
    unsigned char *own = r->chunk;
    void *window;
    NF_TRY(nf_device_alloc_pinned(device, NF_H5_CHUNK, "staging of a snapshot", &window));
    r->chunk = window;
    r->chunk_n = 0;
    nf_status status = NF_OK;
    for (int64_t i = 0; i < l->jobs && status == NF_OK; i++)
        status = read_bytes(r, l->job[i].file, l->job[i].at, l->job[i].bytes, l->job[i].to, queue);
    if (r->reads_chunk) {
        const nf_status drained = nf_queue_drain(queue);
        status = status == NF_OK ? drained : status;
        r->reads_chunk = NULL;
    }
    r->chunk = own;
    r->chunk_n = 0;
    nf_device_release(device, window, NF_H5_CHUNK);
    return status;
}

nf_status nf_snapshot_load(nf_snapshot_reader *r, const nf_mesh *mesh, const struct nf_snapshot_field *field, int fields,
                           nf_queue *queue)
{
    struct loading l = {.r = r};
    nf_status status = nf_agree(mesh, plan(&l, field, fields));
    if (status == NF_OK)
        status = nf_agree(mesh, l.jobs ? carry_out(&l, queue) : NF_OK);
    free(l.names.order);
    free(l.used);
    free(l.job);
    return status;
}
