/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assign.c: values into the params. A key is set once in the file and once on the command line, where it replaces what the file
 * gave; elements of a list may be set in several assignments, each element once, and none may be left out.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

void *nf_assign_field(nf_input *input, const struct nf_row *row)
{
    return (char *)&input->params + row->offset;
}

const void *nf_assign_const_field(const nf_input *input, const struct nf_row *row)
{
    return (const char *)&input->params + row->offset;
}

static bool is_override(const nf_input *input, struct nf_place where)
{
    return where.source >= 0 && !input->source[where.source].name;
}

static void twice(nf_input *input, struct nf_place again, struct nf_place first, const char *what)
{
    if (is_override(input, first))
        nf_message_add(input, again, "Remove one of the two.", "%s is given twice on the command line", what);
    else
        nf_message_add(input, again, "Remove one of the two.", "%s is given twice (first in line %d)", what,
                       nf_message_line(input, first));
}

static void too_many(nf_input *input, const struct nf_row *row, const struct nf_assignment *a)
{
    const struct nf_value *first = &a->value[0], *second = a->values > 1 ? &a->value[1] : first;
    const char *hint = "Remove the others.";
    if (row->kind == NF_KIND_REAL && a->values == 2 && !first->is_string && !second->is_string &&
        isdigit((unsigned char)*second->text))
        hint = "Remove the second, or write a decimal point in place of the comma.";
    nf_message_add(input, second->where, hint, "%s takes one value", row->key);
}

static void assign_scalar(nf_input *input, const struct nf_row *row, const struct nf_assignment *a)
{
    void *field = nf_assign_field(input, row);
    const struct nf_value *v = &a->value[0];
    bool good = false;
    if (a->values > 1 || v->repeat > 1)
        too_many(input, row, a);
    else if (row->kind == NF_KIND_INT)
        good = nf_value_int(input, row, v, field);
    else if (row->kind == NF_KIND_REAL)
        good = nf_value_real(input, row, v, field);
    else if (row->kind == NF_KIND_BOOL)
        good = nf_value_bool(input, row, v, field);
    else if (row->kind == NF_KIND_CHOICE)
        good = nf_value_choice(input, row, v, field);
    else if ((good = nf_value_text(input, row, v))) {
        char **text = field;
        free(*text);
        *text = *v->text ? strdup(v->text) : NULL;
        input->no_memory |= *v->text && !*text;
    }
    input->troubled[a->row] |= !good;
}

static bool make_room(struct nf_list *list, int64_t count)
{
    if (count > list->capacity) {
        int capacity = (int)count + list->capacity;
        char **item = realloc(list->item, (size_t)capacity * sizeof *item);
        if (item)
            list->item = item;
        struct nf_place *where = realloc(list->where, (size_t)capacity * sizeof *where);
        if (where)
            list->where = where;
        if (!item || !where)
            return false;
        list->capacity = capacity;
    }
    for (; list->count < count; list->count++)
        list->item[list->count] = NULL;
    return true;
}

static void drop_list(struct nf_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->item[i]);
    free(list->item);
    free(list->where);
    *list = (struct nf_list){0};
}

/* One element; false: told, and the rest of the assignment is not looked at. */
static bool set_element(nf_input *input, const struct nf_row *row, const struct nf_assignment *a, int64_t index,
                        const struct nf_value *v)
{
    struct nf_list *list = &input->list[a->row];
    if (!make_room(list, index)) {
        input->no_memory = true;
        return false;
    }
    if (list->item[index - 1]) {
        char what[80];
        bool is_whole = a->index.source < 0 && index == 1;
        snprintf(what, sizeof what, "%s", row->key);
        if (!is_whole)
            snprintf(what, sizeof what, "%s(%lld)", row->key, (long long)index);
        twice(input, a->name, list->where[index - 1], what);
        return false;
    }
    list->item[index - 1] = strdup(v->text);
    list->where[index - 1] = v->where;
    input->no_memory |= !list->item[index - 1];
    return list->item[index - 1];
}

