/* SPDX-License-Identifier: Apache-2.0 */
/* digest.c: FNV-1a over bytes and files. See digest.h. */
#define _GNU_SOURCE
#include "nemafit/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nemafit/str.h"

enum { PIECE = 1 << 20, PIECES = 32 };

nf_digest nf_digest_new(void)
{
    return (nf_digest){0xcbf29ce484222325};
}

void nf_digest_add(nf_digest *d, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        d->value = (d->value ^ p[i]) * 0x100000001b3;
}

void nf_digest_text(nf_digest *d, const char *text)
{
    nf_digest_add(d, text ? text : "", text ? strlen(text) + 1 : 1);
}

void nf_digest_number(nf_digest *d, int64_t number)
{
    unsigned char bytes[8]; /* the same on every machine */

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    nf_digest_add(d, bytes, sizeof bytes);
}

/* Bytes [at, at + n), less where the file ends before. 0 or an errno. */
static int add_piece(nf_digest *d, int fd, char *buffer, off_t at, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, buffer, n - done, at + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : 0;
        nf_digest_add(d, buffer, (size_t)got);
        done += (size_t)got;
    }
    return 0;
}

nf_status nf_digest_file(nf_digest *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), err = fd < 0 ? errno : 0;
    char *buffer = malloc(PIECE);
    struct stat st = {0};

    if (!buffer)
        err = ENOMEM;
    if (!err && fstat(fd, &st) != 0)
        err = errno;
    nf_digest_number(d, st.st_size);
    for (int i = 0; i < PIECES && !err; i++) {
        off_t at = st.st_size <= (off_t)PIECE * PIECES ? (off_t)PIECE * i : (st.st_size - PIECE) / (PIECES - 1) * i;
        if (i == PIECES - 1 && st.st_size > (off_t)PIECE * PIECES)
            at = st.st_size - PIECE;
        if (at < st.st_size)
            err = add_piece(d, fd, buffer, at, PIECE);
    }
    free(buffer);
    if (fd >= 0)
        close(fd);
    return err ? nf_fail_errno(err, path, "reading") : NF_OK;
}

void nf_digest_show(const nf_digest *d, char hex[17])
{
    snprintf(hex, 17, "%016llx", (unsigned long long)d->value);
}
