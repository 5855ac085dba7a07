/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The face over jansson, and its only user. The parser says where in *its* text an error lies; with NF_JSON_PYTHON that is not
 * the text of the file, so positions are led back before they are told.
 */
#include "nemafit/json.h"
#include "json_pool.h"
#include "json_scan.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct nf_json {
    char *name, *text;
    size_t n;
    json_t *root;
    struct nf_json_pool pool;
};

static NF_COLD nf_status no_memory(const char *name)
{
    char shown[280];
    return nf_fail(NF_ENOMEM, "%s: no memory to parse it", nf_str_shown(shown, name, strlen(name)));
}

/* The root, or NULL: *starved tells a lack of memory from an error in the text. */
static json_t *load(struct nf_json_pool *pool, const char *text, size_t n, size_t flags, json_error_t *error, bool *starved)
{
    json_set_alloc_funcs(nf_json_take, nf_json_give);
    *starved = false;
    if (setjmp(pool->starved) != 0) {
        nf_json_pool_leave();
        *starved = true;
        return NULL;
    }
    nf_json_pool_enter(pool);
    json_t *root = json_loadb(text, n, flags, error);
    nf_json_pool_leave();
    return root;
}

static NF_COLD nf_status fail_at(const char *name, const char *text, size_t offset, nf_status blame, const char *what)
{
    char shown[280];
    int line, column;
    nf_json_position(text, offset, &line, &column);
    return nf_fail(blame, "%s:%d:%d: %s", nf_str_shown(shown, name, strlen(name)), line, column, what);
}

/* The token that ends at or behind `offset`: the parser tells where it stopped reading. With `at_end` the
 * end of the text {n, n} itself is meant, unless a string is open there. */
static struct nf_json_token token_before(const char *text, size_t n, size_t offset, bool at_end)
{
    struct nf_json_token t = {n, n, true};
    for (size_t at = 0; nf_json_token_next(text, n, at, &t); at = t.end)
        if (t.end >= offset && (!at_end || !t.closed))
            return t;
    return (struct nf_json_token){n, n, true};
}

static NF_COLD nf_status fail_parse(const char *name, const char *text, size_t n, size_t offset, nf_status blame,
                                    const json_error_t *error)
{
    char what[640], token[280], reason[280];
    bool at_end = json_error_code(error) == json_error_premature_end_of_input;
    if (offset > n || at_end)
        offset = n;
    else if (offset >= 2 && strncmp(error->text, "invalid escape", 14) == 0)
        offset -= 2; /* it read the backslash and what follows */
    struct nf_json_token t = token_before(text, n, offset, at_end);
    nf_str_shown(token, text + t.begin, t.end - t.begin);
    if (json_error_code(error) == json_error_duplicate_key) {
        snprintf(what, sizeof what, "key %s is given twice in one object", token);
        return fail_at(name, text, t.begin, blame, what);
    }
    nf_str_shown(reason, error->text, strlen(error->text));
    bool inside = t.begin < n && text[t.begin] == '"' && t.end > offset; /* within a string the place itself is told */
    bool bytes = json_error_code(error) == json_error_invalid_utf8;
    snprintf(what, sizeof what, "not valid JSON: %s", reason);
    return fail_at(name, text, inside || bytes ? offset : t.begin, blame, what);
}

/* What the parser would take, or refuse without saying why. */
static nf_status screened(const char *name, const char *text, size_t n, nf_status blame)
{
    size_t offset;
    struct nf_json_token first;
    char what[64];
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return fail_at(name, text, 0, blame, "begins with a byte order mark\n  Hint: save it as plain UTF-8");
    const char *nul = n ? memchr(text, '\0', n) : NULL;
    if (nul)
        return fail_at(name, text, (size_t)(nul - text), blame, "not valid JSON: a NUL byte");
    if (!nf_json_token_next(text, n, 0, &first))
        return fail_at(name, text, 0, blame, "not valid JSON: empty");
    if (n > INT_MAX / 4)
        return fail_at(name, text, 0, blame, "JSON text of more than 512 MiB");
    if (nf_json_too_deep(text, n, &offset)) {
        snprintf(what, sizeof what, "nested deeper than %d", NF_JSON_DEPTH);
        return fail_at(name, text, offset, blame, what);
    }
    return NF_OK;
}

static nf_status parse(nf_json *d, enum nf_json_flags flags, nf_status blame)
{
    const char *name = d->name, *text = d->text;
    size_t n = d->n;
    bool starved;
    struct nf_json_python python = {0};
    json_error_t error;
    const char *seen = text;
    size_t seen_n = n;
    nf_status status = NF_OK;
    if (flags & NF_JSON_PYTHON) {
        if (!nf_json_python_new(text, n, &python)) {
            status = no_memory(name);
            goto done;
        }
        seen = python.text.text;
        seen_n = python.text.len;
    }
    d->root = load(&d->pool, seen, seen_n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error, &starved);
    if (starved)
        status = no_memory(name);
    else if (!d->root)
        status = fail_parse(name, text, n, nf_json_python_offset(&python, (size_t)error.position), blame, &error);
done:
    nf_json_python_free(&python);
    return status;
}

