/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c: words and strings as numbers, logicals, choices and texts of a row. Numbers are read as Fortran writes them
 * (1.0d-3, 1.5-3, .5, 5.), and must be finite: Fortran readers turn 1e999 into Infinity without a word, this one does not.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

static void wrong(nf_input *input, const struct nf_row *row, const struct nf_value *v, const char *expected, const char *hint)
{
    nf_str s = {0};
    nf_str_add(&s, v->is_string ? "'" : "");
    nf_message_shown(&s, v->text, strlen(v->text), 40);
    nf_str_add(&s, v->is_string ? "'" : "");
    nf_message_add(input, v->where, hint, "%s expects %s, got %s", row->key, expected, s.text ? s.text : "");
    input->no_memory |= s.failed;
    nf_str_free(&s);
}

static bool out_of_range(nf_input *input, const struct nf_row *row, const struct nf_value *v)
{
    nf_str hint = {0}, got = {0};
    nf_str_addf(&hint, "Change %s to ", row->key);
    nf_describe_range(row, &hint);
    nf_str_add(&hint, ".");
    nf_message_shown(&got, v->text, strlen(v->text), 40);
    nf_message_add(input, v->where, hint.text, "%s = %s is out of range", row->key, got.text ? got.text : "");
    input->no_memory |= hint.failed || got.failed;
    nf_str_free(&hint);
    nf_str_free(&got);
    return false;
}

static bool in_range(const struct nf_row *row, double x)
{
    if (row->low == row->high)
        return true;
    bool high = row->flags & NF_ROW_BELOW ? x < row->high : x <= row->high;
    return high && (row->flags & NF_ROW_ABOVE ? x > row->low : x >= row->low);
}

/* [sign] digits [. digits] [exponent]; copied to `out` (strlen(text) + 2 bytes) as C writes it. False: not a number. */
static bool spell_number(const char *text, char *out, bool *is_whole)
{
    int digits = 0;
    *is_whole = true;
    if (*text == '+' || *text == '-')
        *out++ = *text++;
    for (; isdigit((unsigned char)*text); digits++)
        *out++ = *text++;
    if (*text == '.') {
        *is_whole = false;
        for (*out++ = *text++; isdigit((unsigned char)*text); digits++)
            *out++ = *text++;
    }
    if (!digits)
        return false;
    if (*text && strchr("eEdDqQ+-", *text)) {
        *is_whole = false;
        *out++ = 'e';
        if (isalpha((unsigned char)*text))
            text++;
        if (*text == '+' || *text == '-')
            *out++ = *text++;
        if (!isdigit((unsigned char)*text))
            return false;
        while (isdigit((unsigned char)*text))
            *out++ = *text++;
    }
    *out = 0;
    return !*text;
}

/* The hint for what is not the number that was expected. */
static const char *number_hint(const struct nf_value *v, const char *plain)
{
    const char *t = v->text + (*v->text == '+' || *v->text == '-');
    if (v->is_string)
        return "Write it without quotes.";
    if (!strncasecmp(t, "nan", 3) || !strncasecmp(t, "inf", 3))
        return "Write a finite number.";
    if ((t[0] == '0' && tolower((unsigned char)t[1]) == 'x') || !strncasecmp(t, "z", 1))
        return "Write it in decimal digits.";
    if (strchr(t, ';'))
        return "Separate assignments by a comma or a new line.";
    if (isdigit((unsigned char)*t) && strchr(t, '_'))
        return "Write the digits without '_'.";
    return plain;
}

bool nf_value_int(nf_input *input, const struct nf_row *row, const struct nf_value *v, int64_t *x)
{
    size_t n = strlen(v->text);
    char *spelled = malloc(n + 2);
    bool is_whole, is_number = spelled && !v->is_string && spell_number(v->text, spelled, &is_whole);
    input->no_memory |= !spelled;
    free(spelled);
    if (!is_number || !is_whole) {
        wrong(input, row, v, "an integer",
              number_hint(v, is_number ? "Write it without point and exponent." : "Write digits only."));
        return false;
    }
    errno = 0;
    *x = strtoll(v->text, NULL, 10);
    if (errno) {
        wrong(input, row, v, "a 64-bit integer", "Change it to at most 9223372036854775807.");
        return false;
    }
    return in_range(row, (double)*x) ? true : out_of_range(input, row, v);
}

