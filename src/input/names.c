/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.c: what is said of groups and keys that the table does not have. A key that was probably meant counts as troubled, so
 * that one misspelling is one error and not also a missing key.
 */
#include <stdio.h>
#include <string.h>

#include "private.h"

void nf_names_unknown_group(nf_input *input, const char *name, struct nf_place where)
{
    nf_str hint = {0}, shown = {0};
    const char *near = nf_table_maybe(NULL, name);
    if (near)
        nf_str_addf(&hint, "Change it to %s, or remove it.", near);
    for (int g = 0; !near && g < nf_table_groups(); g++)
        nf_str_addf(&hint, "%s%s", g ? ", " : "Use one of: ", nf_table_group(g));
    nf_str_add(&shown, "");
    nf_message_shown(&shown, name, strlen(name), 40);
    nf_message_add(input, where, hint.text, "there is no group '%s'%s%s%s", shown.text ? shown.text : "",
                   near ? " (maybe: " : "", near ? near : "", near ? "?)" : "");
    input->no_memory |= hint.failed || shown.failed;
    nf_str_free(&hint);
    nf_str_free(&shown);
}

/* The same key in other groups: " (maybe: dir in &log or dir in &export?)". */
static void elsewhere(nf_input *input, const char *name, nf_str *maybe)
{
    for (int i = 0; i < nf_table_rows(); i++)
        if (!strcmp(nf_table_row(i)->key, name)) {
            nf_str_addf(maybe, "%s%s in &%s", maybe->len ? " or " : " (maybe: ", name, nf_table_row(i)->group);
            input->troubled[i] = true;
        }
    if (maybe->len)
        nf_str_add(maybe, "?)");
}

void nf_names_unknown_key(nf_input *input, const char *group, const char *name, struct nf_place where)
{
    nf_str maybe = {0}, hint = {0}, shown = {0};
    char stem[48]; /* a%b: Fortran's components, which parameters have not */
    snprintf(stem, sizeof stem, "%.*s", (int)strcspn(name, "%"), name);
    int row = nf_table_find(group, stem);
    const char *near = row >= 0 ? nf_table_row(row)->key : nf_table_maybe(group, name);
    elsewhere(input, name, &maybe);
    if (maybe.len) {
        nf_str_add(&hint, "Move it there, or remove it.");
    } else if (near) {
        nf_str_addf(&maybe, " (maybe: %s?)", near);
        nf_str_addf(&hint, "Change it to %s, or remove it.", near);
        input->troubled[nf_table_find(group, near)] = true;
    }
    bool *is_listed = &input->is_listed[nf_table_group_find(group)];
    for (int i = 0; !maybe.len && !*is_listed && i < nf_table_rows(); i++)
        if (!strcmp(nf_table_row(i)->group, group))
            nf_str_addf(&hint, "%s%s", hint.len ? ", " : "Use one of: ", nf_table_row(i)->key);
    *is_listed |= !maybe.len;
    nf_str_add(&shown, "");
    nf_message_shown(&shown, name, strlen(name), 40);
    nf_message_add(input, where, hint.text, "&%s has no '%s'%s", group, shown.text ? shown.text : "",
                   maybe.len ? maybe.text : "");
    input->no_memory |= maybe.failed || hint.failed || shown.failed;
    nf_str_free(&maybe);
    nf_str_free(&hint);
    nf_str_free(&shown);
}
