/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as snapshots need them: whole ranges or an errno, never through a link, and what was written is read back from the disk
 * before anybody relies on it. A file whose fsync failed is given up, never tried again: the system may have dropped its pages.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int nf_h5_pwrite(int fd, const void *bytes, size_t n, uint64_t at)
{
    const char *from = bytes;
    while (n > 0) {
        const ssize_t put = pwrite(fd, from, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : EIO;
        from += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    return 0;
}

int nf_h5_pread(int fd, void *bytes, size_t n, uint64_t at)
{
    char *to = bytes;
    while (n > 0) {
        const ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : -1;
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return 0;
}

nf_status nf_h5_fail(const struct nf_h5_fault *fault, const char *path, uint64_t need)
{
    char shown[280], a[32], b[32];
    nf_str_shown(shown, path, strlen(path));
    if (fault->err < 0)
        return nf_fail(NF_EIO, "%s: %s at byte %llu: the file ends before it", shown, fault->what,
                       (unsigned long long)fault->at);
    if (fault->err == EILSEQ) /* our own: no system call says it here */
        return nf_fail(NF_EIO,
                       "%s: reads back with other bytes than were written, in MiB %llu\n  Hint: the disk or its "
                       "controller lies; do not trust what lies there",
                       shown, (unsigned long long)fault->at);
    if (fault->err != ENOSPC && fault->err != EDQUOT && fault->err != EFBIG)
        return nf_fail_errno(fault->err, path, fault->what);
    uint64_t room = 0;
    char *dir = nf_path_dir(path);
    if (dir)
        (void)nf_snapshot_room(dir, &room); /* for the message only */
    free(dir);
    return nf_fail(NF_EIO, "%s: %s at byte %llu: %s: %s (%llu bytes) are needed, %s (%llu bytes) are free\n  Hint: %s", shown,
                   fault->what, (unsigned long long)fault->at, strerror(fault->err), nf_str_bytes(a, (double)need),
                   (unsigned long long)need, nf_str_bytes(b, (double)room), (unsigned long long)room,
                   fault->err == EFBIG ? "raise the limit on the size of files (ulimit -f)"
                                       : "free some space, or choose another snapshot.dir");
}

static struct nf_h5_fault write_new(const char *path, const void *bytes, size_t n)
{
    struct nf_h5_fault f = {0};
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0)
        return (struct nf_h5_fault){errno, "cannot create", 0};
    f.err = nf_h5_pwrite(fd, bytes, n, 0);
    f.what = "cannot write";
    if (f.err == 0 && fsync(fd) != 0)
        f = (struct nf_h5_fault){errno, "cannot bring it to the disk", 0};
    if (close(fd) != 0 && f.err == 0)
        f = (struct nf_h5_fault){errno, "cannot close", 0};
    return f;
}

static struct nf_h5_fault compare(const char *path, const void *bytes, size_t n)
{
    struct nf_h5_fault f = {.what = "cannot read back"};
    struct stat st;
    char *back = malloc(n + 1);
    const int fd = back ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) != 0)
        f.err = back ? errno : ENOMEM;
    if (f.err == 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        f.err = nf_h5_pread(fd, back, n, 0);
    }
    if (f.err == 0 && ((uint64_t)st.st_size != n || memcmp(back, bytes, n) != 0))
        f.err = EILSEQ;
    if (fd >= 0)
        close(fd);
    free(back);
    return f;
}

nf_status nf_h5_put(const char *dir, const char *name, const void *bytes, size_t n, uint32_t *crc)
{
    char *path = nf_path_join(dir, name);
    if (!path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", dir);
    struct nf_h5_fault f = write_new(path, bytes, n);
    if (f.err == 0)
        f = compare(path, bytes, n);
    const nf_status status = f.err ? nf_h5_fail(&f, path, n) : NF_OK;
    free(path);
    if (crc)
        *crc = nf_crc32c(0, bytes, n);
    return status;
}

nf_status nf_h5_open(const char *path, int *fd, uint64_t *size)
{
    struct stat st;
    const int open_fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (open_fd < 0)
        return nf_fail_errno(errno, path, "cannot open");
    nf_status status = NF_OK;
    if (fstat(open_fd, &st) != 0)
        status = nf_fail_errno(errno, path, "cannot read its size");
    else if (!S_ISREG(st.st_mode))
        status = nf_fail(NF_EDATA, "%s: is not a regular file", path);
    if (status != NF_OK) {
        close(open_fd);
        return status;
    }
    *fd = open_fd;
    *size = (uint64_t)st.st_size;
    return NF_OK;
}
