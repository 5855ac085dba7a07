/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namelist.c: the groups of a file, one after the other, and the names in them. A group that is unknown or doubled is read to
 * its end, so that the errors behind it are found, but sets nothing. What had to be skipped marks the input as torn, and nobody
 * then complains of what is missing.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

struct reader {
    nf_input *input;
    int source;
    struct nf_lexer lexer;
    const char *group;                  /* the open one, as the table has it; NULL: its keys are not known */
    struct nf_place begin[NF_ROWS_MAX]; /* of the groups seen */
};

static struct nf_place place(const struct reader *r, const struct nf_token *t)
{
    return (struct nf_place){r->source, t->at, t->len};
}

/* The token in lower case and safe to print, or as it is for a message; the caller frees it. Never NULL but out of memory. */
static char *lower(struct reader *r, size_t at, size_t len)
{
    char *text = strndup(r->lexer.text + at, len);
    for (char *c = text; c && *c; c++)
        *c = (char)tolower((unsigned char)*c);
    r->input->no_memory |= !text;
    return text;
}

static char *shown(struct reader *r, size_t at, size_t len)
{
    nf_str s = {0};
    nf_str_add(&s, "");
    nf_message_shown(&s, r->lexer.text + at, len, 40);
    r->input->no_memory |= s.failed;
    if (s.failed)
        nf_str_free(&s); /* its text may not be ours */
    return s.text;
}

static void torn(struct reader *r, const struct nf_token *t)
{
    r->input->torn = true;
    nf_lexer_recover(&r->lexer, t);
}

/* "(3)", "(2:4)", blanks allowed. False: told. */
static bool read_index(struct reader *r, const struct nf_token *t, struct nf_assignment *a)
{
    const struct nf_row *row = nf_table_row(a->row);
    if (row->kind != NF_KIND_LIST) {
        nf_message_add(r->input, place(r, t), "Remove the subscript.", "%s is one value, not a list", row->key);
        return false;
    }
    const char *text = r->lexer.text + t->at + 1;
    char *end;
    errno = 0;
    a->lo = a->hi = strtoll(text, &end, 10);
    bool good = end != text;
    while (*end == ' ' || *end == '\t')
        end++;
    if (*end == ':') {
        text = end + 1;
        a->hi = strtoll(text, &end, 10);
        good &= end != text;
        while (*end == ' ' || *end == '\t')
            end++;
    }
    if (!good || *end != ')') {
        nf_message_add(r->input, place(r, t), "Write (number) or (first:last).", "this subscript cannot be read");
        return false;
    }
    if (errno || a->lo < 1 || a->hi > NF_LIST_MAX || a->hi < a->lo) {
        char *name = shown(r, t->at, t->len);
        nf_message_add(r->input, place(r, t), NULL, "subscript %s of %s is out of range: 1 to %d, first to last",
                       name ? name : "", row->key, NF_LIST_MAX);
        free(name);
        return false;
    }
    a->index = place(r, t);
    return true;
}

static void no_equals(struct reader *r, const struct nf_token *name)
{
    const char *word = r->lexer.text + name->at;
    bool is_remark = *word == '#' || *word == ';' || *word == '/';
    char *text = shown(r, name->at, name->len);
    if (is_remark)
        nf_message_add(r->input, place(r, name), "Begin comments with '!'.", "'%.*s' does not begin a comment",
                       *word == '/' ? 2 : 1, word);
    else
        nf_message_add(r->input, place(r, name), "Write name = value.", "expected '=' behind '%s'", text ? text : "");
    free(text);
    torn(r, name);
}

static void read_assignment(struct reader *r, const struct nf_token *name)
{
    struct nf_assignment a = {.row = -1, .name = place(r, name), .index = NF_NOWHERE};
    struct nf_lexer ahead = r->lexer;
    struct nf_token t, index = {NF_TOKEN_END, 0, 0};
    nf_lexer_next(&ahead, &t);
    if (t.kind == NF_TOKEN_PAREN) {
        index = t;
        nf_lexer_next(&ahead, &t);
    }
    char *key = lower(r, name->at, name->len);
    if (key && r->group)
        a.row = nf_table_find(r->group, key);
    if (t.kind != NF_TOKEN_EQUALS) {
        if (a.row >= 0)
            r->input->troubled[a.row] = true;
        free(key);
        if (t.kind == NF_TOKEN_OPEN_PAREN)
            nf_values_told_as_bad(r->input, r->source, &r->lexer, &t);
        else
            no_equals(r, name);
        return;
    }
    r->lexer = ahead;
    if (key && r->group && a.row < 0)
        nf_names_unknown_key(r->input, r->group, key, place(r, name));
    free(key);
    bool good = index.kind == NF_TOKEN_END || a.row < 0 || read_index(r, &index, &a);
    good &= nf_values_read(r->input, r->source, &r->lexer, &a);
    if (a.row >= 0 && good)
        nf_assign(r->input, &a);
    else if (a.row >= 0)
        r->input->troubled[a.row] = true;
    nf_assignment_free(&a);
}

