/* SPDX-License-Identifier: Apache-2.0 */
/* ssd_bwd.h: what the parts of the scan's backward share. */
#ifndef NF_OPS_CPU_SSD_BWD_H
#define NF_OPS_CPU_SSD_BWD_H

#include "ssd.h"

struct ssd_bwd {
    struct ssd_job j;
    nf_tensor g, dx, db, dc; /* fp32; g is dy */
    const float *d;
    float *r;               /* gradient of the state that leaves each chunk, as the states lie */
    float *ddt, *da, *skip; /* [heads, T]: direct part of ddt; gradient of a; g . x */
};

int64_t nf_cpu_ssd_bwd_lane(const struct ssd_cut *c);
void nf_cpu_ssd_bwd_chunk(void *ssd_bwd, int64_t task, int64_t lane);
/* to [carried, heads P] = exp(s_i) g_i */
void nf_cpu_ssd_pack_g(const struct ssd_bwd *w, const struct ssd_chunk *k, int64_t h0, int64_t heads, float *to);

#endif