nf_status nf_json_parse(const char *name, const char *text, size_t n, enum nf_json_flags flags, nf_status blame, nf_json **doc)
{
    NF_TRY(screened(name, text, n, blame));
    nf_json *d = calloc(1, sizeof *d);
    if (!d)
        return no_memory(name);
    nf_json_pool_init(&d->pool);
    d->name = strdup(name);
    d->text = malloc(n);
    nf_status status = d->name && d->text ? NF_OK : no_memory(name);
    if (status == NF_OK) {
        memcpy(d->text, text, n);
        d->n = n;
        status = parse(d, flags, blame);
    }
    if (status != NF_OK)
        nf_json_free(d);
    else
        *doc = d;
    return status;
}

void nf_json_free(nf_json *doc)
{
    if (!doc)
        return;
    nf_json_pool_free(&doc->pool); /* the tree lies in it */
    free(doc->name);
    free(doc->text);
    free(doc);
}

const nf_jvalue *nf_json_root(const nf_json *doc)
{
    return (const nf_jvalue *)doc->root;
}

const char *nf_json_name(const nf_json *doc)
{
    return doc->name;
}

/* Is this string token, escapes resolved, that key? */
static bool spells(const char *token, size_t n, const char *key)
{
    if (!memchr(token, '\\', n))
        return n == strlen(key) + 2 && memcmp(token + 1, key, n - 2) == 0;
    struct nf_json_pool pool;
    bool starved;
    nf_json_pool_init(&pool);
    json_t *s = load(&pool, token, n, JSON_DECODE_ANY, NULL, &starved);
    bool same = s && strcmp(json_string_value(s), key) == 0;
    nf_json_pool_free(&pool);
    return same;
}

void nf_json_locate(const nf_json *doc, const char *key, int *line, int *column)
{
    struct nf_json_token t;
    bool key_next = false; /* behind the outer '{' or one of its commas */
    int depth = 0;
    *line = *column = 0;
    if (!json_is_object(doc->root))
        return;
    for (size_t at = 0; nf_json_token_next(doc->text, doc->n, at, &t); at = t.end) {
        char c = doc->text[t.begin];
        if (key_next && depth == 1 && c == '"' && spells(doc->text + t.begin, t.end - t.begin, key)) {
            nf_json_position(doc->text, t.begin, line, column);
            return;
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        key_next = depth == 1 && (c == '{' || c == ',');
    }
}

/* NULL, or the value of {"__float__": "..."}. */
static const double *tagged(const json_t *v)
{
    static const double infinite = INFINITY, below = -INFINITY, none = NAN;
    const char *s = json_object_size(v) == 1 ? json_string_value(json_object_get(v, "__float__")) : NULL;
    return !s                            ? NULL
           : strcmp(s, "Infinity") == 0  ? &infinite
           : strcmp(s, "-Infinity") == 0 ? &below
           : strcmp(s, "NaN") == 0       ? &none
                                         : NULL;
}

static const json_t *of(const nf_jvalue *v)
{
    return (const json_t *)v;
}

enum nf_json_kind nf_jvalue_kind(const nf_jvalue *v)
{
    switch (json_typeof(of(v))) {
    case JSON_TRUE:
    case JSON_FALSE: return NF_JBOOL;
    case JSON_INTEGER: return NF_JINT;
    case JSON_REAL: return NF_JREAL;
    case JSON_STRING: return NF_JSTRING;
    case JSON_ARRAY: return NF_JARRAY;
    case JSON_OBJECT: return tagged(of(v)) ? NF_JREAL : NF_JOBJECT;
    default: return NF_JNULL;
    }
}

bool nf_jvalue_bool(const nf_jvalue *v)
{
    return json_is_true(of(v));
}

int64_t nf_jvalue_int(const nf_jvalue *v)
{
    return json_integer_value(of(v));
}

bool nf_jvalue_number(const nf_jvalue *v, double *number)
{
    const double *tag = json_is_object(of(v)) ? tagged(of(v)) : NULL;
    if (!tag && !json_is_number(of(v)))
        return false;
    *number = tag ? *tag : json_number_value(of(v));
    return true;
}

const char *nf_jvalue_string(const nf_jvalue *v, size_t *n)
{
    if (n)
        *n = json_string_length(of(v));
    return json_string_value(of(v));
}

size_t nf_jvalue_size(const nf_jvalue *v)
{
    return json_is_array(of(v)) ? json_array_size(of(v)) : json_object_size(of(v));
}

const nf_jvalue *nf_jvalue_at(const nf_jvalue *array, size_t i)
{
    return (const nf_jvalue *)json_array_get(of(array), i);
}

const nf_jvalue *nf_jvalue_get(const nf_jvalue *object, const char *key)
{
    return (const nf_jvalue *)json_object_get(of(object), key);
}

void *nf_jobject_first(const nf_jvalue *object)
{
    return json_object_iter((json_t *)of(object));
}

void *nf_jobject_next(const nf_jvalue *object, void *it)
{
    return json_object_iter_next((json_t *)of(object), it);
}

const char *nf_jobject_key(void *it)
{
    return json_object_iter_key(it);
}

const nf_jvalue *nf_jobject_value(void *it)
{
    return (const nf_jvalue *)json_object_iter_value(it);
}
