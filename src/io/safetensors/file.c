/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as this folder reads and writes them: regular ones only, opened so that a FIFO cannot block; whole ranges, never
 * mapped, since a mapped file that shrinks kills the process.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

nf_status nf_st_file_open(const char *path, const char *root, int *fd, uint64_t *size, int64_t *mtime_ns)
{
    const int open_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (open_fd < 0)
        return nf_fail_errno(errno, path, "cannot open");
    struct stat st;
    nf_status status = NF_OK;
    if (fstat(open_fd, &st) != 0) {
        status = nf_fail_errno(errno, path, "cannot read its size");
    } else if (!S_ISREG(st.st_mode)) {
        char shown[280];
        status = nf_fail(NF_EDATA, "%s: IX-17: is not a regular file but a %s", nf_str_shown(shown, path, strlen(path)),
                         S_ISDIR(st.st_mode)    ? "directory"
                         : S_ISFIFO(st.st_mode) ? "FIFO"
                                                : "device or socket");
    } else if (root) {
        status = nf_root_check(open_fd, path, root, "IX-16: ");
    }
    if (status != NF_OK) {
        close(open_fd);
        return status;
    }
    *fd = open_fd;
    if (size)
        *size = (uint64_t)st.st_size;
    if (mtime_ns)
        *mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return NF_OK;
}

nf_status nf_st_pread(int fd, const char *path, void *bytes, size_t n, uint64_t at)
{
    char *to = bytes;
    while (n > 0) {
        const ssize_t got = pread(fd, to, n > (1u << 30) ? 1u << 30 : n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return nf_fail_errno(errno, path, "cannot read");
        if (got == 0) {
            char shown[280];
            return nf_fail(NF_EDATA, "%s: IX-18: became shorter while it was read: nothing at byte %llu",
                           nf_str_shown(shown, path, strlen(path)), (unsigned long long)at);
        }
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return NF_OK;
}

nf_status nf_st_pwrite(int fd, const char *path, const void *bytes, size_t n, uint64_t at)
{
    const char *from = bytes;
    while (n > 0) {
        const ssize_t put = pwrite(fd, from, n > (1u << 30) ? 1u << 30 : n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return nf_fail_errno(put < 0 ? errno : EIO, path, "cannot write");
        from += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    return NF_OK;
}

/* ---- the shard that is open ------------------------------------------------------------------------------------------ */

void nf_st_reader_close(struct nf_st_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    free(reader->path);
    *reader = NF_ST_READER(reader->st);
}

nf_status nf_st_reader_seek(struct nf_st_reader *reader, int file)
{
    if (reader->file == file)
        return NF_OK;
    nf_st_reader_close(reader);
    const nf_st *st = reader->st;
    uint64_t size = 0;
    int64_t mtime = 0;
    reader->path = nf_path_join(st->dir, st->shard[file].name);
    if (!reader->path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", st->dir);
    NF_TRY(nf_st_file_open(reader->path, st->root, &reader->fd, &size, &mtime));
    if (size != st->shard[file].size || mtime != st->shard[file].mtime_ns)
        return nf_fail(NF_EDATA, "%s: IX-18: is not the file that was checked at the start: %llu bytes then, %llu now%s",
                       reader->path, (unsigned long long)st->shard[file].size, (unsigned long long)size,
                       size == st->shard[file].size ? ", written in between" : "");
    (void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    reader->file = file;
    return NF_OK;
}

nf_status nf_st_reader_get(struct nf_st_reader *reader, int file, void *bytes, size_t n, uint64_t at)
{
    NF_TRY(nf_st_reader_seek(reader, file));
    return nf_st_pread(reader->fd, reader->path, bytes, n, at);
}
