/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing strings, text made safe to print, sizes for people. Appending never fails loudly: out of memory sets `failed` and
 * leaves what was there, so that a message can be built without a check a line.
 */
#include "nemafit/str.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for n more bytes and the NUL. */
static bool room(nf_str *s, size_t n)
{
    if (s->failed)
        return false;
    if (n < s->cap - s->len && s->cap > 0)
        return true;
    size_t cap = s->cap ? s->cap : 64;
    while (cap - s->len <= n && cap < SIZE_MAX / 2)
        cap *= 2;
    char *moved = cap - s->len > n ? realloc(s->cap ? s->text : NULL, cap) : NULL;
    if (!moved) {
        s->failed = true;
        if (!s->text)
            s->text = (char *)""; /* cap is 0: never written, never freed */
        return false;
    }
    s->text = moved;
    s->cap = cap;
    return true;
}

void nf_str_addn(nf_str *s, const char *text, size_t n)
{
    if (!room(s, n))
        return;
    memcpy(s->text + s->len, text, n);
    s->len += n;
    s->text[s->len] = '\0';
}

void nf_str_add(nf_str *s, const char *text)
{
    nf_str_addn(s, text, strlen(text));
}

void nf_str_addf(nf_str *s, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        s->failed = true;
    else if (room(s, (size_t)n)) {
        vsnprintf(s->text + s->len, (size_t)n + 1, fmt, again);
        s->len += (size_t)n;
    }
    va_end(again);
}

void nf_str_free(nf_str *s)
{
    if (s->cap)
        free(s->text);
    *s = (nf_str){0};
}

/* Bytes of the UTF-8 sequence at p and its code point; 0: not one. */
static size_t sequence(const unsigned char *p, size_t n, uint32_t *code)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    *code = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    bool good = *code >= smallest[len] && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
    return good ? len : 0;
}

/* Controls, also those that turn the direction of writing or break lines on a terminal. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

const char *nf_str_shown(char out[280], const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        uint32_t code = 0;
        size_t bytes = sequence(p + i, n - i, &code);
        bool plain = bytes > 0 && !is_control(code);
        if (bytes == 0)
            bytes = 1;
        if (len + (plain ? bytes : 4 * bytes) > 256) {
            memcpy(out + len, "...", 3);
            len += 3;
            break;
        }
        if (plain)
            memcpy(out + len, p + i, bytes);
        else
            for (size_t k = 0; k < bytes; k++)
                snprintf(out + len + 4 * k, 5, "\\x%02x", p[i + k]);
        len += plain ? bytes : 4 * bytes;
        i += bytes;
    }
    out[len] = '\0';
    return out;
}

/* Three digits and a unit; `base` is 1024 or 1000. */
static void scaled(char out[32], double x, double base, const char *const unit[], int units)
{
    double size = fabs(x);
    int u = 0;
    while (size >= base - 0.5 && u + 1 < units) {
        size /= base;
        u++;
    }
    int digits = u == 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
    if (u == 0 && size != floor(size) && size < 99.95)
        digits = size >= 9.995 ? 1 : 2;
    snprintf(out, 32, "%s%.*f%s", x < 0 ? "-" : "", digits, size, unit[u]);
}

const char *nf_str_bytes(char out[32], double bytes)
{
    static const char *const unit[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    scaled(out, bytes, 1024, unit, 7);
    return out;
}

const char *nf_str_count(char out[32], double n)
{
    static const char *const unit[] = {"", " k", " M", " G", " T", " P", " E"};
    scaled(out, n, 1000, unit, 7);
    return out;
}
