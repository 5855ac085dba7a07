/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pull scanner of JSON. The headers of safetensors files need more than a tree gives: the byte at which something stands,
 * both places of a duplicate, -0 told from 0, numbers of 64 bits and more, and memory that does not grow to many times the
 * header. Every failure is final: the scanner is not used after one.
 */
#include "private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

NF_COLD static nf_status fail(const struct nf_st_scan *s, const char *code, size_t at, const char *fmt, ...) NF_PRINTF(4, 5);
static nf_status fail(const struct nf_st_scan *s, const char *code, size_t at, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < s->n; i++) {
        column++;
        if (s->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return nf_fail(NF_EDATA, "%s: %s: %s (line %zu, column %zu, header byte %zu)", s->file, code, what, line, column, at);
}

/* Brackets outside strings, before anything recurses. */
static nf_status check_depth(const struct nf_st_scan *s)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s->n; i++) {
        const char c = s->text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > NF_ST_DEPTH_MAX)
                return fail(s, s->code->depth, i, "nested deeper than %d", NF_ST_DEPTH_MAX);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return NF_OK;
}

nf_status nf_st_scan_open(struct nf_st_scan *s, const char *file, const char *text, size_t n, const struct nf_st_codes *code)
{
    *s = (struct nf_st_scan){.file = file, .text = text, .n = n, .code = code};
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return fail(s, code->syntax, 0, "starts with a byte order mark");
    NF_TRY(check_depth(s));
    s->buffer = malloc(n + 1);
    return s->buffer ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for a header of %zu bytes", file, n);
}

void nf_st_scan_close(struct nf_st_scan *s)
{
    free(s->buffer);
    s->buffer = NULL;
}

int nf_st_scan_peek(struct nf_st_scan *s)
{
    while (s->at < s->n &&
           (s->text[s->at] == ' ' || s->text[s->at] == '\n' || s->text[s->at] == '\t' || s->text[s->at] == '\r'))
        s->at++;
    return s->at < s->n ? (unsigned char)s->text[s->at] : -1;
}

static nf_status unexpected(struct nf_st_scan *s, const char *wanted)
{
    const int c = nf_st_scan_peek(s);
    if (c < 0)
        return fail(s, s->code->syntax, s->at, "not JSON: ends where %s should stand", wanted);
    if (c == 0)
        return fail(s, s->code->syntax, s->at, "not JSON: a NUL byte where %s should stand", wanted);
    char shown[280];
    const char byte = (char)c;
    return fail(s, s->code->syntax, s->at, "not JSON: '%s' where %s should stand", nf_str_shown(shown, &byte, 1), wanted);
}

/* ---- strings --------------------------------------------------------------------------------------------------------- */

