/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files. Reading opens without blocking and refuses what is not a regular file (a FIFO would hang the run); writing is
 * seen by others either whole or not at all: temporary file beside the target, fsync, rename, fsync of the directory. A
 * symbolic link at the target is replaced, not followed.
 */
#define _GNU_SOURCE
#include "nemafit/log.h"
#include "nemafit/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static nf_status status_of(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR: return NF_EMISSING;
    case EACCES:
    case EPERM:
    case EROFS: return NF_EPERM;
    case ENOMEM:
    case EMFILE:
    case ENFILE: return NF_ENOMEM;
    case EEXIST:
    case ENOTEMPTY: return NF_EEXISTS;
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG: return NF_EDATA;
    default: return NF_EIO;
    }
}

nf_status nf_fail_errno(int err, const char *path, const char *what)
{
    char shown[280];
    const char *hint = err == ENOSPC || err == EDQUOT ? "\n  Hint: free some space, or choose another directory" : "";
    return nf_fail(status_of(err), "%s: %s: %s%s", nf_str_shown(shown, path, strlen(path)), what, strerror(err), hint);
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISLNK(mode)  ? "a symbolic link"
                            : "a device";
}

static nf_status not_regular(const char *path, mode_t mode)
{
    char shown[280];
    return nf_fail(NF_EDATA, "%s: expected a regular file, found %s", nf_str_shown(shown, path, strlen(path)), kind_of(mode));
}

static nf_status too_large(const char *path, size_t limit)
{
    char shown[280], most[32];
    return nf_fail(NF_EDATA, "%s: larger than %s, the most that is read of such a file",
                   nf_str_shown(shown, path, strlen(path)), nf_str_bytes(most, (double)limit));
}

/* All that is in fd, at most `limit` bytes and the NUL. The size told by stat is only where to begin: /proc files tell 0. */
static nf_status read_all(int fd, const char *path, size_t expected, size_t limit, char **bytes, size_t *n)
{
    nf_status status = NF_OK;
    size_t cap = expected + 2, len = 0; /* one for the NUL, one to see the end */
    char *text = malloc(cap);
    if (!text)
        return nf_fail_errno(ENOMEM, path, "reading");
    for (;;) {
        if (len + 1 == cap) {
            char *moved = cap <= SIZE_MAX / 2 ? realloc(text, cap * 2) : NULL;
            if (!moved) {
                status = nf_fail_errno(ENOMEM, path, "reading");
                goto done;
            }
            text = moved;
            cap *= 2;
        }
        ssize_t got = read(fd, text + len, cap - len - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = nf_fail_errno(errno, path, "reading");
            goto done;
        }
        if (got == 0)
            break;
        len += (size_t)got;
        if (len > limit) {
            status = too_large(path, limit);
            goto done;
        }
    }
    if (expected > 0 && len != expected) {
        char shown[280];
        status = nf_fail(NF_EIO, "%s: changed while it was read: %zu bytes, then %zu", nf_str_shown(shown, path, strlen(path)),
                         expected, len);
        goto done;
    }
    text[len] = '\0';
    *bytes = text;
    *n = len;
done:
    if (status != NF_OK)
        free(text);
    return status;
}

/* root: NULL for anywhere. */
static nf_status open_and_read(const char *path, const char *root, size_t limit, char **bytes, size_t *n)
{
    nf_status status;
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENXIO ? not_regular(path, S_IFSOCK) : nf_fail_errno(errno, path, "opening");
    if (fstat(fd, &st) != 0)
        status = nf_fail_errno(errno, path, "opening");
    else if (!S_ISREG(st.st_mode))
        status = not_regular(path, st.st_mode);
    else if ((uintmax_t)st.st_size > limit)
        status = too_large(path, limit);
    else
        status = root ? nf_root_check(fd, path, root, "") : NF_OK;
    if (status == NF_OK)
        status = read_all(fd, path, (size_t)st.st_size, limit, bytes, n);
    close(fd);
    return status;
}

nf_status nf_file_read(const char *path, size_t limit, char **bytes, size_t *n)
{
    return open_and_read(path, NULL, limit, bytes, n);
}

nf_status nf_file_read_below(const char *path, const char *root, size_t limit, char **bytes, size_t *n)
{
    return open_and_read(path, root, limit, bytes, n);
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? errno : EIO;
        p += written;
        n -= (size_t)written;
    }
    return 0;
}

/* A new file beside the target; names differ between processes, and between ranks of several hosts. */
static int open_temporary(const char *path, char **temporary)
{
    for (int i = 0; i < 100; i++) {
        nf_str name = {0};
        nf_str_addf(&name, "%s.%ld-%d-%d.tmp", path, (long)getpid(), nf_log_rank(), i);
        if (name.failed) {
            nf_str_free(&name);
            errno = ENOMEM;
            return -1;
        }
        int fd = open(name.text, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd >= 0) {
            *temporary = name.text;
            return fd;
        }
        int err = errno;
        nf_str_free(&name);
        errno = err;
        if (err != EEXIST)
            return -1;
    }
    return -1;
}

nf_status nf_file_write(const char *path, const void *bytes, size_t n)
{
    struct stat st;
    char *temporary = NULL, *dir = NULL;
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return not_regular(path, st.st_mode);
    int fd = open_temporary(path, &temporary);
    if (fd < 0)
        return nf_fail_errno(errno, path, "creating");
    nf_status status = NF_OK;
    int err = write_all(fd, bytes, n);
    if (err == 0 && fsync(fd) != 0)
        err = errno;
    if (close(fd) != 0 && err == 0)
        err = errno;
    if (err == 0 && rename(temporary, path) != 0)
        err = errno;
    if (err != 0) {
        unlink(temporary);
        status = nf_fail_errno(err, path, "writing");
        goto done;
    }
    dir = nf_path_dir(path);
    status = dir ? nf_dir_sync(dir) : nf_fail_errno(ENOMEM, path, "writing");
done:
    free(dir);
    free(temporary);
    return status;
}
