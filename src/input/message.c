/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c: collected errors and the report made of them: place, what is wrong, the line with a caret, what to change. Bytes
 * of the input are shown escaped, since an input may be hostile, and lines are cut to a window around the caret.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define WINDOW 96 /* columns of a source line that are shown */

static NF_PRINTF(1, 0) char *format(const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, args);
    return text;
}

char *nf_message_format(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = format(fmt, args);
    va_end(args);
    return text;
}

void nf_message_add(nf_input *input, struct nf_place where, const char *hint, const char *fmt, ...)
{
    if (input->errors++ >= NF_ERRORS_MAX)
        return;
    struct nf_error *e = &input->error[input->errors - 1];
    va_list args;
    va_start(args, fmt);
    e->text = format(fmt, args);
    va_end(args);
    e->where = where;
    e->hint = hint && *hint ? strdup(hint) : NULL;
    if (!e->text || (hint && *hint && !e->hint))
        input->no_memory = true;
}

/* One character at text[0..n): its bytes, and whether a terminal shows it as one harmless column. */
static size_t character(const unsigned char *text, size_t n, bool *plain)
{
    unsigned char c = text[0];
    *plain = c >= ' ' && c < 0x7f;
    if (c < 0xc2 || c > 0xf4)
        return 1;
    size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    uint32_t code = c & (0xff >> (want + 1));
    if (want > n)
        return 1;
    for (size_t i = 1; i < want; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 1;
        code = code << 6 | (text[i] & 0x3f);
    }
    bool too_long = (want == 3 && code < 0x800) || (want == 4 && code < 0x10000);
    if (too_long || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 1;
    /* C1 controls, marks of writing direction and other invisible ones are shown as bytes */
    *plain = code > 0xa0 && code != 0xad && !(code >= 0x200b && code <= 0x200f) && !(code >= 0x2028 && code <= 0x202e) &&
             !(code >= 0x2060 && code <= 0x206f) && code != 0xfeff && code != 0x61c;
    return want;
}

/* Appends one character and returns its columns; out NULL: only counts. */
static int show(nf_str *out, const char *text, size_t len, bool plain)
{
    if (*text == '\t' || plain) {
        if (out)
            nf_str_addn(out, *text == '\t' ? " " : text, *text == '\t' ? 1 : len);
        return 1;
    }
    for (size_t i = 0; out && i < len; i++)
        nf_str_addf(out, "\\x%02x", (unsigned char)text[i]);
    return 4 * (int)len;
}

void nf_message_shown(nf_str *out, const char *text, size_t n, int columns)
{
    int used = 0;
    for (size_t at = 0; at < n;) {
        bool plain;
        size_t len = character((const unsigned char *)text + at, n - at, &plain);
        int width = show(NULL, text + at, len, plain);
        if (used + width > columns) {
            nf_str_add(out, "...");
            return;
        }
        used += show(out, text + at, len, plain);
        at += len;
    }
}

/* The line around `at`, a byte order mark at the start of the text left out. */
static void line_around(const struct nf_source *s, size_t at, size_t *begin, size_t *end, int *number)
{
    size_t first = s->n >= 3 && !memcmp(s->text, "\xef\xbb\xbf", 3) ? 3 : 0;
    *begin = first;
    *number = 1;
    for (size_t i = first; i < at && i < s->n; i++)
        if (s->text[i] == '\n') {
            *begin = i + 1;
            ++*number;
        }
    for (*end = *begin; *end < s->n && s->text[*end] != '\n';)
        ++*end;
    if (*end > *begin && s->text[*end - 1] == '\r')
        --*end;
}

int nf_message_line(const nf_input *input, struct nf_place where)
{
    size_t begin, end;
    int number;
    line_around(&input->source[where.source], where.at, &begin, &end, &number);
    return number;
}

static size_t character_at(const struct nf_source *s, size_t at, size_t end, bool *plain)
{
    return character((const unsigned char *)s->text + at, end - at, plain);
}

/* The line in its window, and under it the caret: both with a gutter of the same width. */
static void show_line(nf_str *out, const struct nf_source *s, struct nf_place where, size_t begin, size_t end, int number)
{
    int column = 0, total = 0; /* of the caret; of the line */
    bool plain;
    for (size_t at = begin; at < end; at += character_at(s, at, end, &plain)) {
        size_t len = character_at(s, at, end, &plain);
        int width = show(NULL, s->text + at, len, plain);
        column += at < where.at ? width : 0;
        total += width;
    }
    int left = total <= WINDOW || column < WINDOW / 2 ? 0 : column - WINDOW / 3, used = 0, caret = -1, under = 0;
    char gutter[24] = "     ";
    if (s->name)
        snprintf(gutter, sizeof gutter, "%5d", number);
    nf_str_addf(out, "\n%s | %s", gutter, left ? "..." : "");
    size_t at = begin;
    int shown = 0;
    while (at < end && shown < WINDOW) {
        size_t len = character_at(s, at, end, &plain);
        int width = show(NULL, s->text + at, len, plain);
        if (used >= left) {
            if (caret < 0 && at + len > where.at)
                caret = shown;
            show(out, s->text + at, len, plain);
            under += at + len > where.at && at < where.at + where.len ? width : 0;
            shown += width;
        }
        used += width;
        at += len;
    }
    nf_str_addf(out, "%s\n      | %s", at < end ? "..." : "", left ? "   " : "");
    for (int i = 0; i < (caret < 0 ? shown : caret); i++)
        nf_str_add(out, " ");
    nf_str_add(out, "^");
    for (int i = 1; i < under; i++)
        nf_str_add(out, "~");
}

static void show_error(const nf_input *input, const struct nf_error *e, nf_str *out)
{
    if (e->where.source >= 0 && input->source[e->where.source].name) {
        const struct nf_source *s = &input->source[e->where.source];
        size_t begin, end;
        int number, column = 1;
        bool plain;
        line_around(s, e->where.at, &begin, &end, &number);
        for (size_t at = begin; at < e->where.at && at < end; at += character_at(s, at, end, &plain))
            column++;
        nf_message_shown(out, s->name, strlen(s->name), 200);
        nf_str_addf(out, ":%d:%d: %s", number, column, e->text);
        show_line(out, s, e->where, begin, end, number);
    } else if (e->where.source >= 0) {
        const struct nf_source *s = &input->source[e->where.source];
        nf_str_addf(out, "command line: %s", e->text);
        show_line(out, s, e->where, 0, s->n, 0);
    } else {
        if (input->has_file)
            nf_message_shown(out, input->source[0].name, strlen(input->source[0].name), 200);
        else
            nf_str_add(out, "command line");
        nf_str_addf(out, ": %s", e->text);
    }
    if (e->hint) {
        nf_str_add(out, "\n");
        nf_describe_wrapped(out, "  ", e->hint, 104);
    }
}

/* Places come before nowhere, then by source and offset; equal ones stay in the order they were found. */
static bool comes_before(const struct nf_error *a, const struct nf_error *b)
{
    if ((a->where.source < 0) != (b->where.source < 0))
        return b->where.source < 0;
    if (a->where.source != b->where.source)
        return a->where.source < b->where.source;
    return a->where.at < b->where.at;
}

void nf_message_report(const nf_input *input, size_t limit, nf_str *out)
{
    int kept = input->errors < NF_ERRORS_MAX ? input->errors : NF_ERRORS_MAX, shown = 0;
    const struct nf_error *order[NF_ERRORS_MAX];
    for (int i = 0; i < kept; i++) {
        int j = i;
        for (; j > 0 && comes_before(&input->error[i], order[j - 1]); j--)
            order[j] = order[j - 1];
        order[j] = &input->error[i];
    }
    for (; shown < kept; shown++) {
        nf_str one = {0};
        show_error(input, order[shown], &one);
        bool fits = out->len + one.len + 128 < limit;
        if (fits) {
            nf_str_add(out, shown ? "\n" : "");
            nf_str_addn(out, one.text, one.len);
        }
        out->failed |= one.failed;
        nf_str_free(&one);
        if (!fits)
            break;
    }
    if (shown < input->errors)
        nf_str_addf(out, "\n%d errors in all, %d of them shown.", input->errors, shown);
}
