/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header.c: the first bytes and the header of a safetensors file. An input is a line with the number of data bytes, then the
 * header's JSON: so the length before the header is always right, and what is tried is behind it. The same bytes are also
 * tried as a file from its first byte on.
 */
#include "target.h"

#include "io/safetensors/private.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"18446744073709551615",
                                    "9223372036854775807",
                                    "4294967296",
                                    "-1",
                                    "-0",
                                    "00",
                                    "0",
                                    "4",
                                    "16",
                                    "1e999",
                                    "0.5",
                                    "null",
                                    "true",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "[[[[",
                                    "\"",
                                    "\\u0000",
                                    "\\ud800",
                                    "\\ud83d\\ude00",
                                    "\\u0064type",
                                    ",",
                                    ":",
                                    "\xff",
                                    "\xef\xbb\xbf",
                                    "\"__metadata__\":",
                                    "\"dtype\":",
                                    "\"shape\":",
                                    "\"data_offsets\":",
                                    "\"BF16\"",
                                    "\"F4\"",
                                    "\"F32\"",
                                    "[0,0]",
                                    "\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                                    NULL};

/* What the reader promises of anything it accepts: in the order of their bytes, without a hole, all within the file. */
static const char *consistent(const struct nf_st_entry *e, int64_t count, size_t header, uint64_t file_size)
{
    uint64_t at = 8 + header;
    for (int64_t i = 0; i < count; i++) {
        if (e[i].begin != at)
            return "a hole or an overlap is accepted";
        if (e[i].nd < 0 || e[i].nd > 8 || !e[i].name[0] || strlen(e[i].name) > 1024 || !fuzz_printable(e[i].name))
            return "a name or a rank that should be refused is accepted";
        unsigned __int128 bits = (unsigned)nf_st_dtype_bits(e[i].dtype);
        for (int d = 0; d < e[i].nd; d++) {
            if (e[i].dim[d] < 0)
                return "a negative dimension is accepted";
            bits = bits * (unsigned __int128)e[i].dim[d];
            if (bits > (unsigned __int128)UINT64_MAX * 8)
                return "a product beyond 64 bits is accepted";
        }
        if (bits != (unsigned __int128)e[i].bytes * 8)
            return "shape, dtype and bytes disagree";
        at += e[i].bytes;
        if (at > file_size)
            return "a tensor beyond the end of the file is accepted";
        for (int64_t k = 0; k < i && i < 64; k++)
            if (strcmp(e[k].name, e[i].name) == 0)
                return "a name that stands twice is accepted";
    }
    return at == file_size ? NULL : "bytes behind the last tensor are accepted";
}

static const char *refused(nf_status status)
{
    if (status == NF_ENOMEM)
        return NULL; /* under a limit of memory */
    if (status != NF_EDATA || strncmp(nf_diagnosis(), "f: ST-0", 7) != 0)
        return "refused without a code";
    return fuzz_printable(nf_diagnosis()) && strlen(nf_diagnosis()) < 4000 ? NULL : "the diagnosis is not printable";
}

static const char *as_file(const char *text, size_t n)
{
    uint64_t length = 0;
    const nf_status status = nf_st_prefix("f", (const unsigned char *)text, n < NF_ST_HEAD ? n : NF_ST_HEAD, n, &length);
    if (status != NF_OK)
        return refused(status);
    return length > 0 && length <= n - 8 ? NULL : "a length beyond the file is accepted";
}

static const char *holds(const char *text, size_t n, bool *accepted)
{
    struct nf_st_entry *entries = NULL;
    struct nf_st_notes notes = {0};
    int64_t count = 0;
    uint64_t data = 0;
    size_t at = 0;
    const char *broken = as_file(text, n);
    nf_diagnosis_clear();
    for (; at < n && at < 18 && text[at] >= '0' && text[at] <= '9'; at++)
        data = data * 10 + (uint64_t)(text[at] - '0');
    at += at < n && text[at] == '\n';
    char *header = malloc(n - at ? n - at : 1);
    if (broken || !header) {
        free(header);
        return broken;
    }
    memcpy(header, text + at, n - at);
    const uint64_t size = 8 + (n - at) + data;
    const nf_status status = nf_st_header_read("f", header, n - at, size, &notes, &entries, &count);
    *accepted = status == NF_OK;
    broken = status == NF_OK ? consistent(entries, count, n - at, size) : refused(status);
    if (!broken && notes.text.text && !fuzz_printable(notes.text.text))
        broken = "a note is not printable";
    if (status == NF_OK)
        nf_st_entries_free(entries, count);
    nf_str_free(&notes.text);
    free(header);
    return broken;
}

static const char *const seeds[] = {"fuzz/seeds/header", NULL};
const struct fuzz_target fuzz_target = {"header", seeds, ".json", words, holds};
