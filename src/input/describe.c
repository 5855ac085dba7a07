/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c: help from the table, for messages, for --describe and as the manual page nemafit(5). Nothing that is true of a
 * parameter is written here; this file only sets it.
 */
#include <ctype.h>
#include <string.h>

#include "private.h"

static const char *const kinds[] = {"integer", "real", "logical", "text", "text", "list of texts"};

void nf_describe_choices(const struct nf_row *row, bool all, nf_str *out)
{
    int left = 0;
    for (const struct nf_choice *c = row->choice; c->name; c++)
        left += all || !c->later;
    bool first = true;
    for (const struct nf_choice *c = row->choice; c->name; c++) {
        if (c->later && !all)
            continue;
        nf_str_addf(out, "%s'%s'", first ? "" : left == 1 ? " or " : ", ", c->name);
        first = false;
        left--;
    }
}

void nf_describe_range(const struct nf_row *row, nf_str *out)
{
    bool has_high = row->high < 9e18;
    nf_str_add(out, row->kind == NF_KIND_INT ? "an integer" : "a number");
    if (row->low == row->high)
        return;
    if (row->flags & NF_ROW_ABOVE)
        nf_str_addf(out, has_high ? " above %.15g, at most %.15g" : " above %.15g", row->low, row->high);
    else if (row->flags & NF_ROW_BELOW)
        nf_str_addf(out, " from %.15g to below %.15g", row->low, row->high);
    else
        nf_str_addf(out, has_high ? " from %.15g to %.15g" : " from %.15g on", row->low, row->high);
}

/* The sentences behind the help: what values there are, and which of them this version lacks. */
static void add_facts(const struct nf_row *row, nf_str *out)
{
    if (row->kind == NF_KIND_CHOICE) {
        nf_str_add(out, " One of ");
        nf_describe_choices(row, true, out);
        nf_str_add(out, ".");
    } else if (row->kind <= NF_KIND_REAL) {
        nf_str range = {0};
        nf_describe_range(row, &range);
        nf_str_addf(out, " A%s.", range.text ? range.text + 1 : "");
        nf_str_free(&range);
    }
    int early = 0;
    for (const struct nf_choice *c = row->choice; c && c->name; c++)
        if (c->later)
            nf_str_addf(out, "%s'%s'", early++ ? ", " : " Not in this version: ", c->name);
    if (early)
        nf_str_add(out, ".");
    if (row->later)
        nf_str_addf(out, " Not in this version: %s.", row->later);
}

void nf_describe_wrapped(nf_str *out, const char *indent, const char *text, int width)
{
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (!column || column + 1 + n > width) {
            nf_str_addf(out, "%s%s", column ? "\n" : "", indent);
            column = (int)strlen(indent);
        } else {
            nf_str_add(out, " ");
            column++;
        }
        nf_str_addn(out, text, (size_t)n);
        column += n;
        text += n + strspn(text + n, " ");
    }
}

static void add_default(const struct nf_row *row, const char *required, const char *none, nf_str *out)
{
    if (row->flags & NF_ROW_REQUIRED)
        nf_str_add(out, required);
    else
        nf_str_addf(out, "default %s", strcmp(row->standard, "''") ? row->standard : none);
}

static void describe_row(const struct nf_row *row, nf_str *out)
{
    nf_str text = {0};
    nf_str_addf(out, "  %s.%s: %s%s%s, ", row->group, row->key, kinds[row->kind], row->unit ? " in " : "",
                row->unit ? row->unit : "");
    add_default(row, "required", "none", out);
    nf_str_add(out, "\n");
    nf_describe_wrapped(out, "      ", row->help, 96);
    nf_str_add(out, "\n");
    add_facts(row, &text);
    if (text.text) {
        nf_describe_wrapped(out, "      ", text.text + 1, 96);
        nf_str_add(out, "\n");
    }
    out->failed |= text.failed;
    nf_str_free(&text);
}

/* "&Optim" and "Optim.LR" as the table spells them; `limit` bytes with the NUL. */
static void split(const char *name, char *group, char *key, size_t limit)
{
    size_t n = 0;
    name += *name == '&';
    *group = *key = 0;
    for (char *to = group; *name; name++) {
        if (*name == '.' && to == group) {
            to = key;
            n = 0;
        } else if (n + 1 < limit) {
            to[n++] = (char)tolower((unsigned char)*name);
            to[n] = 0;
        }
    }
}

