/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.h: what the experts' kernels are told, in plain C. Groups are read on the device: nothing here depends on how many
 * rows an expert got. Shapes and strides in elements.
 */
#ifndef NF_OPS_CUDA_GROUPED_H
#define NF_OPS_CUDA_GROUPED_H

#include "nemafit/ops.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As struct nf_groups: group g is rows [begin[g] - base, end[g] - base) of expert[g]; device arrays. */
struct nf_cuda_groups {
    const int32_t *begin, *end, *expert;
    int count, base;
};

struct nf_cuda_matrix {
    void *data; /* NULL: none */
    int64_t ld;
    bool vec; /* rows start on 16 bytes */
};

/*
 * forward: out = row_weight act(in w + bias), pre the value before act.
 * dgrad: b = in w; dot[tile] = b . act(pre) over the tile's columns; out = row_weight b act'(pre); again = act(pre).
 * Columns of a gated activation's two halves are `cols` apart in w, bias and pre (forward), in pre and out (dgrad).
 */
struct nf_cuda_rows {
    struct nf_cuda_groups groups;
    int rows, cols, depth; /* of the row tensors; of one half of the product; of the sum */
    struct nf_cuda_matrix out, pre, again;
    struct nf_act_arg act;
    const void *bias; /* [experts, bias_ld] of the operands' type, or NULL */
    int64_t bias_ld;
    const float *row_weight; /* [rows] or NULL */
    float *dot;              /* [column tiles, rows] or NULL */
};

/* dw [experts, m, n] = sum over an expert's rows of leftT right: dy and x, or x and dy where weights are stored [K, N]. */
struct nf_cuda_wgrad {
    struct nf_cuda_groups groups;
    int experts, m, n;
    void *dw;
    int64_t ld, expert_ld;
    bool fp32, accumulate, vec; /* vec: bf16 on 16 bytes, or pairs of fp32 on 8, n a multiple of a pair */
};

/* Groups and experts that the kernels on tensor cores have room for. */
enum { NF_CUDA_GROUPS_MOST = 4096, NF_CUDA_EXPERTS_MOST = 1024, NF_CUDA_TILE_ROWS = 128, NF_CUDA_TILE_STEP = 64 };

/*
 * On tensor cores, bf16: tiles of 128 rows x `width` columns (128, 192, 256), of which a gated forward gives half to each half.
 * Maps: nf_cuda_map with the boxes named. Blocks: one a multiprocessor, they share the tiles.
 *   rows    a  in    [rows, depth]               box 128 rows
 *           b  w     [experts, N, depth]         box `width` rows (half of that if gated)      across false
 *                    [experts, depth, N]         box 64 rows                                    across true
 *   wgrad   a  left  [rows, m], b right [rows, n]  box 64 rows
 */
cudaError_t nf_cuda_rows_forward(const struct nf_cuda_rows *call, const CUtensorMap *a, const CUtensorMap *b, int width,
                                 bool across, int blocks, cudaStream_t stream);
cudaError_t nf_cuda_rows_dgrad(const struct nf_cuda_rows *call, const CUtensorMap *a, const CUtensorMap *b, int width,
                               bool across, int blocks, cudaStream_t stream);
cudaError_t nf_cuda_rows_wgrad(const struct nf_cuda_wgrad *call, const CUtensorMap *a, const CUtensorMap *b, int width,
                               int blocks, cudaStream_t stream);

/*
 * The same on plain arithmetic, for fp32 (exact, no TF32) and for shapes that the copies cannot address. `bf16`: the type of
 * all operands. Weight [experts, N, K] with strides; wgrad: left and right [rows, m], [rows, n]; row_weight is of
 * one of them.
 */
struct nf_cuda_operand {
    const void *data;
    int64_t ld, expert_ld;
};
cudaError_t nf_cuda_plain_forward(const struct nf_cuda_rows *call, struct nf_cuda_operand in, struct nf_cuda_operand w,
                                  bool across, bool bf16, int blocks, cudaStream_t stream);
cudaError_t nf_cuda_plain_dgrad(const struct nf_cuda_rows *call, struct nf_cuda_operand in, struct nf_cuda_operand w,
                                bool across, bool bf16, int blocks, cudaStream_t stream);
cudaError_t nf_cuda_plain_wgrad(const struct nf_cuda_wgrad *call, struct nf_cuda_operand left, struct nf_cuda_operand right,
                                const float *row_weight, bool weigh_right, bool bf16, int blocks, cudaStream_t stream);
enum { NF_CUDA_PLAIN_TILE = 64 }; /* rows and columns of a tile: dot has a row for so many columns */

/* drow_weight [rows] = dot summed over its `parts` in order, + dy . bias (NULL: none) of the row's expert. */
cudaError_t nf_cuda_row_dots(float *drow_weight, const float *dot, int parts, int rows, const struct nf_cuda_groups *groups,
                             struct nf_cuda_operand dy, int n, const void *bias, int64_t bias_ld, bool bf16,
                             cudaStream_t stream);
/* dbias [experts, n] = sums of row_weight dy over an expert's rows in order. */
cudaError_t nf_cuda_group_sums(void *dbias, int64_t ld, bool fp32, bool accumulate, int experts, int n,
                               const struct nf_cuda_groups *groups, struct nf_cuda_operand dy, const float *row_weight,
                               bool bf16, cudaStream_t stream);
/* to [rows, n] dense = row_weight from, the rows of groups; bf16. */
cudaError_t nf_cuda_weigh_rows(void *to, struct nf_cuda_operand from, int n, const struct nf_cuda_groups *groups,
                               const float *row_weight, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
