/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token ids for people and back. Text is shown as text, with what a terminal should not get (control bytes, broken UTF-8)
 * escaped; an id that spells nothing is shown as a number. A letter may be spelt by several ids.
 */
#include "private.h"

#include <string.h>

/* Length of the printable UTF-8 sequence at p; 0: none. */
static size_t printable(const unsigned char *p, size_t left)
{
    const unsigned c = p[0];
    if (c >= 0x20 && c < 0x7f)
        return 1;
    const size_t n = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    const unsigned d = p[1];
    const bool wrong = (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f);
    const bool control = c == 0xc2 && d < 0xa0; /* the upper control codes */
    /* Marks that turn the direction of what follows: U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069. */
    const bool turns = c == 0xe2 && ((d == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae))) ||
                                     (d == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
    return wrong || control || turns ? 0 : n;
}

/* Append the bytes, and leave none behind. */
static void show(nf_str *out, nf_str *bytes)
{
    for (size_t i = 0; i < bytes->len;) {
        const unsigned char *p = (const unsigned char *)bytes->text + i;
        const size_t n = printable(p, bytes->len - i);
        if (n > 0)
            nf_str_addn(out, (const char *)p, n);
        else if (*p == '\n' || *p == '\t' || *p == '\r')
            nf_str_addf(out, "\\%c", *p == '\n' ? 'n' : *p == '\t' ? 't' : 'r');
        else
            nf_str_addf(out, "\\x%02x", *p);
        i += n > 0 ? n : 1;
    }
    bytes->len = 0;
}

void nf_dataset_decode(const nf_dataset *data, const int32_t *ids, int64_t n, nf_str *out)
{
    nf_str bytes = {0};
    nf_str_add(out, "");
    for (int64_t i = 0; i < n; i++) {
        if (data->ops->piece && data->ops->piece(data, ids[i], &bytes))
            continue;
        show(out, &bytes);
        if (data->ops->end_id && ids[i] == data->ops->end_id)
            nf_str_add(out, "<end>");
        else
            nf_str_addf(out, "<%d>", (int)ids[i]);
    }
    show(out, &bytes);
    out->failed |= bytes.failed;
    nf_str_free(&bytes);
}

int64_t nf_dataset_encode(const nf_dataset *data, const char *text, int32_t *ids, int64_t max)
{
    return data->ops->encode ? data->ops->encode(data, text, ids, max) : -1;
}

void nf_dataset_prompts(const nf_dataset *data, nf_str *out)
{
    if (data->ops->prompts)
        data->ops->prompts(data, out);
}
