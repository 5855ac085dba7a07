/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file against the MANIFEST: name, size, every byte. What is wrong is said so that a person can act: which file, which
 * tensor, which MiB, and whether it is another rank's file under a wrong name.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first tensor with bytes in [at, end) of a rank's file. */
static const struct nf_h5_tensor *tensor_at(const struct nf_h5_manifest *m, int f, uint64_t at, uint64_t end)
{
    for (int64_t i = 0; i < m->pieces; i++) {
        const struct nf_h5_piece *p = &m->piece[i];
        const struct nf_h5_tensor *t = &m->tensor[p->tensor];
        if (p->file == f && p->at < end && p->at + (uint64_t)p->count * nf_dtype_size(t->dtype) > at)
            return t;
    }
    return NULL;
}

/* "MiB 3 of 7, weights of 'model.norm.weight'" */
static void describe(const nf_snapshot_reader *r, int f, uint64_t at, const struct nf_h5_tensor *t, nf_str *out)
{
    char shown[280];
    nf_str_addf(out, "MiB %llu of %lld", (unsigned long long)(at / NF_H5_BLOCK), (long long)nf_h5_blocks(r->m.file[f].size));
    if (t)
        nf_str_addf(out, ", %s of '%s'", t->field, nf_str_shown(shown, t->name, strlen(t->name)));
}

static nf_status damaged(const nf_snapshot_reader *r, int f, uint64_t at, const struct nf_h5_tensor *t, const char *what)
{
    nf_str where = {0};
    describe(r, f, at, t, &where);
    const nf_status status =
        nf_fail(NF_EDATA, "%s/%s: %s: %s", r->path, r->m.file[f].name, what, where.text ? where.text : "somewhere");
    nf_str_free(&where);
    return status;
}

nf_status nf_h5_damaged(const nf_snapshot_reader *r, int f, uint64_t at, uint64_t n, const char *what)
{
    return damaged(r, f, at, f < r->m.meta.ranks ? tensor_at(&r->m, f, at, at + n) : NULL, what);
}

static nf_status wrong_size(const nf_snapshot_reader *r, int f, uint64_t size)
{
    const struct nf_h5_file *file = &r->m.file[f];
    nf_str where = {0};
    if (size < file->size)
        describe(r, f, size, f < r->m.meta.ranks ? tensor_at(&r->m, f, size, file->size) : NULL, &where);
    const nf_status status = nf_fail(NF_EDATA, "%s/%s: has %llu bytes, %llu are expected%s%s", r->path, file->name,
                                     (unsigned long long)size, (unsigned long long)file->size,
                                     where.text ? ": the first that is missing: " : "", where.text ? where.text : "");
    nf_str_free(&where);
    return status;
}

/* Sizes and checksum of a whole file, and the blocks that differ. */
struct result {
    uint32_t crc;
    int64_t bad, first; /* blocks; the first of them */
};

static nf_status sum(nf_snapshot_reader *r, int f, int fd, const char *path, uint64_t size, struct result *out)
{
    *out = (struct result){.first = -1};
    r->chunk_n = 0;
    for (uint64_t at = 0; at < size; at += NF_H5_CHUNK) {
        const size_t n = size - at < NF_H5_CHUNK ? (size_t)(size - at) : NF_H5_CHUNK;
        const int err = nf_h5_pread(fd, r->chunk, n, at);
        if (err > 0)
            return nf_fail_errno(err, path, "cannot read");
        if (err < 0)
            return nf_fail(NF_EDATA, "%s: became shorter while it was read", path);
        out->crc = nf_crc32c(out->crc, r->chunk, n);
        for (size_t k = 0; k < n && f < r->m.meta.ranks && nf_h5_blocks(size) == nf_h5_blocks(r->m.file[f].size);
             k += NF_H5_BLOCK) {
            const int64_t b = (int64_t)((at + k) / NF_H5_BLOCK);
            if (nf_crc32c(0, r->chunk + k, n - k < NF_H5_BLOCK ? n - k : NF_H5_BLOCK) == r->block[f][b])
                continue;
            out->first = out->bad++ ? out->first : b;
        }
        if (r->watch.moved)
            r->watch.moved(r->watch.ctx, (int64_t)n);
    }
    return NF_OK;
}

/* Does a piece differ from its checksum? */
static bool differs(const nf_snapshot_reader *r, int fd, const struct nf_h5_piece *p)
{
    const uint64_t bytes = (uint64_t)p->count * nf_dtype_size(r->m.tensor[p->tensor].dtype);
    uint32_t crc = 0;
    for (uint64_t done = 0; done < bytes; done += NF_H5_CHUNK) {
        const size_t n = bytes - done < NF_H5_CHUNK ? (size_t)(bytes - done) : NF_H5_CHUNK;
        if (nf_h5_pread(fd, r->chunk, n, p->at + done) != 0)
            return true;
        crc = nf_crc32c(crc, r->chunk, n);
    }
    return crc != p->crc;
}

/* A damaged block may hold many tensors: which of them is it? None: what lies between them, which HDF5 keeps its tables in. */
static nf_status damaged_block(const nf_snapshot_reader *r, int f, int fd, int64_t block, const char *what)
{
    const uint64_t at = (uint64_t)block * NF_H5_BLOCK, end = at + NF_H5_BLOCK;
    for (int64_t i = 0; i < r->m.pieces; i++) {
        const struct nf_h5_piece *p = &r->m.piece[i];
        const struct nf_h5_tensor *t = &r->m.tensor[p->tensor];
        if (p->file == f && p->at < end && p->at + (uint64_t)p->count * nf_dtype_size(t->dtype) > at && differs(r, fd, p))
            return damaged(r, f, at, t, what);
    }
    return damaged(r, f, at, NULL, what);
}

static nf_status compare(nf_snapshot_reader *r, int f, int fd, const char *path, uint64_t size)
{
    const struct nf_h5_file *file = &r->m.file[f];
    struct result found;
    if (size != file->size && f >= r->m.meta.ranks)
        return wrong_size(r, f, size);
    NF_TRY(sum(r, f, fd, path, size, &found));
    if (size == file->size && found.crc == file->crc && found.bad == 0)
        return NF_OK;
    for (int i = 0; i < r->m.files; i++)
        if (i != f && size == r->m.file[i].size && found.crc == r->m.file[i].crc)
            return nf_fail(NF_EDATA, "%s: holds what %s should: the files were exchanged", path, r->m.file[i].name);
    if (size != file->size)
        return wrong_size(r, f, size);
    if (found.bad == 0)
        return nf_fail(NF_EDATA, "%s: its CRC32C is %08x, %08x is expected", path, (unsigned)found.crc, (unsigned)file->crc);
    if (found.bad > 1 && found.bad == nf_h5_blocks(size))
        return nf_h5_damaged(r, f, 0, size, "is another file: all of it differs, first");
    char what[96] = "is damaged";
    if (found.bad > 1)
        snprintf(what, sizeof what, "is damaged in %lld MiB, first", (long long)found.bad);
    return damaged_block(r, f, fd, found.first, what);
}

nf_status nf_h5_check_file(nf_snapshot_reader *r, int f)
{
    uint64_t size = 0;
    int fd = -1;
    char *path = nf_path_join(r->path, r->m.file[f].name);
    if (!path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", r->path);
    nf_status status = nf_h5_open(path, &fd, &size);
    if (status == NF_EMISSING) { /* the snapshot is there: this is damage */
        nf_diagnosis_clear();
        status = nf_fail(NF_EDATA, "%s: is missing", path);
    }
    if (status == NF_OK) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        status = compare(r, f, fd, path, size);
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return status;
}
