/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h: "is it still the same?": a 64-bit digest (FNV-1a) of things that may change by mistake. It does not resist whoever
 * wants to deceive.
 */
#ifndef NEMAFIT_DIGEST_H
#define NEMAFIT_DIGEST_H

#include "nemafit/base.h"

typedef struct nf_digest {
    uint64_t value;
} nf_digest;

nf_digest nf_digest_new(void);
void nf_digest_add(nf_digest *d, const void *bytes, size_t n);
void nf_digest_text(nf_digest *d, const char *text); /* with its end, so that "a" "bc" is not "ab" "c"; NULL counts as "" */
void nf_digest_number(nf_digest *d, int64_t number);
/*
 * nf_digest_file: the size of a file and what is in it: all of it up to 32 MiB; of larger ones 32 pieces of 1 MiB, spread
 * evenly, the first and the last among them. Collective  no      Errors  local: NF_EMISSING, NF_EPERM, NF_EIO, NF_ENOMEM
 */
nf_status nf_digest_file(nf_digest *d, const char *path);
void nf_digest_show(const nf_digest *d, char hex[17]);

#endif
