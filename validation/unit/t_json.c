/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is taken with which values, what is refused and where the message points; the forms Python writes. */
#include "nemafit/json.h"
#include "nemafit/str.h"
#include "validation/tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void values(void)
{
    static const char text[] = "{\"z\": 1, \"a\": [true, false, null, -2.5, \"x\\u00e9\\n\"], \"big\": 9223372036854775807,\n"
                               " \"low\": -9223372036854775808, \"o\": {}, \"inf\": {\"__float__\": \"-Infinity\"}}  \n ";
    nf_json *d = NULL;
    if (!tap_ok(nf_json_parse("v.json", text, sizeof text - 1, NF_JSON_STRICT, NF_EDATA, &d) == NF_OK, "a document is taken"))
        return;
    const nf_jvalue *root = nf_json_root(d), *a = nf_jvalue_get(root, "a"), *inf = nf_jvalue_get(root, "inf");
    double x = 0;
    size_t n = 0;
    tap_ok(strcmp(nf_json_name(d), "v.json") == 0 && nf_jvalue_kind(root) == NF_JOBJECT && nf_jvalue_size(root) == 6, "root");
    tap_ok(nf_jvalue_kind(nf_jvalue_get(root, "z")) == NF_JINT && nf_jvalue_int(nf_jvalue_get(root, "big")) == INT64_MAX &&
               nf_jvalue_int(nf_jvalue_get(root, "low")) == INT64_MIN,
           "integers to their ends");
    tap_ok(nf_jvalue_kind(a) == NF_JARRAY && nf_jvalue_size(a) == 5 && nf_jvalue_bool(nf_jvalue_at(a, 0)) &&
               nf_jvalue_kind(nf_jvalue_at(a, 1)) == NF_JBOOL && !nf_jvalue_bool(nf_jvalue_at(a, 1)) &&
               nf_jvalue_kind(nf_jvalue_at(a, 2)) == NF_JNULL && nf_jvalue_kind(nf_jvalue_at(a, 3)) == NF_JREAL,
           "kinds");
    tap_ok(nf_jvalue_number(nf_jvalue_at(a, 3), &x) && x == -2.5 && nf_jvalue_number(nf_jvalue_get(root, "z"), &x) && x == 1,
           "numbers");
    tap_ok(nf_jvalue_kind(nf_jvalue_at(a, 4)) == NF_JSTRING &&
               strcmp(nf_jvalue_string(nf_jvalue_at(a, 4), &n), "x\xc3\xa9\n") == 0 && n == 4,
           "a string");
    tap_ok(nf_jvalue_kind(inf) == NF_JREAL && nf_jvalue_number(inf, &x) && x == -INFINITY, "the tagged form is a number");
    x = 5;
    tap_ok(!nf_jvalue_number(a, &x) && !nf_jvalue_number(nf_jvalue_at(a, 0), &x) && !nf_jvalue_number(nf_jvalue_at(a, 4), &x) &&
               !nf_jvalue_number(nf_jvalue_get(root, "o"), &x) && x == 5,
           "what is no number is none");
    tap_ok(!nf_jvalue_get(root, "none") && !nf_jvalue_get(a, "z") && !nf_jvalue_at(a, 5) && !nf_jvalue_at(root, 0) &&
               !nf_jvalue_string(a, &n) && nf_jvalue_size(nf_jvalue_at(a, 0)) == 0,
           "what is not there is not there");
    nf_str order = {0};
    for (void *it = nf_jobject_first(root); it; it = nf_jobject_next(root, it))
        nf_str_addf(&order, "%s%d ", nf_jobject_key(it), (int)nf_jvalue_kind(nf_jobject_value(it)));
    tap_ok(strcmp(order.text, "z2 a5 big2 low2 o6 inf3 ") == 0 && !nf_jobject_first(a), "members in the order of the file");
    nf_str_free(&order);
    nf_json_free(d);
    nf_json_free(NULL);
}

struct refusal {
    const char *text;
    int line, column;
    const char *why;
};

/* Position 0: the text is taken. */
static void try_text(const char *text, size_t n, enum nf_json_flags flags, int line, int column, const char *why)
{
    char place[32], shown[280];
    nf_json *untouched = (nf_json *)&place, *d = untouched;
    nf_status s = nf_json_parse("f.json", text, n, flags, NF_EMODEL, &d);
    nf_str_shown(shown, text, n);
    snprintf(place, sizeof place, "f.json:%d:%d: ", line, column);
    if (line == 0) {
        tap_ok(s == NF_OK, "taken: %.60s", shown);
        if (s == NF_OK)
            nf_json_free(d);
    } else
        tap_ok(s == NF_EMODEL && d == untouched && strncmp(nf_diagnosis(), place, strlen(place)) == 0 &&
                   strstr(nf_diagnosis(), why),
               "refused: %.60s at %d:%d: %s", shown, line, column, why);
    if (nf_diagnosis()[0] && (s == NF_OK || strncmp(nf_diagnosis(), place, strlen(place)) != 0 || !strstr(nf_diagnosis(), why)))
        tap_note("said: %s", nf_diagnosis());
    nf_diagnosis_clear();
}

