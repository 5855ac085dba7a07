/* SPDX-License-Identifier: Apache-2.0 */
/* families.h: what a family file offers; one row each in the table of model.c. */
#ifndef NEMAFIT_MODEL_FAMILIES_H
#define NEMAFIT_MODEL_FAMILIES_H

#include "build.h"
#include "config.h"

struct nf_family {
    const char *type, *architecture; /* model_type and architectures[0] of config.json */
    /* Reads the config, declares blocks and parameters. Faults go into c; the caller gives the verdict. */
    nf_status (*build)(struct nf_config *c, struct nf_build *b);
};

extern const struct nf_family nf_family_nemotron_h;

#endif
