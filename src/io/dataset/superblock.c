/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of an HDF5 file. What goes wrong most often (another format, a copy that stopped, a writer that was killed)
 * is found and named here, before the library has seen the file.
 */
#include "stored.h"

#include <stdio.h>
#include <string.h>

enum { SIGNATURE = 8, SUPERBLOCK_MAX = 96, OFFSET_BYTES = 8, WRITER_FLAGS = 0x01 | 0x04 };

static const unsigned char signature[SIGNATURE] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static uint64_t little(const unsigned char *b, int n)
{
    uint64_t x = 0;
    for (int i = n - 1; i >= 0; i--)
        x = x << 8 | b[i];
    return x;
}

/* Not at the start: either there is a user block of 512, 1024, ... bytes before it, or it is no HDF5 file. */
static nf_status no_signature(int fd, const char *path, uint64_t size, const unsigned char *head, size_t n)
{
    char shown[280], bytes[280];
    nf_str_shown(shown, path, strlen(path));
    for (uint64_t at = 512; at + SIGNATURE <= size && at <= 1u << 20; at *= 2) {
        unsigned char found[SIGNATURE];
        NF_TRY(nf_stored_pread(fd, path, found, SIGNATURE, at));
        if (memcmp(found, signature, SIGNATURE) == 0)
            return nf_fail(NF_EDATA,
                           "%s: H5-04: begins with a user block of %llu bytes, expected none"
                           "\n  Hint: h5unjam or h5repack makes a file without one",
                           shown, (unsigned long long)at);
    }
    return nf_fail(NF_EDATA,
                   "%s: H5-01: is not an HDF5 file: expected the signature \\x89HDF, found '%s'"
                   "\n  Hint: scripts/nemafit-tokenize makes datasets from JSONL; plain text is read with data.format = 'text'",
                   shown, nf_str_shown(bytes, (const char *)head, n < 16 ? n : 16));
}

nf_status nf_stored_superblock(int fd, const char *path, uint64_t size)
{
    unsigned char head[SUPERBLOCK_MAX] = {0};
    char shown[280];
    const size_t n = size < sizeof head ? (size_t)size : sizeof head;
    nf_str_shown(shown, path, strlen(path));
    if (size == 0)
        return nf_fail(NF_EDATA, "%s: H5-01: is empty", shown);
    NF_TRY(nf_stored_pread(fd, path, head, n, 0));
    if (n < SIGNATURE || memcmp(head, signature, SIGNATURE) != 0)
        return no_signature(fd, path, size, head, n);
    const int version = head[8];
    if (version > 3)
        return nf_fail(NF_EDATA, "%s: H5-04: superblock of version %d, expected 0 to 3", shown, version);
    const int offset_bytes = version < 2 ? head[13] : head[9];
    if (offset_bytes != OFFSET_BYTES)
        return nf_fail(NF_EDATA, "%s: H5-04: offsets of %d bytes, expected %d", shown, offset_bytes, OFFSET_BYTES);
    const int base_at = version == 0 ? 24 : version == 1 ? 28 : 12;
    const int end_at = base_at + 2 * OFFSET_BYTES;
    const uint64_t base = little(head + base_at, OFFSET_BYTES), end = little(head + end_at, OFFSET_BYTES);
    if (n < (size_t)end_at + OFFSET_BYTES)
        return nf_fail(NF_EDATA, "%s: H5-02: is truncated: %zu bytes are no whole superblock", shown, n);
    if (base != 0)
        return nf_fail(NF_EDATA, "%s: H5-04: its addresses begin at byte %llu, expected 0", shown, (unsigned long long)base);
    if (version == 3 && (head[11] & WRITER_FLAGS))
        return nf_fail(NF_EDATA,
                       "%s: H5-03: was not closed by its writer, or still is being written"
                       "\n  Hint: if the writer has ended, make the file again; h5clear -s only removes the mark",
                       shown);
    if (end > size)
        return nf_fail(NF_EDATA,
                       "%s: H5-02: is truncated: %llu bytes, its superblock says %llu"
                       "\n  Hint: copy it again, or make it again if its writer was stopped",
                       shown, (unsigned long long)size, (unsigned long long)end);
    return NF_OK;
}
