/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.c: the life of an nf_input: defaults, the file, overrides, conditions, verdict. The caller gets it only if all of it is
 * valid, so no value can take effect from an input that was refused.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define REPORT_MAX 15000 /* of the 16 KiB that a diagnosis may have */

static bool add_source(nf_input *input, const char *name, const char *text, size_t n)
{
    struct nf_source *s = &input->source[input->sources];
    s->name = name ? strdup(name) : NULL;
    s->text = malloc(n + 1);
    s->n = n;
    input->sources++;
    if (!s->text || (name && !s->name))
        return false;
    memcpy(s->text, text, n);
    s->text[n] = 0;
    return true;
}

void nf_input_free(nf_input *input)
{
    if (!input)
        return;
    for (int i = 0; i < nf_table_rows(); i++) {
        void *field = nf_assign_field(input, nf_table_row(i));
        if (nf_table_row(i)->kind == NF_KIND_TEXT) {
            free(*(char **)field);
        } else if (nf_table_row(i)->kind == NF_KIND_LIST) {
            nf_strings *strings = field;
            for (int k = 0; k < strings->count; k++)
                free(strings->item[k]);
            free(strings->item);
        }
        for (int k = 0; k < input->list[i].count; k++)
            free(input->list[i].item[k]);
        free(input->list[i].item);
        free(input->list[i].where);
    }
    for (int i = 0; i < input->sources; i++) {
        free(input->source[i].name);
        free(input->source[i].text);
    }
    for (int i = 0; i < NF_ERRORS_MAX; i++) {
        free(input->error[i].text);
        free(input->error[i].hint);
    }
    free(input->source);
    free(input);
}

static nf_status no_memory(void)
{
    return nf_fail(NF_ENOMEM, "input: out of memory");
}

nf_status nf_input_verdict(nf_input *input)
{
    if (input->no_memory)
        return no_memory();
    if (!input->errors)
        return NF_OK;
    nf_str report = {0};
    nf_message_report(input, REPORT_MAX, &report);
    nf_status s = report.failed ? no_memory() : nf_fail(NF_EUSAGE, "%s", report.text);
    nf_str_free(&report);
    return s;
}

static nf_status build(const char *file, const char *text, size_t n, char *const *overrides, int n_overrides, nf_input **result)
{
    nf_input *input = calloc(1, sizeof *input);
    nf_status s = NF_OK;
    if (input)
        input->source = calloc((size_t)n_overrides + 1, sizeof *input->source);
    if (!input || !input->source) {
        s = no_memory();
        goto done;
    }
    s = nf_assign_defaults(input);
    if (s != NF_OK || input->no_memory)
        goto done;
    input->has_file = file;
    if (file) {
        input->no_memory |= !add_source(input, file, text, n);
        if (!input->no_memory)
            nf_namelist_read(input, 0);
    }
    for (int i = 0; i < n_overrides && !input->no_memory; i++) {
        input->no_memory |= !add_source(input, NULL, overrides[i], strlen(overrides[i]));
        if (!input->no_memory)
            nf_override_read(input, input->sources - 1);
    }
    nf_assign_lists(input);
    if (!input->no_memory)
        nf_check(input, file);
done:
    if (s == NF_OK)
        s = nf_input_verdict(input);
    if (s == NF_OK)
        *result = input;
    else
        nf_input_free(input);
    return s;
}

nf_status nf_input_parse(const char *file, const char *text, size_t n, char *const *overrides, int n_overrides,
                         nf_input **input)
{
    if (n > NF_INPUT_MAX)
        return nf_fail(NF_EUSAGE, "%s: %zu bytes: an input file has at most 1 MiB\n  Name the namelist, not a data file.", file,
                       n);
    return build(file, text, n, overrides, n_overrides, input);
}

nf_status nf_input_defaults(char *const *overrides, int n_overrides, nf_input **input)
{
    return build(NULL, "", 0, overrides, n_overrides, input);
}

const struct nf_params *nf_input_params(const nf_input *input)
{
    return &input->params;
}

struct nf_params *nf_input_params_mut(nf_input *input)
{
    return &input->params;
}

bool nf_input_given(const nf_input *input, const char *group, const char *key)
{
    int row = nf_table_find(group, key);
    return row >= 0 && input->given[row].source >= 0;
}

void nf_input_complain(nf_input *input, const char *group, const char *key, const char *hint, const char *fmt, ...)
{
    nf_str text = {0};
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *plain = n < 0 ? NULL : malloc((size_t)n + 1);
    if (plain)
        vsnprintf(plain, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    int row = nf_table_find(group, key);
    struct nf_place where = row >= 0 ? input->given[row] : NF_NOWHERE;
    nf_str_add(&text, plain ? plain : "");
    if (where.source < 0 && row >= 0 && !(nf_table_row(row)->flags & NF_ROW_REQUIRED)) {
        nf_str_addf(&text, " (%s.%s is ", group, key);
        nf_echo_value(nf_table_row(row), nf_assign_const_field(input, nf_table_row(row)), &text);
        nf_str_add(&text, " by default)");
    }
    nf_message_add(input, where, hint, "%s", text.text ? text.text : "");
    input->no_memory |= text.failed || !plain;
    nf_str_free(&text);
    free(plain);
}
