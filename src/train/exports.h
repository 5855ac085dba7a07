/* SPDX-License-Identifier: Apache-2.0 */
/* exports.h: the list of exports that a run has made, in its directory of snapshots `dir`. Not collective: rank 0 keeps it. */
#ifndef NEMAFIT_TRAIN_EXPORTS_H
#define NEMAFIT_TRAIN_EXPORTS_H

#include "nemafit/str.h"

nf_status nf_exports_add(const char *dir, int64_t step, const char *path);
/* Was it made, and is it still there? */
nf_status nf_exports_has(const char *dir, int64_t step, const char *path, bool *has);
/* Forget those behind step `last`: the run goes on from there. */
nf_status nf_exports_cut(const char *dir, int64_t last);

#endif
