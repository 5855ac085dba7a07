/* SPDX-License-Identifier: Apache-2.0 */
/* ssd_bwd.cuh: what the parts of the scan's backward share. */
#ifndef NEMAFIT_OPS_CUDA_SSD_BWD_CUH
#define NEMAFIT_OPS_CUDA_SSD_BWD_CUH

#include "ssd.cuh"

template <typename T> struct ssd_grads {
    ssd_data<T> d;
    ssd_in<T> g;       /* dy */
    const T *entering; /* kept by the forward */
    float *r;          /* gradient of the state that leaves each chunk, as the states lie */
    float *w;          /* gradient of C BT, summed over the heads of a group; as cb lies */
    float *ddt, *da, *skip, *o,
        *e;               /* [heads][T]: direct part of ddt; gradient of a; g . x; shares of da (ops/cpu/ssd_bwd_chunk.c) */
    const float *through; /* D */
    T *dx, *db, *dc;
    int64_t ld_dx, ld_db, ld_dc;
};

/* Each chunk by itself: dx, db, dc, and ddt, da, skip for the sums over tokens. */
template <typename T> nf_status ssd_chunk_gradients(cudaStream_t s, const ssd_grads<T> &w);

#endif
