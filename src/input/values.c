/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values.c: what stands behind an '='. Null values ("1,,3"), which Fortran reads as "leave it as it was", are refused: what a
 * key is must be readable from the file. Told errors go on to the next name, so that one run tells all.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

static struct nf_place place(int source, const struct nf_token *t)
{
    return (struct nf_place){source, t->at, t->len};
}

/* The token for a message; the caller frees it. */
static char *shown(nf_input *input, const struct nf_lexer *lexer, const struct nf_token *t)
{
    nf_str s = {0};
    nf_message_shown(&s, lexer->text + t->at, t->len, 40);
    input->no_memory |= s.failed;
    if (s.failed)
        nf_str_free(&s); /* its text may not be ours */
    return s.text;
}

bool nf_values_told_as_bad(nf_input *input, int source, struct nf_lexer *lexer, const struct nf_token *t)
{
    struct nf_place where = place(source, t);
    const unsigned char *byte = (const unsigned char *)lexer->text + t->at;
    if (t->kind == NF_TOKEN_OPEN_STRING) {
        where.len = 1;
        nf_message_add(input, where, "Close the string on its line, with the sign that opens it.",
                       "the string that begins here has no closing quote");
    } else if (t->kind == NF_TOKEN_OPEN_PAREN) {
        where.len = 1;
        nf_message_add(input, where, NULL, "'(' without ')' on the same line");
    } else if (t->kind != NF_TOKEN_BAD) {
        return false;
    } else if (t->len == 1 && *byte < 0x80 && *byte > ' ' && *byte != 0x7f) {
        nf_message_add(input, where, NULL, "'%c' makes no sense here", *byte);
    } else if (t->len == 1) {
        nf_message_add(input, where, "Remove it: only plain text, tabs and line ends may stand here.",
                       "byte 0x%02X is not text", *byte);
    } else {
        static const struct {
            const char *byte, *hint;
        } known[] = {{"\xe2\x88\x92", "Write a plain minus sign: -"},
                     {"\xe2\x80\x93", "Write a plain minus sign: -"},
                     {"\xe2\x80\x94", "Write a plain minus sign: -"},
                     {"\xe2\x80\x98", "Write plain quotes: '...'"},
                     {"\xe2\x80\x99", "Write plain quotes: '...'"},
                     {"\xe2\x80\x9c", "Write plain quotes: '...'"},
                     {"\xe2\x80\x9d", "Write plain quotes: '...'"},
                     {"\xc2\xa0", "Write a plain blank (this is a no-break space)."},
                     {"\xef\xbb\xbf", "Remove it: a byte order mark may only begin the file."}};
        const char *hint = "Outside quotes and comments only plain ASCII may stand.";
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strlen(known[i].byte) == t->len && !memcmp(known[i].byte, byte, t->len))
                hint = known[i].hint;
        char *text = shown(input, lexer, t);
        nf_message_add(input, where, hint, "byte 0x%02X begins a character that makes no sense here: %s", *byte,
                       text ? text : "");
        free(text);
    }
    input->torn = true;
    nf_lexer_recover(lexer, t);
    return true;
}

void nf_assignment_free(struct nf_assignment *a)
{
    for (int i = 0; i < a->values; i++)
        free(a->value[i].text);
    free(a->value);
    *a = (struct nf_assignment){.row = -1};
}

void nf_values_add(nf_input *input, struct nf_assignment *a, struct nf_place where, bool is_string, int64_t repeat, char *text)
{
    if (a->values == a->capacity) {
        int capacity = a->capacity ? 2 * a->capacity : 4;
        struct nf_value *more = realloc(a->value, (size_t)capacity * sizeof *more);
        if (!more) {
            free(text);
            text = NULL;
        } else {
            a->value = more;
            a->capacity = capacity;
        }
    }
    if (text)
        a->value[a->values++] = (struct nf_value){where, is_string, text, repeat};
    else
        input->no_memory = true;
}

static char *unquote(const char *text, size_t n)
{
    char *out = malloc(n + 1), *to = out;
    if (!out)
        return NULL;
    for (size_t i = 1; i + 1 < n; i++) {
        *to++ = text[i];
        if (text[i] == text[0])
            i++;
    }
    *to = 0;
    return out;
}

/* The count of "r*", 0 if the word does not begin so; -1: not a count. *len: of the count and its star. */
static int64_t repeat_of(const char *word, size_t n, size_t *len)
{
    size_t digits = 0;
    while (digits < n && isdigit((unsigned char)word[digits]))
        digits++;
    if (!digits || digits == n || word[digits] != '*')
        return 0;
    *len = digits + 1;
    errno = 0;
    long long r = strtoll(word, NULL, 10);
    return errno || r < 1 ? -1 : r;
}

/* Is this word the name of the next assignment? */
static bool begins_assignment(const struct nf_lexer *after, const struct nf_token *word)
{
    unsigned char c = (unsigned char)after->text[word->at];
    if (!isalpha(c) && c != '_')
        return false;
    struct nf_lexer ahead = *after;
    struct nf_token t;
    nf_lexer_next(&ahead, &t);
    if (t.kind == NF_TOKEN_PAREN)
        nf_lexer_next(&ahead, &t);
    return t.kind == NF_TOKEN_EQUALS;
}