/* "&end" or "$end". */
static bool is_end(const struct reader *r, const struct nf_token *t)
{
    return t->len == 4 && !strncasecmp(r->lexer.text + t->at + 1, "end", 3);
}

static void not_closed(struct reader *r, struct nf_place begin, const char *before)
{
    nf_message_add(r->input, begin, "Close it with a '/'.", "this group is not closed%s", before);
    r->input->torn = true;
}

/* The inside of a group, up to and with its '/'. */
static void read_group(struct reader *r, struct nf_place begin)
{
    for (;;) {
        struct nf_lexer before = r->lexer;
        struct nf_token t;
        nf_lexer_next(&r->lexer, &t);
        switch (t.kind) {
        case NF_TOKEN_SLASH: return;
        case NF_TOKEN_END: not_closed(r, begin, " before the file ends"); return;
        case NF_TOKEN_GROUP:
            if (is_end(r, &t)) {
                nf_message_add(r->input, place(r, &t), "Write '/' instead.", "a group ends with '/'");
            } else {
                not_closed(r, begin, " before the next one begins");
                r->lexer = before;
            }
            return;
        case NF_TOKEN_WORD:
            if (r->lexer.text[t.at] == '/' && r->lexer.text[t.at + 1] != '/') {
                nf_message_add(r->input, place(r, &t), "Begin comments with '!'.", "text behind the '/' that closes a group");
                torn(r, &t);
                return;
            }
            read_assignment(r, &t);
            break;
        case NF_TOKEN_COMMA:
        case NF_TOKEN_EQUALS:
        case NF_TOKEN_PAREN:
        case NF_TOKEN_STRING:
            nf_message_add(r->input, place(r, &t), "Write name = value.", "a name is missing before this");
            torn(r, &t);
            break;
        default: nf_values_told_as_bad(r->input, r->source, &r->lexer, &t);
        }
    }
}

/* Which group of the table this token begins, told if none that can be read; its place is kept for the next of that name. */
static void open_group(struct reader *r, const struct nf_token *t)
{
    nf_input *input = r->input;
    struct nf_place where = place(r, t);
    r->group = NULL;
    if (r->lexer.text[t->at] == '$')
        nf_message_add(input, where, "Write '&' instead.", "a group begins with '&'");
    char *name = lower(r, t->at + 1, t->len - 1);
    if (!name)
        return;
    int g = nf_table_group_find(name);
    if (g < 0) {
        nf_names_unknown_group(input, name, where);
        input->torn = true;
    } else if (input->has_group[g]) {
        nf_message_add(input, where, "Join the two into one.", "&%s is given twice (first in line %d)", name,
                       nf_message_line(input, r->begin[g]));
    } else {
        r->group = nf_table_group(g);
        input->has_group[g] = true;
        r->begin[g] = where;
    }
    free(name);
}

void nf_namelist_read(nf_input *input, int source)
{
    const struct nf_source *s = &input->source[source];
    struct reader r = {.input = input, .source = source, .lexer = {s->text, s->n, 0}};
    bool told = false; /* text outside groups: once until the next one */
    if (s->n >= 3 && !memcmp(s->text, "\xef\xbb\xbf", 3))
        r.lexer.at = 3;
    for (;;) {
        struct nf_token t;
        nf_lexer_next(&r.lexer, &t);
        if (t.kind == NF_TOKEN_END)
            return;
        if (t.kind == NF_TOKEN_GROUP && t.len > 1 && !is_end(&r, &t)) {
            told = false;
            open_group(&r, &t);
            read_group(&r, place(&r, &t));
        } else if (told) {
            continue;
        } else if (!nf_values_told_as_bad(input, source, &r.lexer, &t)) {
            bool is_sign = t.kind == NF_TOKEN_GROUP;
            nf_message_add(input, place(&r, &t),
                           is_sign ? "Write &group, keys, and '/' at the end."
                                   : "Keys stand between &group and '/'; comments begin with '!'.",
                           is_sign ? "no group begins or ends here" : "text outside a group");
            input->torn = told = true;
        } else {
            told = true;
        }
    }
}
