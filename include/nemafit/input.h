/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.h: read a namelist and command-line overrides into struct nf_params. All errors are collected and told at once, each
 * with file:line:column, the line, a caret and what to do. No value takes effect unless the whole input is valid.
 */
#ifndef NEMAFIT_INPUT_H
#define NEMAFIT_INPUT_H

#include "nemafit/params.h"
#include "nemafit/str.h"

typedef struct nf_input nf_input; /* a parsed input: values and where each came from */

/*
 * nf_input_parse: text is the file's bytes (rank 0 reads, all ranks parse the same); overrides are "group.key=value" words,
 * applied last. Checks types, ranges and the conditions across parameters that need neither model nor mesh. Errors  same:
 * NF_EUSAGE, the diagnosis holds the whole report (at most 20 errors); NF_ENOMEM
 */
nf_status nf_input_parse(const char *file, const char *text, size_t n, char *const *overrides, int n_overrides,
                         nf_input **input);
/* The same for no file: defaults and overrides only (--golden). Required keys may be missing. */
nf_status nf_input_defaults(char *const *overrides, int n_overrides, nf_input **input);
void nf_input_free(nf_input *input);

const struct nf_params *nf_input_params(const nf_input *input);
struct nf_params *nf_input_params_mut(nf_input *input); /* for values that are known later (auto -> chosen) */
bool nf_input_given(const nf_input *input, const char *group, const char *key); /* by the user, not by default */

/* One more error of the same form, for conditions that need model or mesh: points at the key where it was given, or names the
 * default. Collected; nf_input_verdict() makes them the diagnosis and returns NF_EUSAGE (NF_OK if there are none). */
void nf_input_complain(nf_input *input, const char *group, const char *key, const char *hint, const char *fmt, ...)
    NF_PRINTF(5, 6);
nf_status nf_input_verdict(nf_input *input);

/*
 * nf_input_compare: may a run with the input `now` go on from a snapshot that was written with `before`? Every key that must be
 * the same and is not is complained of with both values; keys of the groups parallel, snapshot, export and log, and some others
 * that the table names, are free. `snapshot` is its path, for the message. Both resolved: no 'auto' left where one was chosen.
 * Errors      same: NF_EUSAGE, as nf_input_verdict()
 */
nf_status nf_input_compare(nf_input *now, const nf_input *before, const char *snapshot);

/* The resolved input as a namelist that reproduces the run: every key, defaults marked. */
void nf_input_echo(const nf_input *input, nf_str *out);
/* --describe [group | group.key]: help from the table; name NULL: everything. False: no such name (out has "maybe: ..."). */
bool nf_input_describe(const char *name, nf_str *out);
/* The body of nemafit(5) in man macros, from the table. */
void nf_input_manual(nf_str *out);

#endif