static int hex4(const struct nf_st_scan *s, size_t at)
{
    if (at + 4 > s->n)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = s->text[at + (size_t)i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* Length of the valid UTF-8 sequence of two bytes or more that starts at `at`; 0: there is none. */
static size_t utf8_length(const struct nf_st_scan *s, size_t at)
{
    const unsigned char *p = (const unsigned char *)s->text + at;
    const size_t left = s->n - at;
    const size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (n == 0 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* An escape at s->at (the backslash); its text is never longer decoded than written. */
static nf_status escape(struct nf_st_scan *s, size_t *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const size_t at = s->at;
    const char c = at + 1 < s->n ? s->text[at + 1] : 0;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        s->buffer[(*out)++] = to[known - from];
        s->at += 2;
        return NF_OK;
    }
    const int code = c == 'u' ? hex4(s, at + 2) : -1;
    if (code < 0)
        return fail(s, s->code->syntax, at, "not JSON: an escape that does not exist");
    uint32_t full = (uint32_t)code;
    s->at += 6;
    if (code >= 0xd800 && code <= 0xdfff) {
        const bool pair = code < 0xdc00 && s->at + 1 < s->n && s->text[s->at] == '\\' && s->text[s->at + 1] == 'u';
        const int low = pair ? hex4(s, s->at + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(s, s->code->utf8, at, "half of a surrogate pair: not a character");
        full = 0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
        s->at += 6;
    }
    *out += put_utf8(s->buffer + *out, full);
    return NF_OK;
}

nf_status nf_st_scan_string(struct nf_st_scan *s, struct nf_st_text *out)
{
    if (nf_st_scan_peek(s) != '"')
        return unexpected(s, "a string");
    const size_t start = s->at++;
    size_t n = 0;
    for (;;) {
        if (s->at >= s->n)
            return fail(s, s->code->syntax, start, "not JSON: a string without an end");
        const unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"')
            break;
        if (c == '\\') {
            NF_TRY(escape(s, &n));
        } else if (c < 0x20) {
            return fail(s, s->code->syntax, s->at, "not JSON: control byte 0x%02x in a string", c);
        } else {
            const size_t length = c < 0x80 ? 1 : utf8_length(s, s->at);
            if (length == 0)
                return fail(s, s->code->utf8, s->at, "byte 0x%02x is not valid UTF-8", c);
            memcpy(s->buffer + n, s->text + s->at, length);
            n += length;
            s->at += length;
        }
    }
    s->at++;
    s->buffer[n] = 0;
    *out = (struct nf_st_text){s->buffer, n, start};
    return NF_OK;
}

/* ---- numbers and the rest -------------------------------------------------------------------------------------------- */

static bool digit_at(const struct nf_st_scan *s)
{
    return s->at < s->n && s->text[s->at] >= '0' && s->text[s->at] <= '9';
}

nf_status nf_st_scan_number(struct nf_st_scan *s, struct nf_st_number *out)
{
    nf_st_scan_peek(s);
    *out = (struct nf_st_number){.kind = NF_ST_NATURAL, .at = s->at};
    if (s->at < s->n && s->text[s->at] == '-') {
        out->kind = NF_ST_NEGATIVE;
        s->at++;
    }
    if (!digit_at(s))
        return unexpected(s, "a number");
    if (s->text[s->at] == '0' && s->at + 1 < s->n && s->text[s->at + 1] >= '0' && s->text[s->at + 1] <= '9')
        return fail(s, s->code->syntax, s->at, "not JSON: a number with a leading zero");
    for (; digit_at(s); s->at++) {
        uint64_t next;
        if (__builtin_mul_overflow(out->value, (uint64_t)10, &next) ||
            __builtin_add_overflow(next, (uint64_t)(s->text[s->at] - '0'), &next)) {
            if (out->kind == NF_ST_NATURAL)
                out->kind = NF_ST_HUGE;
        } else if (out->kind != NF_ST_HUGE) {
            out->value = next;
        }
    }
    if (s->at < s->n && s->text[s->at] == '.') {
        out->kind = NF_ST_REAL;
        s->at++;
        if (!digit_at(s))
            return unexpected(s, "a digit");
        while (digit_at(s))
            s->at++;
    }
    if (s->at < s->n && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        out->kind = NF_ST_REAL;
        s->at++;
        if (s->at < s->n && (s->text[s->at] == '+' || s->text[s->at] == '-'))
            s->at++;
        if (!digit_at(s))
            return unexpected(s, "a digit");
        while (digit_at(s))
            s->at++;
    }
    out->n = s->at - out->at;
    return NF_OK;
}

nf_status nf_st_scan_enter(struct nf_st_scan *s, char bracket)
{
    if (nf_st_scan_peek(s) != bracket)
        return unexpected(s, bracket == '{' ? "an object" : "an array");
    s->at++;
    return NF_OK;
}

/* After the opening bracket or an element: on to the next one, or past the end. */
static nf_status advance(struct nf_st_scan *s, char end, bool *first, bool *more)
{
    const int c = nf_st_scan_peek(s);
    *more = false;
    if (c == end) {
        s->at++;
        return NF_OK;
    }
    if (!*first) {
        if (c != ',')
            return unexpected(s, end == '}' ? "',' or '}'" : "',' or ']'");
        s->at++;
        if (nf_st_scan_peek(s) == end)
            return unexpected(s, "another element");
    }
    *first = false;
    *more = true;
    return NF_OK;
}

nf_status nf_st_scan_member(struct nf_st_scan *s, bool *first, bool *more, struct nf_st_text *key)
{
    NF_TRY(advance(s, '}', first, more));
    if (!*more)
        return NF_OK;
    NF_TRY(nf_st_scan_string(s, key));
    if (nf_st_scan_peek(s) != ':')
        return unexpected(s, "':'");
    s->at++;
    return NF_OK;
}

nf_status nf_st_scan_element(struct nf_st_scan *s, bool *first, bool *more)
{
    return advance(s, ']', first, more);
}

nf_status nf_st_scan_skip(struct nf_st_scan *s)
{
    static const char *const literal[] = {"true", "false", "null"};
    struct nf_st_text text;
    struct nf_st_number number;
    bool first = true, more = true;
    const int c = nf_st_scan_peek(s);
    switch (c) {
    case '"': return nf_st_scan_string(s, &text);
    case '{':
        NF_TRY(nf_st_scan_enter(s, '{'));
        for (;;) {
            NF_TRY(nf_st_scan_member(s, &first, &more, &text));
            if (!more)
                return NF_OK;
            NF_TRY(nf_st_scan_skip(s));
        }
    case '[':
        NF_TRY(nf_st_scan_enter(s, '['));
        for (;;) {
            NF_TRY(nf_st_scan_element(s, &first, &more));
            if (!more)
                return NF_OK;
            NF_TRY(nf_st_scan_skip(s));
        }
    default: break;
    }
    for (int i = 0; i < 3; i++) {
        const size_t n = strlen(literal[i]);
        if (s->n - s->at >= n && memcmp(s->text + s->at, literal[i], n) == 0) {
            s->at += n;
            return NF_OK;
        }
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return nf_st_scan_number(s, &number);
    return unexpected(s, "a value");
}

nf_status nf_st_scan_end(struct nf_st_scan *s)
{
    return nf_st_scan_peek(s) < 0 ? NF_OK : unexpected(s, "the end");
}
