/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h: read a config.json key by key. Faults are collected, so a user sees all of them at once; a key read is a key known,
 * and what nobody read is reported.
 */
#ifndef NEMAFIT_MODEL_CONFIG_H
#define NEMAFIT_MODEL_CONFIG_H

#include "nemafit/json.h"
#include "nemafit/str.h"

struct nf_config {
    const nf_json *doc;
    const nf_jvalue *root;
    nf_str faults;
    int count;
    const char **read; /* keys asked for so far */
    int reads, reads_cap;
};

void nf_config_open(struct nf_config *c, const nf_json *doc);
void nf_config_close(struct nf_config *c);

/* Value of the first of the keys (a NULL-terminated list: newest spelling first) that is there and not null. */
const nf_jvalue *nf_config_find(struct nf_config *c, const char *const *keys, const char **found);

/* A number in [lo, hi]; the fallback if it is absent. NF_REQUIRED as fallback: a fault if it is. */
#define NF_REQUIRED INT64_MIN
int64_t nf_config_int(struct nf_config *c, const char *key, const char *old_key, int64_t fallback, int64_t lo, int64_t hi);
double nf_config_real(struct nf_config *c, const char *key, const char *old_key, double fallback, double lo, double hi);
bool nf_config_bool(struct nf_config *c, const char *key, const char *old_key, bool fallback);
const char *nf_config_string(struct nf_config *c, const char *key, const char *fallback); /* borrowed from the document */

/* One more fault: about a key. */
void nf_config_fault(struct nf_config *c, const char *key, const char *fmt, ...) NF_PRINTF(3, 4);
/* Mark keys that are known and change nothing (NULL-terminated). */
void nf_config_harmless(struct nf_config *c, const char *const *keys);
/* NF_EMODEL with all faults; else NF_OK after a warning that names the keys nobody knows. */
nf_status nf_config_verdict(struct nf_config *c);

#endif
