/* SPDX-License-Identifier: Apache-2.0 */
/*
 * override.c: "group.key=value" words of the command line. Numbers and quoted strings are read as in the file; texts need no
 * quotes, since the shell takes them away: a text is the whole rest of the word, a list is split at its commas. An empty text
 * or list unsets.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

static struct nf_place span(int source, size_t begin, size_t end)
{
    return (struct nf_place){source, begin, end - begin};
}

static void form(nf_input *input, int source, const char *key)
{
    nf_str maybe = {0};
    for (int i = 0; i < nf_table_rows(); i++)
        if (!strcmp(nf_table_row(i)->key, key)) {
            nf_str_addf(&maybe, "%s%s.%s", maybe.len ? " or " : " (maybe: ", nf_table_row(i)->group, key);
            input->troubled[i] = true;
        }
    if (maybe.len)
        nf_str_add(&maybe, "?)");
    nf_message_add(input, span(source, 0, input->source[source].n), "Write it as in train.steps=200.",
                   "this is not of the form group.key=value%s", maybe.len ? maybe.text : "");
    input->no_memory |= maybe.failed;
    nf_str_free(&maybe);
}

/* text[begin, end) without blanks around it, in lower case. */
static char *name_of(nf_input *input, const char *text, size_t begin, size_t end)
{
    while (begin < end && isspace((unsigned char)text[begin]))
        begin++;
    while (begin < end && isspace((unsigned char)text[end - 1]))
        end--;
    char *name = strndup(text + begin, end - begin);
    input->no_memory |= !name;
    for (char *c = name; c && *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return name;
}

static void add_text(nf_input *input, int source, struct nf_assignment *a, size_t begin, size_t end)
{
    const char *text = input->source[source].text;
    for (size_t i = begin; i < end; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            nf_message_add(input, span(source, i, i + 1), "Remove it.", "byte 0x%02X is not text", (unsigned char)text[i]);
            input->troubled[a->row] = true;
            return;
        }
    nf_values_add(input, a, span(source, begin, end), true, 1, strndup(text + begin, end - begin));
}

/* The value at `begin`, as what the row's kind wants. */
static void read_value(nf_input *input, int source, struct nf_assignment *a, size_t begin)
{
    const struct nf_source *s = &input->source[source];
    const struct nf_row *row = nf_table_row(a->row);
    struct nf_lexer lexer = {s->text, s->n, begin};
    struct nf_token t;
    size_t first = begin + strspn(s->text + begin, " \t");
    bool is_plain = row->kind < NF_KIND_CHOICE || s->text[first] == '\'' || s->text[first] == '"';
    if (is_plain) {
        if (!nf_values_read(input, source, &lexer, a)) {
            input->troubled[a->row] = true;
            return;
        }
        nf_lexer_next(&lexer, &t);
        if (t.kind != NF_TOKEN_END) {
            nf_message_add(input, span(source, t.at, t.at + t.len), "Give each key in a word of its own.",
                           "this makes no sense here");
            input->troubled[a->row] = true;
        }
        return;
    }
    for (size_t end; row->kind == NF_KIND_LIST && (end = begin + strcspn(s->text + begin, ",")) < s->n; begin = end + 1)
        add_text(input, source, a, begin, end);
    add_text(input, source, a, begin, s->n);
}

void nf_override_read(nf_input *input, int source)
{
    const struct nf_source *s = &input->source[source];
    size_t equals = strcspn(s->text, "="), dot = strcspn(s->text, ".=");
    bool has_form = equals < s->n && dot < equals;
    char *group = name_of(input, s->text, 0, has_form ? dot : 0);
    char *key = name_of(input, s->text, has_form ? dot + 1 : 0, equals);
    if (!group || !key)
        goto done;
    if (!has_form) {
        form(input, source, key);
        goto done;
    }
    struct nf_place where = span(source, dot + 1, equals);
    char *paren = strchr(key, '(');
    struct nf_assignment a = {.row = -1, .name = where, .index = NF_NOWHERE};
    if (paren)
        *paren = 0;
    if (nf_table_group_find(group) < 0)
        nf_names_unknown_group(input, group, span(source, 0, dot));
    else if ((a.row = nf_table_find(group, key)) < 0)
        nf_names_unknown_key(input, group, key, where);
    else if (paren)
        nf_message_add(input, where, "Give the whole list, separated by commas.", "an override replaces %s as a whole", key);
    else
        read_value(input, source, &a, equals + 1);
    if (a.row >= 0 && a.values && !input->troubled[a.row])
        nf_assign(input, &a);
    nf_assignment_free(&a);
done:
    free(group);
    free(key);
}