bool nf_value_real(nf_input *input, const struct nf_row *row, const struct nf_value *v, double *x)
{
    char *spelled = malloc(strlen(v->text) + 2);
    bool is_whole, is_number = spelled && !v->is_string && spell_number(v->text, spelled, &is_whole);
    input->no_memory |= !spelled;
    if (is_number)
        *x = strtod(spelled, NULL);
    bool is_lost = is_number && *x == 0.0 && strcspn(spelled, "123456789") < strcspn(spelled, "e");
    free(spelled);
    if (!is_number) {
        wrong(input, row, v, "a real number", number_hint(v, "Write it as in 0.5, 3e-4 or 1.0d-3."));
        return false;
    }
    if (!isfinite(*x) || is_lost) {
        wrong(input, row, v,
              is_lost ? "a number that is not too small for double precision"
                      : "a number that is not too large for double precision",
              "Change the exponent.");
        return false;
    }
    return in_range(row, *x) ? true : out_of_range(input, row, v);
}

bool nf_value_bool(nf_input *input, const struct nf_row *row, const struct nf_value *v, bool *x)
{
    static const char *const yes[] = {"t", "true", ".t.", ".true."}, *const no[] = {"f", "false", ".f.", ".false."};
    for (int i = 0; i < 4 && !v->is_string; i++)
        if (!strcasecmp(v->text, yes[i]) || !strcasecmp(v->text, no[i])) {
            *x = !strcasecmp(v->text, yes[i]);
            return true;
        }
    wrong(input, row, v, ".true. or .false.", v->is_string ? "Write it without quotes." : NULL);
    return false;
}

bool nf_value_choice(nf_input *input, const struct nf_row *row, const struct nf_value *v, int *x)
{
    for (const struct nf_choice *c = row->choice; v->is_string && c->name; c++)
        if (!strcasecmp(c->name, v->text)) {
            *x = c->value;
            return true;
        }
    nf_str expected = {0}, hint = {0};
    nf_describe_choices(row, true, &expected);
    const char *near = nf_table_choice_maybe(row, v->text);
    if (near)
        nf_str_addf(&hint, "Change it to '%s'%s.", near, v->is_string ? "" : ", in quotes");
    else if (!v->is_string)
        nf_str_add(&hint, "Write it in quotes.");
    nf_str shown = {0};
    nf_str_add(&shown, v->is_string ? "'" : "");
    nf_message_shown(&shown, v->text, strlen(v->text), 40);
    nf_str_add(&shown, v->is_string ? "'" : "");
    nf_message_add(input, v->where, hint.text, "%s expects %s, got %s%s%s%s", row->key, expected.text ? expected.text : "",
                   shown.text ? shown.text : "", near ? " (maybe: '" : "", near ? near : "", near ? "'?)" : "");
    input->no_memory |= expected.failed || hint.failed || shown.failed;
    nf_str_free(&expected);
    nf_str_free(&hint);
    nf_str_free(&shown);
    return false;
}

bool nf_value_text(nf_input *input, const struct nf_row *row, const struct nf_value *v)
{
    if (!v->is_string) {
        nf_str hint = {0};
        nf_str_add(&hint, "Put it in quotes: '");
        nf_message_shown(&hint, v->text, strlen(v->text), 40);
        nf_str_add(&hint, "'");
        wrong(input, row, v, "text in quotes", hint.text);
        input->no_memory |= hint.failed;
        nf_str_free(&hint);
        return false;
    }
    size_t n = strlen(v->text);
    if (n >= NF_PATH_MAX) {
        nf_message_add(input, v->where, "Shorten it.", "%s is %zu bytes long, at most %d are allowed", row->key, n,
                       NF_PATH_MAX - 1);
        return false;
    }
    if (row->flags & NF_ROW_PATH && v->text[0] == '~' && (!v->text[1] || v->text[1] == '/')) {
        nf_message_add(input, v->where, "Write the whole path ('./~' for a name that begins so).", "'~' is not expanded in %s",
                       row->key);
        return false;
    }
    return true;
}
