/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of files: regular ones only, opened so that a FIFO cannot block; whole ranges by pread and pwrite, never mapped, since
 * a mapped file that shrinks kills the process.
 */
#define _GNU_SOURCE
#include "nemafit/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What one system call is asked for at most: Linux transfers no more than 2 GiB less a page. */
#define AT_ONCE ((size_t)1 << 30)

nf_status nf_file_open(const char *path, const char *root, const struct nf_file_codes *codes, int *fd, struct nf_file_id *id)
{
    const int opened = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (opened < 0)
        return nf_fail_errno(errno, path, "cannot open");
    struct stat st;
    nf_status status = NF_OK;
    if (fstat(opened, &st) != 0) {
        status = nf_fail_errno(errno, path, "cannot read its size");
    } else if (!S_ISREG(st.st_mode)) {
        char shown[280];
        status =
            nf_fail(NF_EDATA, "%s: %sexpected a regular file, found a %s", nf_str_shown(shown, path, strlen(path)), codes->kind,
                    S_ISDIR(st.st_mode)    ? "directory"
                    : S_ISFIFO(st.st_mode) ? "FIFO"
                                           : "device or socket");
    } else if (root) {
        status = nf_root_check(opened, path, root, codes->outside);
    }
    if (status != NF_OK) {
        close(opened);
        return status;
    }
    *fd = opened;
    *id = (struct nf_file_id){.size = (uint64_t)st.st_size,
                              .dev = (uint64_t)st.st_dev,
                              .ino = (uint64_t)st.st_ino,
                              .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    return NF_OK;
}

nf_status nf_pread(int fd, const char *path, const char *code, void *bytes, size_t n, uint64_t at)
{
    char *to = bytes, shown[280];
    while (n > 0) {
        const ssize_t got = pread(fd, to, n > AT_ONCE ? AT_ONCE : n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return nf_fail_errno(errno, path, "cannot read");
        if (got == 0)
            return nf_fail(NF_EDATA, "%s: %sbecame shorter while it was read: nothing at byte %llu",
                           nf_str_shown(shown, path, strlen(path)), code, (unsigned long long)at);
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return NF_OK;
}

nf_status nf_pwrite(int fd, const char *path, const void *bytes, size_t n, uint64_t at)
{
    const char *from = bytes;
    while (n > 0) {
        const ssize_t put = pwrite(fd, from, n > AT_ONCE ? AT_ONCE : n, (off_t)at);
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
