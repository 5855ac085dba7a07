/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h: a thin, strict face over jansson. Documents are read-only trees.
 *
 * Strict: duplicate keys, trailing bytes, byte-order marks, NUL in strings, invalid UTF-8 and deep nesting are refused.
 * Lenient where Python is (NF_JSON_PYTHON): bare Infinity, -Infinity, NaN outside strings; and the tagged form
 * {"__float__": "Infinity"} counts as a number everywhere.
 */
#ifndef NEMAFIT_JSON_H
#define NEMAFIT_JSON_H

#include "nemafit/base.h"

typedef struct nf_json nf_json;     /* a document; owns its values */
typedef struct nf_jvalue nf_jvalue; /* a value in it; borrowed */

enum nf_json_flags { NF_JSON_STRICT = 0, NF_JSON_PYTHON = 1 };
enum nf_json_kind { NF_JNULL, NF_JBOOL, NF_JINT, NF_JREAL, NF_JSTRING, NF_JARRAY, NF_JOBJECT };

/*
 * nf_json_parse: text of n bytes (need not end in NUL); `name` is the file, for messages; kept as a copy.
 * Errors  same: the status given as `blame` (NF_EDATA, NF_EMODEL ...) with name:line:column; NF_ENOMEM
 */
nf_status nf_json_parse(const char *name, const char *text, size_t n, enum nf_json_flags flags, nf_status blame, nf_json **doc);
void nf_json_free(nf_json *doc);
const nf_jvalue *nf_json_root(const nf_json *doc);
const char *nf_json_name(const nf_json *doc);
/* Line and column of the first occurrence of "key" at the top level; {0,0} if absent. For messages. */
void nf_json_locate(const nf_json *doc, const char *key, int *line, int *column);

enum nf_json_kind nf_jvalue_kind(const nf_jvalue *v);
bool nf_jvalue_bool(const nf_jvalue *v);
int64_t nf_jvalue_int(const nf_jvalue *v);                 /* of NF_JINT */
bool nf_jvalue_number(const nf_jvalue *v, double *number); /* int, real or tagged; false: not a number */
const char *nf_jvalue_string(const nf_jvalue *v, size_t *n);
size_t nf_jvalue_size(const nf_jvalue *v); /* elements of an array or members of an object */
const nf_jvalue *nf_jvalue_at(const nf_jvalue *array, size_t i);
const nf_jvalue *nf_jvalue_get(const nf_jvalue *object, const char *key); /* NULL: no such member */

/* for (void *it = nf_jobject_first(o); it; it = nf_jobject_next(o, it)) ... in the order of the file */
void *nf_jobject_first(const nf_jvalue *object);
void *nf_jobject_next(const nf_jvalue *object, void *it);
const char *nf_jobject_key(void *it);
const nf_jvalue *nf_jobject_value(void *it);

#endif