bool nf_input_describe(const char *name, nf_str *out)
{
    enum { LIMIT = 64 };
    char group[LIMIT] = "", key[LIMIT] = "";
    int found = 0;
    if (name)
        split(name, group, key, LIMIT);
    bool is_nameless = name && !*group && !*key;
    bool is_group = nf_table_group_find(group) >= 0;
    if (!is_group && !*key) { /* a key without its group: all of that name */
        memcpy(key, group, sizeof key);
        *group = 0;
    }
    for (int g = 0; g < nf_table_groups() && !is_nameless; g++) {
        const char *this = nf_table_group(g);
        if (*group && strcmp(group, this))
            continue;
        if (!*key)
            nf_str_addf(out, "%s&%s: %s\n", found++ ? "\n" : "", this, nf_table_group_help(g));
        for (int i = 0; i < nf_table_rows(); i++) {
            const struct nf_row *row = nf_table_row(i);
            if (strcmp(row->group, this) || (*key && strcmp(row->key, key)))
                continue;
            describe_row(row, out);
            found++;
        }
    }
    if (found)
        return true;
    const char *near = is_group ? nf_table_maybe(group, key) : nf_table_maybe(NULL, *group ? group : key);
    nf_str_add(out, "there is no parameter '");
    nf_message_shown(out, name, strlen(name), 60);
    nf_str_add(out, "'");
    if (near && is_group)
        nf_str_addf(out, " (maybe: %s.%s?)", group, near);
    else if (near)
        nf_str_addf(out, " (maybe: %s%s%s?)", near, *group ? "." : "", *group ? key : "");
    for (int g = 0; !near && !is_group && !*group && g < nf_table_groups(); g++)
        if ((near = nf_table_maybe(nf_table_group(g), key)))
            nf_str_addf(out, " (maybe: %s.%s?)", nf_table_group(g), near);
    nf_str_add(out, "\n");
    return false;
}

/* Text in roff: no line may begin with a request, and a minus stays a minus. */
static void add_roff(nf_str *out, const char *text)
{
    for (const char *at = text; *at; at++) {
        bool begins = at == text || at[-1] == '\n';
        if (begins && (*at == '.' || *at == '\''))
            nf_str_add(out, "\\&");
        if (*at == '\\')
            nf_str_add(out, "\\e");
        else if (*at == '-')
            nf_str_add(out, "\\-");
        else if (*at == '\'')
            nf_str_add(out, "\\(aq");
        else
            nf_str_addn(out, at, 1);
    }
}

/* One sentence a line, as roff wants it. */
static void add_sentences(nf_str *out, const char *text)
{
    nf_str lines = {0};
    for (const char *at = text; *at; at++) {
        bool ends =
            at > text && *at == ' ' && (at[-1] == '.' || at[-1] == '?') && (isupper((unsigned char)at[1]) || at[1] == '\'');
        nf_str_addn(&lines, ends ? "\n" : at, 1);
    }
    add_roff(out, lines.text ? lines.text : "");
    out->failed |= lines.failed;
    nf_str_free(&lines);
}

void nf_input_manual(nf_str *out)
{
    nf_str_add(out, ".SH PARAMETERS\n");
    for (int g = 0; g < nf_table_groups(); g++) {
        nf_str_addf(out, ".SS &%s\n", nf_table_group(g));
        add_roff(out, nf_table_group_help(g));
        nf_str_add(out, "\n");
        for (int i = 0; i < nf_table_rows(); i++) {
            const struct nf_row *row = nf_table_row(i);
            nf_str text = {0}, head = {0};
            if (strcmp(row->group, nf_table_group(g)))
                continue;
            nf_str_addf(&head, "%s%s%s, ", kinds[row->kind], row->unit ? " in " : "", row->unit ? row->unit : "");
            add_default(row, "required", "none", &head);
            nf_str_addf(out, ".TP\n.B %s\n(", row->key);
            add_roff(out, head.text ? head.text : "");
            nf_str_add(out, ")\n.br\n");
            nf_str_add(&text, row->help);
            add_facts(row, &text);
            add_sentences(out, text.text ? text.text : "");
            nf_str_add(out, "\n");
            out->failed |= text.failed || head.failed;
            nf_str_free(&text);
            nf_str_free(&head);
        }
    }
}
