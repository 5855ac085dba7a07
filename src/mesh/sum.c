/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums over ranks in rank order. The order of additions depends on the number of ranks alone, never on what arrives first or on
 * how the array was cut: the same mesh gives the same bits. Blocks are small enough to stay in the first-level cache.
 */
#include "comm.h"

enum { BLOCK = 1024 };

#define SUM(name, type, wide, widen, narrow)                                                                                   \
    static void name(void *out, bool accumulate, const void *mine, int rank, const char *others, size_t stride, int size,      \
                     int64_t n)                                                                                                \
    {                                                                                                                          \
        wide sum[BLOCK];                                                                                                       \
        for (int64_t at = 0; at < n; at += BLOCK) {                                                                            \
            int m = n - at < BLOCK ? (int)(n - at) : BLOCK;                                                                    \
            type *o = (type *)out + at;                                                                                        \
            for (int r = 0; r < size; r++) {                                                                                   \
                const char *from = r == rank ? mine : others + (size_t)(r < rank ? r : r - 1) * stride;                        \
                const type *p = (const type *)(const void *)from + at;                                                         \
                for (int i = 0; i < m; i++)                                                                                    \
                    sum[i] = r == 0 ? widen(p[i]) : sum[i] + widen(p[i]);                                                      \
            }                                                                                                                  \
            for (int i = 0; i < m; i++)                                                                                        \
                o[i] = narrow(accumulate ? widen(o[i]) + sum[i] : sum[i]);                                                     \
        }                                                                                                                      \
    }

SUM(sum_f32, float, float, , )
SUM(sum_f64, double, double, , )
SUM(sum_i32, int32_t, int32_t, , )
SUM(sum_bf16, uint16_t, float, nf_bf16_to_f32, nf_f32_to_bf16)

void nf_comm_sum(void *out, bool accumulate, const void *mine, int rank, const void *others, size_t stride, int size, int64_t n,
                 nf_dtype dtype)
{
    if (dtype == NF_F32)
        sum_f32(out, accumulate, mine, rank, others, stride, size, n);
    else if (dtype == NF_F64)
        sum_f64(out, accumulate, mine, rank, others, stride, size, n);
    else if (dtype == NF_I32)
        sum_i32(out, accumulate, mine, rank, others, stride, size, n);
    else
        sum_bf16(out, accumulate, mine, rank, others, stride, size, n);
}
