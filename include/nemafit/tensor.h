/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.h: a view of memory with a shape; the logical parameters of a model and the pieces of them that lie here; the batch;
 * the numbers that change from step to step; how disk tensors map to memory tensors.
 *
 * Letters, fixed for the whole tree:
 *   B sequences   S tokens a sequence   T = B S tokens of a micro-batch   V vocabulary   H hidden width   L layers
 *   E experts     k experts a token     F expert width     X expert input width     C channels of a convolution
 *   n groups (Mamba) G   state N   heads h   head size P (Mamba) or D (attention)   Q chunk length
 * Local extents carry the same letter in lower case or the suffix _local.
 */
#ifndef NEMAFIT_TENSOR_H
#define NEMAFIT_TENSOR_H

#include "nemafit/arena.h"
#include "nemafit/device.h"

/* ---- views --------------------------------------------------------------------------------------------------------- */

/* Up to three dimensions, the last contiguous; strides in elements. Plain data, shared with the plug-in. */
typedef struct nf_tensor {
    void *data;
    nf_dtype dtype;
    int nd;
    int64_t dim[3];
    int64_t stride[2]; /* of dim[0] and, with nd = 3, of dim[1] */
} nf_tensor;

nf_tensor nf_vector(void *data, nf_dtype t, int64_t n);
nf_tensor nf_matrix(void *data, nf_dtype t, int64_t rows, int64_t cols, int64_t stride);
nf_tensor nf_cube(void *data, nf_dtype t, int64_t n, int64_t rows, int64_t cols);
nf_tensor nf_columns(nf_tensor a, int64_t first, int64_t count); /* of a matrix */
nf_tensor nf_rows(nf_tensor a, int64_t first, int64_t count);    /* of a matrix or along dim[0] */
int64_t nf_tensor_count(const nf_tensor *a);
bool nf_tensor_dense(const nf_tensor *a);                     /* no gaps between rows */
const char *nf_tensor_show(char out[96], const nf_tensor *a); /* "fp32 [4, 128] stride 256", for messages */

/* A fresh dense matrix (rows x cols) or cube on an arena. Errors: local NF_ENOMEM. */
nf_status nf_tensor_new(nf_arena *arena, enum nf_end end, const char *what, nf_dtype t, int64_t rows, int64_t cols,
                        nf_tensor *out);
nf_status nf_tensor_new3(nf_arena *arena, enum nf_end end, const char *what, nf_dtype t, int64_t n, int64_t rows, int64_t cols,
                         nf_tensor *out);

/* ---- parameters ---------------------------------------------------------------------------------------------------- */

enum nf_spread {
    NF_DENSE, /* whole on every rank; its gradient is summed over world */
    NF_EXPERT /* dim[0] = experts, split over ep in equal contiguous parts; gradient summed over edp */
};

/* A logical tensor of the model: what checkpoints, optimizer, snapshots and random keys speak of. Plain data. */
typedef struct nf_param_desc {
    const char *name; /* as on disk where one disk tensor is one logical tensor; experts: "...experts.up_proj" */
    nf_dtype dtype;   /* in memory */
    int nd;
    int64_t dim[3];
    enum nf_spread spread;
    bool frozen; /* by model.freeze, or a buffer */
    bool decay;
    bool buffer; /* never has a gradient (router correction bias) */
    bool reused; /* used more than once in a forward (tied, repeated): its gradient is written several times a micro-batch */
    int unit;    /* of which it is part */
} nf_param_desc;

/* A 1-D range of a logical tensor that lies on this rank, at an offset of a flat run. Tensors begin on NF_ALIGN bytes. */
typedef struct nf_piece {
    int param;            /* index of its nf_param_desc */
    int64_t first, count; /* elements of the logical tensor (row-major) */
    int64_t flat;         /* element offset in the run */
} nf_piece;

/* What others see of a parameter: the description and where its piece lies now. io is handed an array of these. */
typedef struct nf_named {
    const nf_param_desc *desc;
    nf_piece piece;
    void *data; /* of the piece's first element */
    /* Of a bf16 weight whose fp32 value is known: the remainder, which makes it one together with data (nf_join_f32), or the
     * value itself. Both NULL: data is all there is. */
    int16_t *low;
    float *master;
} nf_named;

/* A gradient to be written: {tensor, accumulate}. data NULL: not wanted (frozen). Overwriting writes every element, zeros
 * included. */
typedef struct nf_grad {
    nf_tensor t;
    bool accumulate;
} nf_grad;

