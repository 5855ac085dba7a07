/* SPDX-License-Identifier: Apache-2.0 */
/* grouped.h: groups of expert rows as the host reads them: checked, and counted in rows of the tensors given. */
#ifndef NEMAFIT_OPS_CPU_GROUPED_H
#define NEMAFIT_OPS_CPU_GROUPED_H

#include "nemafit/ops.h"

/* Errors  NF_EBUG: a group lies outside the rows, or names an expert that is not here */
nf_status nf_groups_check(const char *op, const struct nf_groups *groups, int64_t rows, int64_t experts);

static inline int64_t nf_group_begin(const struct nf_groups *groups, int g)
{
    return groups->begin[g] - groups->base;
}
static inline int64_t nf_group_end(const struct nf_groups *groups, int g)
{
    return groups->end[g] - groups->base;
}

/* Few experts: finer tiles, so that threads have something to share. */
static inline int64_t nf_group_tile(int64_t experts, int64_t most)
{
    return experts < 8 ? 256 : most;
}

#endif
