/* SPDX-License-Identifier: Apache-2.0 */
/* config.c: config.json, key by key. See config.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "nemafit/log.h"

void nf_config_open(struct nf_config *c, const nf_json *doc)
{
    *c = (struct nf_config){.doc = doc, .root = nf_json_root(doc)};
}

void nf_config_close(struct nf_config *c)
{
    nf_str_free(&c->faults);
    free(c->read);
    c->read = NULL;
}

static void know(struct nf_config *c, const char *key)
{
    if (c->reads == c->reads_cap) {
        int cap = c->reads_cap ? 2 * c->reads_cap : 128;
        const char **more = realloc(c->read, (size_t)cap * sizeof *more);
        if (!more)
            return; /* a key too many in a warning */
        c->read = more;
        c->reads_cap = cap;
    }
    c->read[c->reads++] = key;
}

const nf_jvalue *nf_config_find(struct nf_config *c, const char *const *keys, const char **found)
{
    const nf_jvalue *hit = NULL;

    for (; *keys; keys++) {
        const nf_jvalue *v = nf_jvalue_get(c->root, *keys);
        know(c, *keys);
        if (!hit && v && nf_jvalue_kind(v) != NF_JNULL) {
            hit = v;
            if (found)
                *found = *keys;
        }
    }
    return hit;
}

void nf_config_fault(struct nf_config *c, const char *key, const char *fmt, ...)
{
    char text[512];
    int line = 0, column = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    nf_json_locate(c->doc, key, &line, &column);
    if (c->count++)
        nf_str_add(&c->faults, "\n");
    if (line)
        nf_str_addf(&c->faults, "%s:%d:%d: '%s': %s", nf_json_name(c->doc), line, column, key, text);
    else
        nf_str_addf(&c->faults, "%s: '%s': %s", nf_json_name(c->doc), key, text);
}

int64_t nf_config_int(struct nf_config *c, const char *key, const char *old_key, int64_t fallback, int64_t lo, int64_t hi)
{
    const char *keys[] = {key, old_key, NULL}, *found = key;
    const nf_jvalue *v = nf_config_find(c, keys, &found);
    double real;
    int64_t n;

    if (!v) {
        if (fallback == NF_REQUIRED)
            nf_config_fault(c, key, "missing; an integer from %" PRId64 " to %" PRId64 " is needed", lo, hi);
        return fallback == NF_REQUIRED ? lo : fallback;
    }
    if (nf_jvalue_kind(v) == NF_JINT)
        n = nf_jvalue_int(v);
    else if (nf_jvalue_number(v, &real) && real >= -9e15 && real <= 9e15 && real == (double)(int64_t)real)
        n = (int64_t)real;
    else {
        nf_config_fault(c, found, "an integer is needed");
        return lo;
    }
    if (n < lo || n > hi) {
        nf_config_fault(c, found, "%" PRId64 " is outside %" PRId64 " .. %" PRId64, n, lo, hi);
        return lo;
    }
    return n;
}

double nf_config_real(struct nf_config *c, const char *key, const char *old_key, double fallback, double lo, double hi)
{
    const char *keys[] = {key, old_key, NULL}, *found = key;
    const nf_jvalue *v = nf_config_find(c, keys, &found);
    double x;

    if (!v)
        return fallback;
    if (!nf_jvalue_number(v, &x)) {
        nf_config_fault(c, found, "a number is needed");
        return fallback;
    }
    if (!(x >= lo && x <= hi)) {
        nf_config_fault(c, found, "%g is outside %g .. %g", x, lo, hi);
        return fallback;
    }
    return x;
}

bool nf_config_bool(struct nf_config *c, const char *key, const char *old_key, bool fallback)
{
    const char *keys[] = {key, old_key, NULL}, *found = key;
    const nf_jvalue *v = nf_config_find(c, keys, &found);

    if (!v)
        return fallback;
    if (nf_jvalue_kind(v) != NF_JBOOL) {
        nf_config_fault(c, found, "true or false is needed");
        return fallback;
    }
    return nf_jvalue_bool(v);
}

const char *nf_config_string(struct nf_config *c, const char *key, const char *fallback)
{
    const char *keys[] = {key, NULL};
    const nf_jvalue *v = nf_config_find(c, keys, NULL);

    if (!v)
        return fallback;
    if (nf_jvalue_kind(v) != NF_JSTRING) {
        nf_config_fault(c, key, "a string is needed");
        return fallback;
    }
    return nf_jvalue_string(v, NULL);
}

void nf_config_harmless(struct nf_config *c, const char *const *keys)
{
    for (; *keys; keys++)
        know(c, *keys);
}

static bool is_known(const struct nf_config *c, const char *key)
{
    for (int i = 0; i < c->reads; i++)
        if (!strcmp(c->read[i], key))
            return true;
    return false;
}

nf_status nf_config_verdict(struct nf_config *c)
{
    nf_str unknown = {0};

    if (c->count)
        return nf_fail(NF_EMODEL, "%s", c->faults.text ? c->faults.text : "config.json is not usable");
    for (void *it = nf_jobject_first(c->root); it; it = nf_jobject_next(c->root, it)) {
        char shown[280];
        const char *key = nf_jobject_key(it);
        if (!is_known(c, key))
            nf_str_addf(&unknown, "%s%s", unknown.len ? ", " : "", nf_str_shown(shown, key, strlen(key)));
    }
    if (unknown.len)
        nf_warn("%s: keys unknown here are kept and have no effect: %s", nf_json_name(c->doc), unknown.text);
    nf_str_free(&unknown);
    return NF_OK;
}