static void refusals(void)
{
    static const struct refusal row[] = {
        {"", 1, 1, "empty"},
        {" \n ", 1, 1, "empty"},
        {"{", 1, 2, "not valid JSON"},
        {"[1, 2", 1, 6, "not valid JSON"},
        {"{} x", 1, 4, "not valid JSON"},
        {"{}{}", 1, 3, "not valid JSON"},
        {"{\"a\": 1,\n \"b\": tru}", 2, 7, "not valid JSON"},
        {"{\"a\": 1,\n \"b\" 2}", 2, 6, "not valid JSON"},
        {"{\"a\": 1,}", 1, 9, "not valid JSON"},
        {"[1,]", 1, 4, "not valid JSON"},
        {"{a: 1}", 1, 2, "not valid JSON"},
        {"{'a': 1}", 1, 2, "not valid JSON"},
        {"[01]", 1, 2, "not valid JSON"},
        {"[+1]", 1, 2, "not valid JSON"},
        {"[1.]", 1, 2, "not valid JSON"},
        {"[.5]", 1, 2, "not valid JSON"},
        {"[0x10]", 1, 2, "not valid JSON"},
        {"[1 // one\n]", 1, 4, "not valid JSON"},
        {"{\"a\": 1,\n\"b\": 2,\n  \"a\": 3}", 3, 3, "key \"a\" is given twice"},
        {"{\"e\": 1, \"\\u0065\": 3}", 1, 10, "is given twice"},
        {"[{\"x\": {\"k\": 1, \"k\": 1}}]", 1, 17, "key \"k\" is given twice"},
        {"[\"a\nb\"]", 1, 4, "not valid JSON"},
        {"[\"a\\q\"]", 1, 4, "not valid JSON"},
        {"[\"a\\u0000b\"]", 1, 2, "not valid JSON"},
        {"[\"\\ud800\"]", 1, 2, "not valid JSON"},
        {"[\"abc", 1, 2, "not valid JSON"},
        {"[\"\xc3\xa9\", \"a\xff\"]", 1, 9, "unable to decode byte 0xff"},
        {"[\"\xed\xa0\x80\"]", 1, 3, "unable to decode byte 0xed"},
        {"\xef\xbb\xbf{}", 1, 1, "byte order mark"},
        {"[NaN]", 1, 2, "not valid JSON"},
        {"[Infinity]", 1, 2, "not valid JSON"},
        {"[-Infinity]", 1, 2, "not valid JSON"},
        {"[9223372036854775808]", 1, 2, "too big"},
        {"[1, 1e999]", 1, 5, "overflow"},
    };
    static const char *const taken[] = {
        "{}", "[]", "1", "\"x\"", "null", " [1e3, -0, 0.5E-2] ", "[\"\\ud83d\\ude00\"]", "{\"\": 1}", "[1e-999]"};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        try_text(row[i].text, strlen(row[i].text), NF_JSON_STRICT, row[i].line, row[i].column, row[i].why);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        try_text(taken[i], strlen(taken[i]), NF_JSON_STRICT, 0, 0, "");
        try_text(taken[i], strlen(taken[i]), NF_JSON_PYTHON, 0, 0, "");
    }
    try_text("{}\0", 3, NF_JSON_STRICT, 1, 3, "not valid JSON");
    try_text("[\"a\0b\"]", 7, NF_JSON_STRICT, 1, 4, "not valid JSON");
    try_text("{\"a\": 12345", 8, NF_JSON_STRICT, 1, 9, "not valid JSON"); /* the text ends where n says */
    try_text("[1] and more", 3, NF_JSON_STRICT, 0, 0, "");

    char deep[400010];
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    try_text(deep, 128, NF_JSON_STRICT, 0, 0, "");
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    try_text(deep, 130, NF_JSON_STRICT, 1, 65, "nested deeper than 64");
    memset(deep, '[', 200000);
    memset(deep + 200000, ']', 200000);
    try_text(deep, 400000, NF_JSON_STRICT, 1, 65, "nested deeper than 64");
    size_t n = 0; /* brackets within strings are text */
    deep[n++] = '"';
    memset(deep + n, '[', 1000);
    n += 1000;
    memcpy(deep + n, "\\\"[", 3);
    n += 3;
    deep[n++] = '"';
    try_text(deep, n, NF_JSON_PYTHON, 0, 0, "");
}

