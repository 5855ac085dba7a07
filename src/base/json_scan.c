/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer that never fails: it only tells strings, marks and words apart, and leaves to the parser what is right. All
 * texts may be hostile: one pass, no recursion, memory in proportion to the text.
 */
#include "json_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_mark(char c)
{
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':';
}

bool nf_json_token_next(const char *text, size_t n, size_t at, struct nf_json_token *token)
{
    while (at < n && is_space(text[at]))
        at++;
    if (at == n)
        return false;
    *token = (struct nf_json_token){at, at + 1, true};
    if (is_mark(text[at]))
        return true;
    size_t p = at + 1;
    if (text[at] == '"') {
        while (p < n && text[p] != '"')
            p += text[p] == '\\' && p + 1 < n ? 2 : 1;
        token->closed = p < n;
        token->end = p < n ? p + 1 : n;
        return true;
    }
    while (p < n && !is_space(text[p]) && !is_mark(text[p]) && text[p] != '"')
        p++;
    token->end = p;
    return true;
}

void nf_json_position(const char *text, size_t offset, int *line, int *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if ((text[i] & 0xc0) != 0x80) /* characters, as an editor counts */
            ++*column;
    }
}

bool nf_json_too_deep(const char *text, size_t n, size_t *offset)
{
    struct nf_json_token t;
    int depth = 0;
    for (size_t at = 0; nf_json_token_next(text, n, at, &t); at = t.end) {
        char c = text[t.begin];
        if (c == '[' || c == '{')
            depth++;
        else if (c == ']' || c == '}')
            depth--;
        if (depth > NF_JSON_DEPTH) {
            *offset = t.begin;
            return true;
        }
    }
    return false;
}

/* An integer as JSON writes it that does not fit 64 bits. */
static bool is_large_integer(const char *p, size_t n)
{
    size_t i = p[0] == '-';
    if (n - i < 19 || n > 4096 || p[i] == '0')
        return false;
    for (size_t k = i; k < n; k++)
        if (p[k] < '0' || p[k] > '9')
            return false;
    char digits[24];
    if (n >= sizeof digits)
        return true;
    memcpy(digits, p, n);
    digits[n] = '\0';
    errno = 0;
    (void)strtoll(digits, NULL, 10);
    return errno == ERANGE;
}

/* What to write instead of a word; NULL: itself. *suffix: written after it. */
static const char *instead(const char *word, size_t n, const char **suffix)
{
    *suffix = "";
    if (n == 3 && memcmp(word, "NaN", 3) == 0)
        return "{\"__float__\":\"NaN\"}";
    if (n == 8 && memcmp(word, "Infinity", 8) == 0)
        return "{\"__float__\":\"Infinity\"}";
    if (n == 9 && memcmp(word, "-Infinity", 9) == 0)
        return "{\"__float__\":\"-Infinity\"}";
    if ((word[0] == '-' || (word[0] >= '0' && word[0] <= '9')) && is_large_integer(word, n))
        *suffix = "e0";
    return NULL;
}

static bool edited(struct nf_json_python *out, size_t begin, size_t longer)
{
    if (out->edits == out->cap) {
        int cap = out->cap ? 2 * out->cap : 16;
        struct nf_json_edit *moved = realloc(out->edit, (size_t)cap * sizeof *moved);
        if (!moved)
            return false;
        out->edit = moved;
        out->cap = cap;
    }
    out->edit[out->edits++] = (struct nf_json_edit){begin, out->text.len, longer};
    return true;
}

bool nf_json_python_new(const char *text, size_t n, struct nf_json_python *out)
{
    struct nf_json_token t;
    size_t copied = 0;
    *out = (struct nf_json_python){0};
    for (size_t at = 0; nf_json_token_next(text, n, at, &t); at = t.end) {
        const char *word = text + t.begin, *suffix, *other = instead(word, t.end - t.begin, &suffix);
        if (!other && !*suffix)
            continue;
        nf_str_addn(&out->text, text + copied, t.begin - copied);
        size_t begin = out->text.len;
        if (other)
            nf_str_add(&out->text, other);
        else
            nf_str_addn(&out->text, word, t.end - t.begin);
        nf_str_add(&out->text, suffix);
        copied = t.end;
        if (!edited(out, begin, out->text.len - copied))
            out->text.failed = true;
    }
    nf_str_addn(&out->text, text + copied, n - copied);
    return !out->text.failed;
}

void nf_json_python_free(struct nf_json_python *p)
{
    nf_str_free(&p->text);
    free(p->edit);
    *p = (struct nf_json_python){0};
}

size_t nf_json_python_offset(const struct nf_json_python *p, size_t offset)
{
    size_t longer = 0;
    for (int i = 0; i < p->edits && p->edit[i].begin < offset; i++) {
        if (offset < p->edit[i].end)
            return p->edit[i].end - p->edit[i].longer; /* behind the token it stands for */
        longer = p->edit[i].longer;
    }
    return offset - longer;
}
