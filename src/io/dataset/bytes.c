/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of an HDF5 file as a rank reads them: ranges of regular files, turned if they are big-endian. That a range lies in the
 * file was checked when the layout was.
 */
#include "stored.h"

const char *const nf_stored_name[H5_NAMES] = {"input_ids",     "labels",  "segment_ids",   "pieces",
                                              "piece_offsets", "prompts", "prompt_offsets"};

size_t nf_stored_width(enum nf_stored_name name)
{
    return name == H5_PIECES ? 1 : name == H5_PIECE_OFFSETS || name == H5_PROMPT_OFFSETS ? 8 : 4;
}

nf_status nf_stored_open_file(const char *path, int *fd, struct nf_file_id *id)
{
    return nf_file_open(path, NULL, &(struct nf_file_codes){.kind = "H5-37: "}, fd, id);
}

nf_status nf_stored_pread(int fd, const char *path, void *bytes, size_t n, uint64_t at)
{
    return nf_pread(fd, path, "H5-36: ", bytes, n, at);
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