/* A parameter as a layer sees it now. Residency moves w and g; layers never keep copies. */
typedef struct nf_param {
    nf_tensor w;
    nf_grad g;
    int desc; /* index of its nf_param_desc; -1: this model has no such parameter */
} nf_param;

/* The gradient for one use: accumulates from the second use of its buffer on, so that repeats, ties and chunks need no
 * thought. */
static inline nf_grad nf_grad_use(nf_param *p)
{
    nf_grad use = p->g;
    p->g.accumulate = true;
    return use;
}
static inline bool nf_has(const nf_param *p)
{
    return p->desc >= 0;
}

/* ---- disk <-> memory ----------------------------------------------------------------------------------------------- */

enum nf_map_kind {
    NF_MAP_WHOLE, /* the disk tensor is the logical tensor; extra dims of 1 on disk are allowed ([C,1,K] is [C,K]) */
    NF_MAP_ROW,   /* the disk tensor is element `index` of dim[0] of the logical tensor */
    NF_MAP_BAND,  /* rows [row0, row0 + rows) of element `index` (gate and up of a fused pair) */
    NF_MAP_TRANSPOSE,
    NF_MAP_INTERLEAVE
};

/* One disk tensor. `name` is what is written; a reader tries aliases through the family's own function. */
typedef struct nf_map_row {
    const char *name;
    int param;
    enum nf_map_kind kind;
    int64_t index, row0, rows;
    int nd; /* shape on disk */
    int64_t dim[4];
} nf_map_row;

/* A family's declaration of its checkpoint: rows, published-name variants, and what passes through untouched. */
typedef struct nf_weight_map {
    const nf_map_row *row;
    int64_t rows;
    /* Canonical name of a name found on disk, in `out` (>= 1024 bytes); false: not a variant, use it as it is. */
    bool (*canonical)(const char *found, char *out, size_t size);
    const char *const *pass; /* patterns of tensors that are kept and written back untouched; NULL-terminated */
    /* A fused 3-D tensor found where one a row is declared ("...experts.up_proj"): logical parameter index, or -1. */
    const char *const *optional; /* patterns of tensors that may be absent; NULL-terminated */
} nf_weight_map;

/* ---- batch --------------------------------------------------------------------------------------------------------- */

/* A micro-batch of this rank, in device memory at addresses fixed for the run. Rows may be 0 (T = 0 joins every collective). */
typedef struct nf_batch {
    int64_t rows, len;         /* B, S; T = rows * len */
    const int32_t *ids;        /* [T] */
    const int32_t *target;     /* [T] next token, -100 not scored; formed once by io/dataset */
    const int32_t *segment;    /* [T] 0 padding, then 1, 2, ... along a row; NULL: one segment a row */
    const int32_t *position;   /* [T] within the segment; NULL: t mod S */
    const int64_t *global_row; /* [rows] number of the row in the step's global batch plan: keys random numbers */
    int mtp_depth;
    const int32_t *const *mtp_ids;    /* [mtp_depth][T] */
    const int32_t *const *mtp_target; /* [mtp_depth][T] */
} nf_batch;

/* How rows of tokens lie: passed to every op that mixes tokens. */
typedef struct nf_seq {
    int64_t rows, len;
    const int32_t *segment; /* as in nf_batch */
    const int32_t *position;
} nf_seq;

/* ---- what changes from step to step ---------------------------------------------------------------------------------- */

/* One struct in device memory, filled from a pinned ring before each micro-batch; ops take by value only what is constant
 * for the run, so a captured micro-step can be replayed. */
struct nf_step_vars {
    int64_t step;     /* 0-based number of the optimizer step */
    int32_t micro;    /* micro-batch of this rank within it */
    uint32_t epoch;   /* of the barriers between windows; grows by one an exchange */
    float lr;         /* of this step */
    float loss_scale; /* 1 / n, n = scored targets of the whole step over all ranks; 0 if n = 0 */
    float mtp_scale;  /* lambda / (depth n) */
    float aux_scale;  /* coefficient / (micro-batches x ranks) */
};

/* Written by nf_decide, read by nf_adamw; on the device, and in snapshots (t). */
struct nf_decision {
    double norm_sq; /* of the true global gradient, each expert once */
    double loss;    /* summed over ranks and micro-batches; already divided by n */
    double mtp_loss;
    double aux_loss;
    float clip_scale; /* min(1, clip / (norm + 1e-6)); 1 without clipping */
    int32_t skip;     /* 1: loss or norm not finite, the update is not applied */
    int32_t t;        /* updates applied, including this one unless skipped */
    int32_t pad;
};

#endif
