/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of a file that should be safetensors. What people put under this name by mistake (a git-LFS pointer, a web
 * page, a pickle, a GGUF file) has its own message, since "the header is too long" helps nobody.
 */
#include "private.h"

#include <string.h>
#include <strings.h>

static bool starts(const unsigned char *head, size_t n, const char *with)
{
    const size_t length = strlen(with);
    return n >= length && strncasecmp((const char *)head, with, length) == 0;
}

/* What the file is, if it is a known something else. Not proof that it is bad: only asked once the length makes no sense. */
static nf_status foreign(const char *file, const unsigned char *head, size_t n)
{
    if (starts(head, n, "version https://git-lfs"))
        return nf_fail(NF_EDATA, "%s: ST-040: this is a git-LFS pointer, not the file itself\n  Hint: run git lfs pull.", file);
    size_t at = 0;
    while (at < n && (head[at] == ' ' || head[at] == '\n' || head[at] == '\r' || head[at] == '\t'))
        at++;
    if (starts(head + at, n - at, "<!doctype") || starts(head + at, n - at, "<html") || starts(head + at, n - at, "<?xml"))
        return nf_fail(NF_EDATA,
                       "%s: ST-041: this is a web page, probably an error message of the server\n  Hint: download it again.",
                       file);
    if (n >= 2 && ((head[0] == 0x80 && head[1] >= 2 && head[1] <= 5) || starts(head, n, "PK\x03\x04")))
        return nf_fail(NF_EDATA,
                       "%s: ST-042: this is a PyTorch pickle; never loaded, since it can run code\n"
                       "  Hint: convert it to safetensors.",
                       file);
    if (n >= 4 && memcmp(head, "GGUF", 4) == 0)
        return nf_fail(NF_EDATA, "%s: ST-043: this is a GGUF file\n  Hint: use the safetensors files it was made from.", file);
    return NF_OK;
}

static uint64_t little(const unsigned char *p)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

nf_status nf_st_prefix(const char *file, const unsigned char *head, size_t n, uint64_t file_size, uint64_t *header)
{
    char path[280];
    const char *shown = nf_str_shown(path, file, strlen(file));
    if (file_size < 8 || n < 8) {
        NF_TRY(foreign(shown, head, n));
        return nf_fail(NF_EDATA, "%s: ST-001: file has %llu bytes, need >= 8\n  Hint: download it again.", shown,
                       (unsigned long long)file_size);
    }
    const uint64_t length = little(head), room = file_size - 8;
    const unsigned long long l = length, m = file_size;
    if (length > room || length > NF_ST_HEADER_MAX) {
        NF_TRY(foreign(shown, head, n));
        const uint64_t swapped = __builtin_bswap64(length);
        if (swapped >= 2 && swapped <= room && swapped <= NF_ST_HEADER_MAX && n > 8 && head[8] == '{')
            return nf_fail(NF_EDATA, "%s: ST-044: the header length is big-endian (%llu bytes)", shown,
                           (unsigned long long)swapped);
        /* Lengths of the upper half are those that would wrap a reader's N + 8: said with the file's size, as what they are. */
        if (length > NF_ST_HEADER_MAX && length <= INT64_MAX)
            return nf_fail(NF_EDATA, "%s: ST-003: header says %llu bytes, above the format's limit of %d; file has %llu bytes",
                           shown, l, NF_ST_HEADER_MAX, m);
        return nf_fail(NF_EDATA,
                       "%s: ST-002: header says %llu bytes, file has %llu bytes\n"
                       "  Hint: it may be cut off; download it again.",
                       shown, l, m);
    }
    if (length == 0)
        return nf_fail(NF_EDATA, "%s: ST-004: empty header", shown);
    if (n > 8 && !strchr("{ \t\r\n", head[8]))
        NF_TRY(foreign(shown, head, n));
    *header = length;
    return NF_OK;
}
