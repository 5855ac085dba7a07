/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lexer.c: the bytes of a namelist as tokens. The lexer knows no errors and allocates nothing: what makes no sense is a token
 * too, and whoever reads it says so. A '/' ends a group only where Fortran programs write it, before a blank, a comment or
 * another group; glued to text it belongs to a word, so that a path without quotes is told as what it is.
 */
#include <string.h>

#include "private.h"

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_graph(unsigned char c)
{
    return c > ' ' && c < 0x7f;
}

static unsigned char peek(const struct nf_lexer *lexer, size_t at)
{
    return at < lexer->n ? (unsigned char)lexer->text[at] : '\n';
}

/* A carriage return counts as blank only before its line feed. */
static bool blank_at(const struct nf_lexer *lexer, size_t at)
{
    unsigned char c = peek(lexer, at);
    return is_blank(c) && (c != '\r' || peek(lexer, at + 1) == '\n');
}

static bool slash_ends_group(const struct nf_lexer *lexer, size_t at)
{
    unsigned char next = peek(lexer, at + 1);
    return !is_graph(next) || strchr("!&$,", next);
}

static bool word_goes_on(const struct nf_lexer *lexer, size_t at)
{
    unsigned char c = peek(lexer, at);
    if (at >= lexer->n || !is_graph(c) || strchr(",=()!'\"&", c))
        return false;
    return c != '/' || !slash_ends_group(lexer, at);
}

/* From the quote at lexer->at; a quote within is written twice. */
static void scan_string(const struct nf_lexer *lexer, struct nf_token *token)
{
    char quote = lexer->text[lexer->at];
    size_t at = lexer->at + 1;
    for (; at < lexer->n && lexer->text[at] != '\n'; at++) {
        unsigned char c = (unsigned char)lexer->text[at];
        if (c == '\r' && peek(lexer, at + 1) == '\n')
            break;
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            *token = (struct nf_token){NF_TOKEN_BAD, at, 1};
            return;
        }
        if (c != (unsigned char)quote)
            continue;
        if (peek(lexer, at + 1) != (unsigned char)quote) {
            *token = (struct nf_token){NF_TOKEN_STRING, lexer->at, at + 1 - lexer->at};
            return;
        }
        at++;
    }
    *token = (struct nf_token){NF_TOKEN_OPEN_STRING, lexer->at, at - lexer->at};
}

static void scan_paren(const struct nf_lexer *lexer, struct nf_token *token)
{
    size_t at = lexer->at + 1;
    while (at < lexer->n && !strchr("\r\n()&!'\"=", lexer->text[at])) /* a NUL byte stops it too */
        at++;
    bool closed = at < lexer->n && lexer->text[at] == ')';
    *token = (struct nf_token){closed ? NF_TOKEN_PAREN : NF_TOKEN_OPEN_PAREN, lexer->at, at + closed - lexer->at};
}

/* All bytes of one UTF-8 character, if it is one. */
static size_t character_length(const struct nf_lexer *lexer, size_t at)
{
    unsigned char c = peek(lexer, at);
    size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1, len = 1;
    while (len < want && at + len < lexer->n && ((unsigned char)lexer->text[at + len] & 0xc0) == 0x80)
        len++;
    return len == want ? len : 1;
}

static void skip_blanks_and_comments(struct nf_lexer *lexer)
{
    while (lexer->at < lexer->n) {
        if (blank_at(lexer, lexer->at))
            lexer->at++;
        else if (lexer->text[lexer->at] == '!')
            while (lexer->at < lexer->n && lexer->text[lexer->at] != '\n')
                lexer->at++;
        else
            break;
    }
}

void nf_lexer_next(struct nf_lexer *lexer, struct nf_token *token)
{
    skip_blanks_and_comments(lexer);
    *token = (struct nf_token){NF_TOKEN_END, lexer->at, 0};
    if (lexer->at >= lexer->n)
        return;
    size_t at = lexer->at;
    unsigned char c = (unsigned char)lexer->text[at];
    token->len = 1;
    if (c == '=')
        token->kind = NF_TOKEN_EQUALS;
    else if (c == ',')
        token->kind = NF_TOKEN_COMMA;
    else if (c == '/' && slash_ends_group(lexer, at))
        token->kind = NF_TOKEN_SLASH;
    else if (c == '\'' || c == '"')
        scan_string(lexer, token);
    else if (c == '(')
        scan_paren(lexer, token);
    else if (c == '&' || c == '$') {
        token->kind = NF_TOKEN_GROUP;
        while (word_goes_on(lexer, at + token->len) && peek(lexer, at + token->len) != '/')
            token->len++;
    } else if (word_goes_on(lexer, at)) {
        token->kind = NF_TOKEN_WORD;
        while (word_goes_on(lexer, at + token->len))
            token->len++;
    } else {
        token->kind = NF_TOKEN_BAD;
        token->len = character_length(lexer, at);
    }
    lexer->at = token->at + token->len;
}

void nf_lexer_recover(struct nf_lexer *lexer, const struct nf_token *token)
{
    size_t begin = token->at + token->len, end = begin;
    while (end < lexer->n && lexer->text[end] != '\n')
        end++;
    lexer->at = end;
    while (end > begin && is_blank((unsigned char)lexer->text[end - 1]))
        end--;
    if (end > begin && lexer->text[end - 1] == '/' && (end - 1 == begin || is_blank((unsigned char)lexer->text[end - 2])))
        lexer->at = end - 1;
}
