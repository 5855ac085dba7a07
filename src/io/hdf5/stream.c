/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rank's file on its way to the disk: front to back in large chunks, checksums on the fly, each byte written once; then
 * fsync, and all of it read back from the disk against the checksums. With a copy in host memory this runs in a thread of its
 * own, so it only leaves a fault: the main thread tells it.
 */
#include "private.h"

#include "nemafit/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first part that ends behind `at`. */
static int64_t find(const struct nf_h5_stream *s, uint64_t at)
{
    int64_t low = 0, high = s->parts;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (s->part[middle].at + s->part[middle].bytes <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where a part and bytes [at, at + n) of the file overlap. */
static size_t overlap(const struct nf_h5_part *p, uint64_t at, size_t n, uint64_t *from)
{
    const uint64_t end = p->at + p->bytes < at + n ? p->at + p->bytes : at + n;
    *from = p->at > at ? p->at : at;
    return end > *from ? (size_t)(end - *from) : 0;
}

/* Zero what lies between the parts: HDF5 writes over some of it. */
static void clear_gaps(const struct nf_h5_stream *s, uint64_t at, size_t n, unsigned char *out)
{
    uint64_t done = at, from;
    for (int64_t i = find(s, at); i < s->parts && s->part[i].at < at + n; i++) {
        const size_t bytes = overlap(&s->part[i], at, n, &from);
        memset(out + (done - at), 0, (size_t)(from - done));
        done = from + bytes;
    }
    memset(out + (done - at), 0, (size_t)(at + n - done));
}

nf_status nf_h5_stream_gather(struct nf_h5_stream *s, uint64_t at, size_t n, unsigned char *out)
{
    uint64_t from;
    clear_gaps(s, at, n, out);
    nf_h5_image_lay(&s->image, at, n, out);
    for (int64_t i = find(s, at); i < s->parts && s->part[i].at < at + n; i++) {
        const size_t bytes = overlap(&s->part[i], at, n, &from);
        NF_TRY(nf_copy(s->queue, out + (from - at), (const char *)s->part[i].data + (from - s->part[i].at), bytes));
    }
    return NF_OK;
}

static void moved(const struct nf_h5_stream *s, size_t n)
{
    if (s->watch && s->watch->moved)
        s->watch->moved(s->watch->ctx, (int64_t)n);
}

static bool set_fault(struct nf_h5_stream *s, int err, const char *what, uint64_t at)
{
    if (err != 0 && s->fault.err == 0)
        s->fault = (struct nf_h5_fault){err, what, at};
    return err == 0;
}

/* Checksums of a chunk: its blocks, the file, and the parts that it holds. */
static void sum(struct nf_h5_stream *s, uint64_t at, size_t n, const unsigned char *bytes)
{
    uint64_t from;
    for (size_t k = 0; k < n; k += NF_H5_BLOCK)
        s->block[(at + k) / NF_H5_BLOCK] = nf_crc32c(0, bytes + k, n - k < NF_H5_BLOCK ? n - k : NF_H5_BLOCK);
    s->crc = nf_crc32c(s->crc, bytes, n);
    for (int64_t i = find(s, at); i < s->parts && s->part[i].at < at + n; i++) {
        const size_t some = overlap(&s->part[i], at, n, &from);
        s->part[i].crc = nf_crc32c(s->part[i].crc, bytes + (from - at), some);
    }
}

static bool write_all(struct nf_h5_stream *s, int fd)
{
    for (uint64_t at = 0; at < s->image.size; at += NF_H5_CHUNK) {
        const size_t n = s->image.size - at < NF_H5_CHUNK ? (size_t)(s->image.size - at) : NF_H5_CHUNK;
        const unsigned char *bytes = s->copy ? s->copy + at : s->chunk;
        if (!s->copy) {
            s->status = nf_h5_stream_gather(s, at, n, s->chunk);
            if (s->status == NF_OK)
                s->status = nf_queue_drain(s->queue);
            if (s->status != NF_OK)
                return false;
        }
        sum(s, at, n, bytes);
        if (!set_fault(s, nf_h5_pwrite(fd, bytes, n, at), "cannot write", at))
            return false;
        (void)sync_file_range(fd, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE); /* the disk begins now, not at the fsync */
        moved(s, n);
    }
    return true;
}

static void write_file(struct nf_h5_stream *s)
{
    const int fd = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (!set_fault(s, fd >= 0 ? 0 : errno, "cannot create", 0))
        return;
    bool good = true;
    if (fallocate(fd, 0, 0, (off_t)s->image.size) != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        good = set_fault(s, errno, "cannot take room for it", 0);
    good = good && write_all(s, fd);
    if (good && fsync(fd) != 0)
        (void)set_fault(s, errno, "cannot bring it to the disk", 0);
    if (close(fd) != 0)
        (void)set_fault(s, errno, "cannot close", 0);
}

static bool read_all(struct nf_h5_stream *s, int fd)
{
    for (uint64_t at = 0; at < s->image.size; at += NF_H5_CHUNK) {
        const size_t n = s->image.size - at < NF_H5_CHUNK ? (size_t)(s->image.size - at) : NF_H5_CHUNK;
        if (!set_fault(s, nf_h5_pread(fd, s->chunk, n, at), "cannot read back", at))
            return false;
        for (size_t k = 0; k < n; k += NF_H5_BLOCK)
            if (nf_crc32c(0, s->chunk + k, n - k < NF_H5_BLOCK ? n - k : NF_H5_BLOCK) != s->block[(at + k) / NF_H5_BLOCK])
                return set_fault(s, EILSEQ, "differs", (at + k) / NF_H5_BLOCK);
        moved(s, n);
    }
    return true;
}

static void verify_file(struct nf_h5_stream *s)
{
    const int fd = open(s->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (!set_fault(s, fd >= 0 ? 0 : errno, "cannot read back", 0))
        return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, not from memory */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    (void)read_all(s, fd);
    close(fd);
}

void nf_h5_stream_run(struct nf_h5_stream *s)
{
    const double begin = nf_seconds();
    write_file(s);
    const double middle = nf_seconds();
    s->seconds_write = middle - begin;
    if (s->fault.err == 0 && s->status == NF_OK)
        verify_file(s);
    s->seconds_verify = nf_seconds() - middle;
}