static void assign_list(nf_input *input, const struct nf_row *row, const struct nf_assignment *a)
{
    int64_t lo = a->index.source >= 0 ? a->lo : 1, hi = a->index.source >= 0 ? a->hi : NF_LIST_MAX, next = lo;
    bool good = true;
    for (int i = 0; good && i < a->values; i++) {
        const struct nf_value *v = &a->value[i];
        good = nf_value_text(input, row, v);
        if (good && v->repeat > hi - next + 1) {
            nf_message_add(input, v->where, NULL, "too many values: there is room for %lld", (long long)(hi - lo + 1));
            good = false;
        }
        for (int64_t r = 0; good && r < v->repeat; r++)
            good = set_element(input, row, a, next++, v);
    }
    if (good && a->index.source >= 0 && next <= hi) {
        nf_message_add(input, a->index, NULL, "%lld values are needed here, there are %lld", (long long)(hi - lo + 1),
                       (long long)(next - lo));
        good = false;
    }
    input->troubled[a->row] |= !good;
}

void nf_assign(nf_input *input, const struct nf_assignment *a)
{
    const struct nf_row *row = nf_table_row(a->row);
    struct nf_place before = input->given[a->row];
    bool replaces = is_override(input, a->name) && !is_override(input, before);
    if (row->kind == NF_KIND_LIST) {
        if (replaces)
            drop_list(&input->list[a->row]);
        assign_list(input, row, a);
    } else if (before.source >= 0 && !replaces) {
        twice(input, a->name, before, row->key);
        return;
    } else {
        assign_scalar(input, row, a);
    }
    if (before.source < 0 || replaces)
        input->given[a->row] = a->name;
}

/* One list is whole: no hole in it, and '' only alone, where it means an empty list. */
static void finish_list(nf_input *input, int row)
{
    struct nf_list *list = &input->list[row];
    nf_strings *field = nf_assign_field(input, nf_table_row(row));
    const char *key = nf_table_row(row)->key;
    if (list->count == 1 && list->item[0] && !*list->item[0]) {
        free(list->item[0]);
        list->count = 0;
    }
    for (int i = 0; i < list->count; i++) {
        if (!list->item[i])
            nf_message_add(input, input->given[row], "Number the elements from 1 on, without a gap.",
                           "%s(%d) is not given, but %s(%d) is", key, i + 1, key, list->count);
        else if (!*list->item[i])
            nf_message_add(input, list->where[i], "Remove it.", "%s(%d) is empty", key, i + 1);
        else
            continue;
        input->troubled[row] = true;
        return;
    }
    for (int i = 0; i < field->count; i++)
        free(field->item[i]);
    free(field->item);
    *field = (nf_strings){list->item, list->count};
    free(list->where);
    *list = (struct nf_list){0};
    if (!field->count) {
        free(field->item);
        field->item = NULL;
    }
}

void nf_assign_lists(nf_input *input)
{
    for (int i = 0; i < nf_table_rows(); i++)
        if (nf_table_row(i)->kind == NF_KIND_LIST && input->given[i].source >= 0 && !input->troubled[i] && !input->no_memory)
            finish_list(input, i);
}

nf_status nf_assign_defaults(nf_input *input)
{
    for (int i = 0; i < nf_table_rows(); i++) {
        const struct nf_row *row = nf_table_row(i);
        struct nf_assignment a = {.row = i, .name = NF_NOWHERE, .index = NF_NOWHERE};
        struct nf_lexer lexer = {row->standard, strlen(row->standard), 0};
        input->given[i] = NF_NOWHERE;
        if (nf_values_read(input, -1, &lexer, &a) && a.values) {
            nf_assign(input, &a);
            if (row->kind == NF_KIND_LIST && !input->no_memory)
                finish_list(input, i);
        }
        nf_assignment_free(&a);
    }
    NF_CHECK(!input->errors || input->no_memory);
    return NF_OK;
}
