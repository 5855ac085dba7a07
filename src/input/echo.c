/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo.c: the params as a namelist that gives them again, bit for bit: reals in the fewest digits that do, strings with their
 * quotes doubled. "default" marks what has the default's value, whoever set it, so that the echo of an echo is the same text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

static void add_quoted(nf_str *out, const char *text)
{
    nf_str_add(out, "'");
    for (; text && *text; text++)
        nf_str_addn(out, *text == '\'' ? "''" : text, *text == '\'' ? 2 : 1);
    nf_str_add(out, "'");
}

/* 1.0e-5, 0.95, 200.0: C's %g, with a point in the mantissa and without padding in the exponent. */
static void add_real(nf_str *out, double x)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x && (!strchr(text, 'e') || x < 1e-4 || x >= 1e7))
            break;
    }
    char *e = strchr(text, 'e');
    size_t mantissa = e ? (size_t)(e - text) : strlen(text);
    nf_str_addn(out, text, mantissa);
    if (!memchr(text, '.', mantissa))
        nf_str_add(out, ".0");
    if (e)
        nf_str_addf(out, "e%d", atoi(e + 1));
}

void nf_echo_value(const struct nf_row *row, const void *field, nf_str *out)
{
    switch (row->kind) {
    case NF_KIND_INT: nf_str_addf(out, "%lld", (long long)*(const int64_t *)field); return;
    case NF_KIND_REAL: add_real(out, *(const double *)field); return;
    case NF_KIND_BOOL: nf_str_add(out, *(const bool *)field ? ".true." : ".false."); return;
    case NF_KIND_TEXT: add_quoted(out, *(char *const *)field); return;
    case NF_KIND_CHOICE:
        for (const struct nf_choice *c = row->choice; c->name; c++)
            if (c->value == *(const int *)field)
                nf_str_addf(out, "'%s'", c->name);
        return;
    case NF_KIND_LIST: break;
    }
    const nf_strings *list = field;
    size_t begin = out->len;
    if (!list->count)
        nf_str_add(out, "''");
    for (int i = 0; i < list->count; i++) {
        if (i && out->len - begin > 72) {
            nf_str_add(out, ",\n    ");
            begin = out->len;
        } else if (i) {
            nf_str_add(out, ", ");
        }
        add_quoted(out, list->item[i]);
    }
}

void nf_input_echo(const nf_input *input, nf_str *out)
{
    const char *group = "";
    nf_str_add(out, "! All keys of this run. Fed back to nemafit, this file gives the same parameters.\n");
    for (int i = 0; i < nf_table_rows(); i++) {
        const struct nf_row *row = nf_table_row(i);
        nf_str value = {0};
        if (strcmp(group, row->group)) {
            nf_str_addf(out, "%s\n&%s\n", *group ? "/\n" : "", row->group);
            group = row->group;
        }
        nf_echo_value(row, nf_assign_const_field(input, row), &value);
        out->failed |= value.failed;
        bool is_default = value.text && !strcmp(value.text, row->standard);
        const char *text = value.text ? value.text : "''";
        if (is_default || row->unit) {
            int column = 38 - (int)strlen(row->key);
            nf_str_addf(out, "  %s = %-*s ! %s%s%s\n", row->key, column > 0 ? column : 0, text, row->unit ? row->unit : "",
                        is_default && row->unit ? ", " : "", is_default ? "default" : "");
        } else {
            nf_str_addf(out, "  %s = %s\n", row->key, text);
        }
        nf_str_free(&value);
    }
    nf_str_add(out, "/\n");
}