static void python(void)
{
    static const char text[] =
        "{\"a\": Infinity, \"b\": [-Infinity,NaN], \"c\": \"NaN, Infinity\",\n"
        " \"d\": 1000000000000000019884624838656, \"e\": -9223372036854775808, \"f\": 9223372036854775808}";
    static const struct refusal row[] = {
        {"[NaN, Infinity, -Infinity, x]", 1, 28, "not valid JSON"},
        {"[NaN, Infinity,\n NaN NaN]", 2, 6, "not valid JSON"},
        {"[NaN, Infinity,\n NaN, ", 2, 7, "not valid JSON"},
        {"[nan]", 1, 2, "not valid JSON"},
        {"[+Infinity]", 1, 2, "not valid JSON"},
        {"[NaNs]", 1, 2, "not valid JSON"},
        {"{\"a\": NaN, \"b\": NaN, \"a\": NaN}", 1, 22, "key \"a\" is given twice"},
        {"{NaN: 1}", 1, 2, "not valid JSON"},
        {"[NaN, 00000000000000000000000]", 1, 7, "not valid JSON"},
        {"[99999999999999999999999, 1e999]", 1, 27, "overflow"},
        {"[NaN, \"a\xff\"]", 1, 9, "unable to decode byte 0xff"},
    };
    nf_json *d = NULL;
    double x = 0;
    if (!tap_ok(nf_json_parse("p.json", text, sizeof text - 1, NF_JSON_PYTHON, NF_EDATA, &d) == NF_OK,
                "Python's JSON is taken"))
        return;
    const nf_jvalue *root = nf_json_root(d), *b = nf_jvalue_get(root, "b");
    tap_ok(nf_jvalue_number(nf_jvalue_get(root, "a"), &x) && x == INFINITY &&
               nf_jvalue_kind(nf_jvalue_get(root, "a")) == NF_JREAL,
           "Infinity");
    tap_ok(nf_jvalue_number(nf_jvalue_at(b, 0), &x) && x == -INFINITY && nf_jvalue_number(nf_jvalue_at(b, 1), &x) && isnan(x),
           "-Infinity and NaN");
    tap_ok(strcmp(nf_jvalue_string(nf_jvalue_get(root, "c"), NULL), "NaN, Infinity") == 0, "within a string they are text");
    tap_ok(nf_jvalue_kind(nf_jvalue_get(root, "d")) == NF_JREAL && nf_jvalue_number(nf_jvalue_get(root, "d"), &x) &&
               x == 1e30 + 19884624838656.0,
           "an integer beyond 64 bits is a real (%.0f)", x);
    tap_ok(nf_jvalue_int(nf_jvalue_get(root, "e")) == INT64_MIN && nf_jvalue_kind(nf_jvalue_get(root, "f")) == NF_JREAL,
           "at the border too");
    nf_json_free(d);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        try_text(row[i].text, strlen(row[i].text), NF_JSON_PYTHON, row[i].line, row[i].column, row[i].why);
}

static void located(const nf_json *d, const char *key, int line, int column)
{
    int l = -1, c = -1;
    nf_json_locate(d, key, &l, &c);
    tap_ok(l == line && c == column, "\"%s\" is at %d:%d", key, l, c);
}

static void locate(void)
{
    static const char text[] = "{\"x\": {\"deep\": 1, \"b\": 2}, \"y\": \"b\",\n  \"\xc3\xa9\": [\"b\", \"y\"], \"b\": NaN,\n"
                               "\t\"\\u0063\": \"}\\\"{\", \"last\": 0}";
    nf_json *d = NULL;
    nf_json_parse("l.json", text, sizeof text - 1, NF_JSON_PYTHON, NF_EDATA, &d);
    located(d, "x", 1, 2);
    located(d, "y", 1, 28);
    located(d, "\xc3\xa9", 2, 3);
    located(d, "b", 2, 20);
    located(d, "c", 3, 2);
    located(d, "last", 3, 20);
    located(d, "deep", 0, 0);
    located(d, "", 0, 0);
    nf_json_free(d);
    nf_json_parse("a.json", "[1, \"b\"]", 8, NF_JSON_STRICT, NF_EDATA, &d);
    located(d, "b", 0, 0);
    nf_json_free(d);
}

/* Every beginning of a good text, and the text with every byte changed, ends in an answer; sanitizers watch. */
static void damaged(void)
{
    static const char good[] =
        "{\"a\": [1, 2.5, -Infinity, NaN, \"\\u00e9\xc3\xa9\"], \"b\": {\"c\": null, \"d\": 99999999999999999999}}";
    char text[sizeof good];
    bool sane = true;
    int taken = 0;
    for (int flags = 0; flags < 2; flags++)
        for (size_t at = 0; at < sizeof good; at++)
            for (int byte = 0; byte < 257; byte++) {
                size_t n = byte == 256 ? at : sizeof good - 1;
                char *exact = malloc(n + 1); /* so that one byte too far is seen */
                memcpy(text, good, sizeof good);
                if (byte < 256)
                    text[at] = (char)byte;
                memcpy(exact, text, n);
                nf_json *d = NULL;
                nf_status s = nf_json_parse("f", exact, n, (enum nf_json_flags)flags, NF_EDATA, &d);
                sane &= (s == NF_OK && d) || (s == NF_EDATA && !d && strncmp(nf_diagnosis(), "f:1:", 4) == 0) ||
                        (s == NF_EDATA && byte == '\n' && strncmp(nf_diagnosis(), "f:2:", 4) == 0);
                taken += s == NF_OK;
                nf_diagnosis_clear();
                nf_json_free(d);
                free(exact);
            }
    tap_ok(sane, "every damage has an answer with its place");
    tap_ok(taken > 100, "some of them are harmless (%d)", taken);
}

int main(void)
{
    tap_open();
    values();
    refusals();
    python();
    locate();
    damaged();
    return tap_done();
}
