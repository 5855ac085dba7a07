/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text before and beside the parser: what the parser cannot be told (depth, byte order mark, Python's bare NaN and
 * Infinity), and where things lie. Offsets are bytes of the text.
 */
#ifndef NEMAFIT_BASE_JSON_SCAN_H
#define NEMAFIT_BASE_JSON_SCAN_H

#include "nemafit/base.h"
#include "nemafit/str.h"

enum { NF_JSON_DEPTH = 64 };

/* A token: a string with its quotes, one of {}[],: or a run of other bytes. */
struct nf_json_token {
    size_t begin, end;
    bool closed; /* of a string: its last quote was found */
};

/* The next token from `at` on; false: only white space is left. */
bool nf_json_token_next(const char *text, size_t n, size_t at, struct nf_json_token *token);

void nf_json_position(const char *text, size_t offset, int *line, int *column);

/* What was written for one token of the original: [begin, end) of the new text, and how much longer the text is from `end` on.
 */
struct nf_json_edit {
    size_t begin, end, longer;
};

/* A text that the parser takes, and the way back. `edit` is malloc'd. */
struct nf_json_python {
    nf_str text;
    struct nf_json_edit *edit;
    int edits, cap;
};

/* Bare NaN, Infinity and -Infinity become the tagged form, integers beyond 64 bits become reals. false: no memory. */
bool nf_json_python_new(const char *text, size_t n, struct nf_json_python *out);
void nf_json_python_free(struct nf_json_python *p);
size_t nf_json_python_offset(const struct nf_json_python *p, size_t offset); /* of the original */

/* First place where [ and { are nested deeper than NF_JSON_DEPTH. */
bool nf_json_too_deep(const char *text, size_t n, size_t *offset);

#endif
