/* SPDX-License-Identifier: Apache-2.0 */
/* tune.h: the algorithms of a GPU's products, chosen by timing, as part of the run. */
#ifndef NEMAFIT_TRAIN_TUNE_H
#define NEMAFIT_TRAIN_TUNE_H

#include "engine.h"

#define TUNING_FILE "products.tuning" /* in the run's directory, and in every snapshot */

/* What the run's GPUs chose, as nf_ops_choices() gives it. A CPU makes nothing of it and hands it on. Plain data; n 0: none. */
struct choices {
    void *bytes;
    size_t n;
};

/*
 * On a GPU, before the first step: kernels are warm, and products have the algorithms of `known`, without these those that
 * `dir` holds from earlier; what is new, or of another library or kind of GPU (which is told), rank 0 times. `dir` then holds
 * them. On a CPU nothing happens. Collective over world. Errors: agreed NF_EIO, NF_ENOMEM, NF_EDEVICE
 */
nf_status nf_engine_tune(struct engine *e, const char *dir, const struct choices *known);

/* Those of the device as of now, if it is a GPU; else `known` stays. Local. Errors  NF_ENOMEM */
nf_status nf_choices_refresh(const struct engine *e, struct choices *known);
nf_status nf_choices_set(struct choices *known, const void *bytes, size_t n); /* a copy of bytes */
void nf_choices_free(struct choices *known);

#endif
