/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssd.cuh: what both directions of the scan share on the GPU. The phases are those of ops/cpu/ssd.c, each a kernel of 64 x 64
 * tiles (tile.cuh); chunks are of NF_SSD_Q tokens. In a chunk, first[i] is the place of the first token of i's segment, -1 if
 * the segment began before the chunk: two tokens of a chunk are of one segment exactly if their first are equal.
 */
#ifndef NEMAFIT_OPS_CUDA_SSD_CUH
#define NEMAFIT_OPS_CUDA_SSD_CUH

#include "tile.cuh"

struct ssd_cut {
    int64_t T;
    int S, chunks, P, N, heads, groups, ratio; /* chunks of a row */
    int all;                                   /* chunks of all rows */
};

template <typename T> struct ssd_in {
    const T *p;
    int64_t ld;
};

/* The inputs of both directions and what ssd_prepare.cu makes of them. */
template <typename T> struct ssd_data {
    ssd_cut cut;
    ssd_in<T> x, b, c;
    float *dt, *hi, *lo; /* [heads][T] */
    int32_t *first;      /* [T] */
    float *cb;           /* [chunks][groups][i][j], of tiles with j <= i */
};

/* One chunk as a block of threads sees it. */
struct ssd_chunk {
    int number; /* within its row */
    int n;      /* tokens */
    int64_t t0; /* its first token in the batch */
    bool last;  /* of its row */
};

__device__ __forceinline__ ssd_chunk ssd_chunk_of(const ssd_cut &c, int all)
{
    const int row = all / c.chunks, number = all % c.chunks, in0 = number * NF_SSD_Q;
    return {number, c.S - in0 < NF_SSD_Q ? c.S - in0 : NF_SSD_Q, (int64_t)row * c.S + in0, number == c.chunks - 1};
}

/* exp(s_i - s_j) for pairs in order; masked pairs cannot overflow. */
__device__ __forceinline__ float ssd_decay(float hi_i, float lo_i, float hi_j, float lo_j)
{
    const float e = (hi_i - hi_j) + (lo_i - lo_j);
    return expf(e < 0.0f ? e : 0.0f);
}

/* Numbers of one head for the tokens of one chunk, in shared memory. Beyond n: first -2, which no token has. */
struct ssd_head {
    float dt[NF_SSD_Q], hi[NF_SSD_Q], lo[NF_SSD_Q];
    int32_t first[NF_SSD_Q];
};

template <typename T>
__device__ __forceinline__ void ssd_load_head(ssd_head &s, const ssd_data<T> &d, const ssd_chunk &k, int h)
{
    for (int i = threadIdx.x; i < NF_SSD_Q; i += NF_TILE_THREADS) {
        const bool in = i < k.n;
        const int64_t at = (int64_t)h * d.cut.T + k.t0 + i;
        s.dt[i] = in ? d.dt[at] : 0.0f;
        s.hi[i] = in ? d.hi[at] : 0.0f;
        s.lo[i] = in ? d.lo[at] : 0.0f;
        s.first[i] = in ? d.first[k.t0 + i] : -2;
    }
    __syncthreads();
}
/* L_ij, or 0 where i does not see j */
__device__ __forceinline__ float ssd_pair(const ssd_head &s, int i, int j)
{
    return j <= i && s.first[i] == s.first[j] && s.first[i] != -2 ? ssd_decay(s.hi[i], s.lo[i], s.hi[j], s.lo[j]) : 0.0f;
}
/* es_i: from the state that enters the chunk to token i */
__device__ __forceinline__ float ssd_enter(const ssd_head &s, int i)
{
    return s.first[i] == -1 ? expf(s.hi[i]) : 0.0f;
}
/* el_j: from token j to the state that leaves the chunk of n tokens */
__device__ __forceinline__ float ssd_leave(const ssd_head &s, int j, int n)
{
    return j < n && s.first[j] == s.first[n - 1] ? ssd_decay(s.hi[n - 1], s.lo[n - 1], s.hi[j], s.lo[j]) : 0.0f;
}

template <typename T> __device__ __forceinline__ float ssd_read(const ssd_in<T> &a, int64_t row, int64_t col)
{
    return nf_to_float(a.p[row * a.ld + col]);
}
__host__ __device__ __forceinline__ int64_t ssd_state_at(const ssd_cut &c, int64_t chunk, int64_t head)
{
    return (chunk * c.heads + head) * c.P * c.N;
}
__host__ __device__ __forceinline__ int ssd_tiles(int n)
{
    return (n + NF_TILE - 1) / NF_TILE;
}

/* Carves the common scratch and fills d; the products are made too. */
template <typename T>
nf_status ssd_prepare(nf_queue *q, nf_carving *scratch, ssd_data<T> *d, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias,
                      nf_in a_log, const nf_ssd_arg *arg);

#endif
