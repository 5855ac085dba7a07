/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of an HDF5 file as a rank reads them: regular files only, opened so that a FIFO cannot block; whole ranges by pread,
 * never mapped; turned if they are big-endian. That a range lies in the file was checked when the layout was.
 */
#define _GNU_SOURCE
#include "stored.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const nf_stored_name[H5_NAMES] = {"input_ids",     "labels",  "segment_ids",   "pieces",
                                              "piece_offsets", "prompts", "prompt_offsets"};

size_t nf_stored_width(enum nf_stored_name name)
{
    return name == H5_PIECES ? 1 : name == H5_PIECE_OFFSETS || name == H5_PROMPT_OFFSETS ? 8 : 4;
}

nf_status nf_stored_open_file(const char *path, int *fd, uint64_t *size, uint64_t *dev, uint64_t *ino)
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
        status = nf_fail(NF_EDATA, "%s: H5-37: expected a regular file, found a %s", nf_str_shown(shown, path, strlen(path)),
                         S_ISDIR(st.st_mode)    ? "directory"
                         : S_ISFIFO(st.st_mode) ? "FIFO"
                                                : "device or socket");
    }
    if (status != NF_OK) {
        close(opened);
        return status;
    }
    *fd = opened;
    *size = (uint64_t)st.st_size;
    *dev = (uint64_t)st.st_dev;
    *ino = (uint64_t)st.st_ino;
    return NF_OK;
}

nf_status nf_stored_pread(int fd, const char *path, void *bytes, size_t n, uint64_t at)
{
    char *to = bytes, shown[280];
    while (n > 0) {
        const ssize_t got = pread(fd, to, n > (1u << 30) ? 1u << 30 : n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return nf_fail_errno(errno, path, "cannot read");
        if (got == 0)
            return nf_fail(NF_EDATA, "%s: H5-36: became shorter while it was read: nothing at byte %llu",
                           nf_str_shown(shown, path, strlen(path)), (unsigned long long)at);
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return NF_OK;
}

static void turn(unsigned char *bytes, int64_t n, size_t width)
{
    for (int64_t i = 0; i < n; i++, bytes += width)
        for (size_t k = 0; k < width / 2; k++) {
            const unsigned char low = bytes[k];
            bytes[k] = bytes[width - 1 - k];
            bytes[width - 1 - k] = low;
        }
}

nf_status nf_stored_elements(const struct nf_stored_file *file, enum nf_stored_name name, int64_t first, int64_t n, void *out)
{
    const struct nf_stored_array *a = &file->layout.array[name];
    const size_t width = nf_stored_width(name);
    const uint16_t probe = 1;
    const bool big_machine = *(const unsigned char *)&probe == 0;
    NF_CHECK(first >= 0 && n >= 0 && first + n <= a->rows * a->cols);
    NF_TRY(nf_stored_pread(file->fd, file->path, out, (size_t)n * width, a->at + (uint64_t)first * width));
    if (a->swapped != big_machine)
        turn(out, n, width);
    return NF_OK;
}
