/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token ids for people and back. Text is shown as text, with what a terminal should not get (control bytes, broken UTF-8)
 * escaped; a format without pieces shows numbers.
 */
#include "private.h"

#include <stdio.h>
#include <string.h>

/* Length of the printable UTF-8 sequence that the ids from i on spell; 0: none. */
static int printable(const int32_t *ids, int64_t left)
{
    const int32_t c = ids[0];
    if (c >= 0x20 && c < 0x7f)
        return 1;
    const int n = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || left < n)
        return 0;
    for (int i = 1; i < n; i++)
        if (ids[i] < 0x80 || ids[i] > 0xbf)
            return 0;
    const int32_t d = ids[1];
    const bool wrong = (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f);
    const bool control = c == 0xc2 && d < 0xa0; /* the upper control codes */
    /* Marks that turn the direction of what follows: U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069. */
    const bool turns = c == 0xe2 && ((d == 0x80 && (ids[2] == 0x8e || ids[2] == 0x8f || (ids[2] >= 0xaa && ids[2] <= 0xae))) ||
                                     (d == 0x81 && ids[2] >= 0xa6 && ids[2] <= 0xa9));
    return wrong || control || turns ? 0 : n;
}

static void escape(char out[24], int32_t id)
{
    if (id == NF_TEXT_END)
        snprintf(out, 24, "<end>");
    else if (id < 0 || id > NF_TEXT_END)
        snprintf(out, 24, "<%d>", (int)id);
    else if (id == '\n' || id == '\t' || id == '\r')
        snprintf(out, 24, "\\%c", id == '\n' ? 'n' : id == '\t' ? 't' : 'r');
    else
        snprintf(out, 24, "\\x%02x", (unsigned)id);
}

void nf_dataset_decode(const nf_dataset *data, const int32_t *ids, int64_t n, char *out, size_t size)
{
    size_t at = 0;
    if (size == 0)
        return;
    for (int64_t i = 0; i < n;) {
        char part[24];
        int taken = data->ops->pieces ? printable(ids + i, n - i) : 0;
        for (int k = 0; k < taken; k++)
            part[k] = (char)ids[i + k];
        part[taken] = 0;
        if (taken == 0) {
            if (data->ops->pieces)
                escape(part, ids[i]);
            else
                snprintf(part, sizeof part, "<%d>", (int)ids[i]);
            taken = 1;
        }
        const size_t length = strlen(part);
        if (at + length + 1 > size)
            break; /* a piece is shown whole or not at all */
        memcpy(out + at, part, length);
        at += length;
        i += taken;
    }
    out[at] = 0;
}

int64_t nf_dataset_encode(const nf_dataset *data, const char *text, int32_t *ids, int64_t max)
{
    if (!data->ops->pieces)
        return -1;
    int64_t n = 0;
    for (const char *p = text; *p && n < max; p++)
        ids[n++] = (unsigned char)*p;
    return n;
}