/* "$HOME", as a shell would expand it, and not "$end". */
static bool is_variable(const struct nf_lexer *lexer, const struct nf_token *t)
{
    char name[24] = "";
    if (lexer->text[t->at] != '$' || t->len >= sizeof name)
        return lexer->text[t->at] == '$';
    for (size_t i = 1; i < t->len; i++)
        name[i - 1] = (char)tolower((unsigned char)lexer->text[t->at + i]);
    return strcmp(name, "end") && nf_table_group_find(name) < 0;
}

static bool null_value(nf_input *input, int source, const struct nf_token *t)
{
    nf_message_add(input, place(source, t), "Remove the comma, or write the value.", "a value is missing before this comma");
    return false;
}

/* One word or string, with its count. False: told. */
static bool read_value(nf_input *input, int source, struct nf_lexer *lexer, struct nf_assignment *a, struct nf_token t)
{
    const char *text = lexer->text + t.at;
    struct nf_place where = place(source, &t);
    if (t.kind == NF_TOKEN_STRING) {
        nf_values_add(input, a, where, true, 1, unquote(text, t.len));
        return true;
    }
    size_t skip = 0;
    int64_t repeat = repeat_of(text, t.len, &skip);
    if (repeat < 0) {
        nf_message_add(input, where, "Write a count from 1 on, as in 3*0.5.", "the repeat count is out of range");
        return false;
    }
    if (repeat && skip == t.len) {
        struct nf_lexer ahead = *lexer;
        struct nf_token s = {NF_TOKEN_END, 0, 0};
        if (lexer->at < lexer->n && strchr("'\"", lexer->text[lexer->at]))
            nf_lexer_next(&ahead, &s);
        if (s.kind != NF_TOKEN_STRING) {
            if (s.kind != NF_TOKEN_OPEN_STRING && s.kind != NF_TOKEN_BAD)
                nf_message_add(input, where, "Write the value right behind the '*'.", "a repeat count without a value");
            return s.kind == NF_TOKEN_OPEN_STRING || s.kind == NF_TOKEN_BAD; /* which the next call tells */
        }
        *lexer = ahead;
        where.len += s.len;
        nf_values_add(input, a, where, true, repeat, unquote(lexer->text + s.at, s.len));
        return true;
    }
    nf_values_add(input, a, where, false, repeat ? repeat : 1, strndup(text + skip, t.len - skip));
    return true;
}

bool nf_values_read(nf_input *input, int source, struct nf_lexer *lexer, struct nf_assignment *a)
{
    bool good = true, after_comma = false;
    for (;;) {
        struct nf_lexer before = *lexer;
        struct nf_token t;
        nf_lexer_next(lexer, &t);
        bool is_late_slash = t.kind == NF_TOKEN_WORD && lexer->text[t.at] == '/' && a->values && !after_comma;
        if (is_late_slash || (t.kind == NF_TOKEN_WORD && begins_assignment(lexer, &t)))
            t.kind = NF_TOKEN_END; /* of the values */
        if (t.kind == NF_TOKEN_COMMA) {
            if (after_comma || !a->values)
                good &= !good || null_value(input, source, &t); /* once is enough */
            after_comma = true;
        } else if (t.kind == NF_TOKEN_WORD || t.kind == NF_TOKEN_STRING) {
            bool glued = before.at == t.at && before.at > 0 && a->values && !after_comma;
            if (glued && good) {
                const char *last = a->value[a->values - 1].text;
                bool is_coded = t.kind == NF_TOKEN_STRING && strlen(last) == 1 && strchr("bozxBOZX", *last);
                nf_message_add(input, place(source, &t),
                               is_coded ? "Write it in decimal digits."
                                        : "Separate values by a comma or a blank; a quote within a string is written twice.",
                               "this is glued to the value before it");
                good = false;
            } else if (good) {
                good = read_value(input, source, lexer, a, t);
            }
            after_comma = false;
        } else if (nf_values_told_as_bad(input, source, lexer, &t)) {
            return false;
        } else if (t.kind == NF_TOKEN_GROUP && is_variable(lexer, &t)) {
            nf_message_add(input, place(source, &t), "Write the value itself, strings in quotes: variables are not expanded.",
                           "'$' makes no sense here");
            nf_lexer_recover(lexer, &t);
            return false;
        } else if (t.kind == NF_TOKEN_PAREN) {
            if (good)
                nf_message_add(input, place(source, &t), NULL, "'(' makes no sense here");
            good = false;
        } else if (t.kind == NF_TOKEN_EQUALS) {
            if (good)
                nf_message_add(input, place(source, &t), "Write name = value.", "a second '=' makes no sense here");
            good = false;
        } else { /* the end, '/', a group or the next name: not ours */
            *lexer = before;
            if (good && !a->values && !input->no_memory) {
                nf_message_add(input, a->name,
                               a->row >= 0 && nf_table_row(a->row)->kind >= NF_KIND_CHOICE
                                   ? "Write a value in quotes behind the '='."
                                   : "Write a value behind the '='.",
                               "%s has no value", a->row >= 0 ? nf_table_row(a->row)->key : "this name");
                good = false;
            }
            return good && a->values;
        }
    }
}
