/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h: one prototype an op: what layers call. An op is cut where the best fused kernel is cut, so speed swaps kernels, not
 * layers. src/ops/<op>.c checks the conditions once and calls the slot of the queue's backend (src/ops/backend.h).
 *
 * For all ops
 *   Order       queue, outputs, inputs, scalars
 *   Shapes      checked; a mismatch is NF_EBUG with both shapes. T = 0 rows are allowed everywhere and still write parameter
 *               gradients (zeros, when not accumulating)
 *   Strides     matrices may be column slices of wider ones (nf_columns); the last dimension is contiguous
 *   Types       activations fp32 or bf16, all of one call alike unless said; sums, norms, softmax, states in fp32
 *   Memory      scratch only from the queue's work arena, released before return; sizes follow from shapes alone
 *   Gradients   nf_grad: {tensor, accumulate}; data NULL: not wanted. Not accumulating writes every element
 *   Dry queue   checks, takes and releases scratch, counts; launches nothing and touches no data
 *   Collective  no
 *   Same bits   fixed order of all sums for one shape and one thread count; no float atomics
 *   Aliasing    outputs overlap no input unless said
 */
#ifndef NEMAFIT_OPS_H
#define NEMAFIT_OPS_H

#include "nemafit/choices.h"
#include "nemafit/rng.h"
#include "nemafit/tensor.h"

typedef const nf_tensor *nf_in;
typedef const nf_tensor *nf_out; /* the view is constant, its data are written */

/* Give a device the backend that fits it ("cpu"; "cuda" from the plug-in; dry devices get none). Checks that the BLAS runs
 * with the device's threads. Errors: local NF_EDEVICE */
nf_status nf_ops_attach(nf_device *device);
/* For people: the kernels that the BLAS and our vector loops use ("OpenBLAS SkylakeX, loops avx512"). */
const char *nf_ops_describe(const nf_device *device, char out[160]);
/*
 * OpenBLAS older than the processor falls back to SSE kernels, five to seven times slower, silently. Called by main before
 * MPI_Init: if that happened and OPENBLAS_CORETYPE is not set, sets it and starts the program again, once. Returns otherwise.
 */
void nf_ops_mend_blas(char **argv);

/*
 * Algorithms chosen by timing: a GPU's products. Other algorithms give other bits, so the choices belong to the run, and all
 * ranks take those of one. The host has none.
 *
 * nf_ops_undecided      shapes met so far that no choice was made for: they have the library's own. The host: 0
 * nf_ops_choose         times what there is for them; `memory` of the device is written over; the host waits
 * nf_ops_choices        all choices as bytes, malloc'd; the host: none
 * nf_ops_choices_fit    were these bytes made with this version of the library, on a GPU of this kind? Otherwise `why` says
 *                       what they are of. The host: false
 * nf_ops_take_choices   those of another process; *taken false: of another version of the library, or the host
 * Not collective. Errors  local NF_ENOMEM, NF_EDEVICE
 */
int nf_ops_undecided(const nf_device *device);
nf_status nf_ops_choose(nf_queue *q, void *memory, size_t bytes);
nf_status nf_ops_choices(const nf_device *device, void **bytes, size_t *n);
bool nf_ops_choices_fit(const nf_device *device, const void *bytes, size_t n, char why[320]);
nf_status nf_ops_take_choices(const nf_device *device, const void *bytes, size_t n, bool *taken);

/* Expert groups start on multiples of this many rows (1 on the host). */
int nf_op_row_pad(const nf_queue *queue);

/* ---- embedding ------------------------------------------------------------------------------------------------------- */

/* y [T, H] = w [V, H] rows by id */
nf_status nf_embed(nf_queue *q, nf_out y, const int32_t *ids, nf_in w);
/* dw [V, H]: sums over tokens in ascending token order; row pad_id is zeroed unless -1 */
nf_status nf_embed_bwd(nf_queue *q, nf_grad dw, const int32_t *ids, nf_in dy, int32_t pad_id);

/* ---- norms ----------------------------------------------------------------------------------------------------------- */

enum nf_norm_rounding { NF_ROUND_XHAT /* round, then times w */, NF_ROUND_ONCE };
/*
 * stream = prev + branch; y = stream / sqrt(mean(stream^2) + eps) * w, row by row (models.md: RMSNorm).
 * Shapes      stream, prev, branch, y [T, H]; w [H]; rstd [T] fp32
 * branch NULL: no sum, and stream NULL (prev is the stream). stream may be prev or branch.
 */
nf_status nf_add_norm(nf_queue *q, nf_out stream, nf_out y, float *rstd, nf_in prev, nf_in branch, nf_in w, double eps,
                      enum nf_norm_rounding rounding);
/* dstream += (accumulate) or = the norm's gradient: it is the gradient of prev and of branch alike.
 * With p = w dy, xhat = stream rstd: dx = rstd (p - xhat mean(p xhat)); dw = sum dy xhat */
nf_status nf_add_norm_bwd(nf_queue *q, nf_out dstream, bool accumulate, nf_grad dw, nf_in dy, nf_in stream, const float *rstd,
                          nf_in w);

/* Gate first, then norm per group of I / groups channels: g = y silu(z); o = g / sqrt(mean_group(g^2) + eps) w.
 * Shapes  o, y, z [T, I]; w [I]; rstd [T, groups] fp32.  Source  Mamba-2 (norm_before_gate = false) */
nf_status nf_gated_norm(nf_queue *q, nf_out o, float *rstd, nf_in y, nf_in z, nf_in w, int groups, double eps);
/* o_again: NULL, or rebuilt for the next wgrad. dy, dz [T, I] */
nf_status nf_gated_norm_bwd(nf_queue *q, nf_out dy, nf_out dz, nf_out o_again, nf_grad dw, nf_in d_o, nf_in y, nf_in z,
                            const float *rstd, nf_in w, int groups);

/* ---- linear ---------------------------------------------------------------------------------------------------------- */

enum nf_act { NF_ACT_NONE, NF_ACT_RELU2, NF_ACT_SWIGLU, NF_ACT_SWIGLU_CLAMP };
struct nf_act_arg {
    enum nf_act kind;
    float alpha, limit; /* SWIGLU_CLAMP */
};
struct nf_linear_arg {
    nf_in bias; /* [N] or NULL */
    struct nf_act_arg act;
    nf_in add;      /* added to the result, or NULL; may be the output itself */
    bool fp32_math; /* fp32 arithmetic on bf16 operands (routers) */
};
/* y = act(x wT + bias) + add. x [T, K], w [N, K], y [T, N] (SwiGLU: w has gate rows then up rows, y [T, N/2]).
 * pre [T, N]: the value before act, or NULL. */
nf_status nf_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg);
/* dx = (dy w) act'(pre) + add. dy [T, N], w [N, K], dx [T, K]; pre [T, K] of the layer below (SwiGLU: pre, dx [T, 2K]) or NULL.
 * act_again [T, K]: act(pre), rebuilt for that layer's wgrad, or NULL. arg->bias unused. */
nf_status nf_linear_dgrad(nf_queue *q, nf_out dx, nf_out act_again, nf_in dy, nf_in w, nf_in pre,
                          const struct nf_linear_arg *arg);
/* dw [N, K] = dyT x; db [N] = column sums of dy. fp32_math as above. */
nf_status nf_linear_wgrad(nf_queue *q, nf_grad dw, nf_grad db, nf_in dy, nf_in x);

/* ---- experts: grouped linear ------------------------------------------------------------------------------------------ */

/* Rows [begin[g], end[g]) belong to expert[g]: device arrays. Groups of one expert may lie apart (chunks); rows outside all
 * groups are neither read nor written. */
struct nf_groups {
    int count;
    const int32_t *begin, *end, *expert;
    int64_t base; /* the groups' number of the first row of the row tensors given: row r lies at r - base (one chunk's slice) */
};
struct nf_grouped_arg {
    struct nf_act_arg act;
    nf_in bias;              /* [E_local, N] or NULL */
    const float *row_weight; /* [rows] routing weights, or NULL */
    bool in_out;             /* w [E, K, N] instead of [E, N, K] (gpt_oss) */
    enum nf_experts backend;
};
/* y = row_weight act(x w_eT + bias_e). x [rows, K], w [E_local, N, K], y [rows, N], pre [rows, N] or NULL */
nf_status nf_grouped_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                            const struct nf_grouped_arg *arg);
/*
 * b = dy w_e; drow_weight = b . act(pre) (or NULL); dx = row_weight b act'(pre); act_again = act(pre) (or NULL).
 * dy [rows, N], w [E_local, N, K], dx [rows, K]; pre [rows, K] of the layer below, or NULL (dx = row_weight b)
 * arg->bias [E_local, N]: of this layer, which is weighted too: drow_weight += dy . bias_e
 */
nf_status nf_grouped_dgrad(nf_queue *q, nf_out dx, nf_out act_again, float *drow_weight, nf_in dy, nf_in w, nf_in pre,
                           const struct nf_groups *groups, const struct nf_grouped_arg *arg);
/* dw [E_local, N, K] = sum over rows of row_weight dyT x; dbias [E_local, N]. Experts without rows: zeros unless accumulating.
 * Groups of one expert are summed in the order of the array. */
nf_status nf_grouped_wgrad(nf_queue *q, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x, const struct nf_groups *groups,
                           const struct nf_grouped_arg *arg);

/* ---- attention -------------------------------------------------------------------------------------------------------- */

struct nf_attention_arg {
    int heads, kv_heads, d_qk, d_v; /* query head h reads kv head h / (heads / kv_heads) */
    float scale;
    int64_t window;     /* most recent keys including the token itself; 0: all */
    const float *sinks; /* [heads] logits that take mass and have no value, or NULL */
    nf_seq seq;
    enum nf_attention_backend backend;
    bool training; /* a shape that comes again each step: a backend may make a plan for it */
};
/* Causal, within segments. q [T, heads d_qk], k [T, kv d_qk], v [T, kv d_v], o [T, heads d_v]; lse [heads, T] fp32 (sink
 * included). Blocked online softmax: no S x S matrix. Rows of segment 0 give zeros.
 * Source  Dao et al. 2022/2023 (FlashAttention-2) */
nf_status nf_attention(nf_queue *q, nf_out o, float *lse, nf_in query, nf_in key, nf_in value,
                       const struct nf_attention_arg *arg);
nf_status nf_attention_bwd(nf_queue *q, nf_out dquery, nf_out dkey, nf_out dvalue, nf_grad dsinks, nf_in d_o, nf_in query,
                           nf_in key, nf_in value, nf_in o, const float *lse, const struct nf_attention_arg *arg);

/* ---- Mamba-2 ----------------------------------------------------------------------------------------------------------- */

/* Depthwise causal convolution and SiLU: a_t = b + sum_m w[m] x_{t-K+1+m}, y = silu(a); taps of other segments are 0.
 * x, y [T, C]; w [C, K]; b [C] or NULL (data NULL) */
nf_status nf_conv_silu(nf_queue *q, nf_out y, nf_in x, nf_in w, nf_in b, const nf_seq *seq);
nf_status nf_conv_silu_bwd(nf_queue *q, nf_out dx, nf_grad dw, nf_grad db, nf_in dy, nf_in x, nf_in w, nf_in b,
                           const nf_seq *seq);

struct nf_ssd_arg {
    int heads, head_dim, groups, state, chunk; /* chunk: tile of the scan, free to choose */
    nf_dtype dtype;                            /* of x: the states kept may be rounded to it */
    float dt_lo, dt_hi;                        /* clamp of softplus(dt + bias) */
    nf_seq seq;
};
/* Bytes the backend keeps from the forward for the backward (chunk states); asked before, from the same arg. */
size_t nf_ssd_kept(const nf_queue *q, const struct nf_ssd_arg *arg);
/*
 * State-space recurrence per head: dt = clamp(softplus(dt_raw + dt_bias)), a = -exp(a_log) dt,
 *   state_t = exp(a_t) state_{t-1} + dt_t x_t B_tT,  y_t = state_t C_t + d x_t,  computed by chunks as GEMMs.
 * Shapes  x, y [T, heads head_dim]; b, c [T, groups state]; dt [T, heads]; dt_bias, a_log, d [heads] fp32; segments reset
 * Source  Dao & Gu 2024 (Mamba-2, SSD)
 */
nf_status nf_ssd(nf_queue *q, nf_out y, void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d,
                 const struct nf_ssd_arg *arg);
nf_status nf_ssd_bwd(nf_queue *q, nf_out dx, nf_out db, nf_out dc, nf_out ddt, nf_grad ddt_bias, nf_grad da_log, nf_grad dd,
                     nf_in dy, const void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias, nf_in a_log, nf_in d,
                     const struct nf_ssd_arg *arg);

/* ---- routing ------------------------------------------------------------------------------------------------------------ */

enum nf_score { NF_SCORE_SIGMOID, NF_SCORE_SOFTMAX, NF_SCORE_SOFTMAX_TOPK };
struct nf_route_arg {
    enum nf_score score;
    int k, groups, groups_kept; /* groups 1: no limit */
    bool normalise;
    float scale;
    enum nf_gate gate;
    uint64_t seed; /* of the random gate */
    uint32_t layer;
    const struct nf_step_vars *vars; /* device: the step, for the random gate */
    const int64_t *global_row;       /* device [rows] */
    nf_seq seq;
};
/*
 * logits [T, E] fp32 -> scores [T, E] (sigmoid or softmax), ids [T, k] in order of choice, weights [T, k]; load [E] += tokens
 * (or NULL).
 * Choice: scores + correction [E] (or NULL), group-limited, ties to the lower index. Weights from the scores without
 * correction, normalised and scaled. Fake gates replace the ids, the weights follow from the scores of those ids; NF_GATE_GIVEN
 * takes them as they are in ids before the call.
 * Rows of segment 0: ids -1, weights 0.
 */
nf_status nf_route(nf_queue *q, int32_t *ids, float *weights, nf_out scores, int32_t *load, nf_in logits,
                   const float *correction, const struct nf_route_arg *arg);
/* dlogits [T, E] = gradient through weights and scores; the choice is constant */
nf_status nf_route_bwd(nf_queue *q, nf_out dlogits, const float *dweights, const int32_t *ids, const float *weights,
                       nf_in scores, const struct nf_route_arg *arg);

/*
 * Balance without a loss term: correction [E] += rate sign(mean - load_e) with the step's global counts load [E]; nothing if
 * decision->skip.   Source  Wang et al. 2024, "Auxiliary-loss-free load balancing strategy for mixture-of-experts"
 */
nf_status nf_router_bias(nf_queue *q, nf_out correction, const int32_t *load, float rate, const struct nf_decision *decision);

/* ---- received rows <-> expert order ------------------------------------------------------------------------------------- */

/* Where each (received row, slot) lies among the expert rows of one slice. Device arrays, allocated by the layer. */
struct nf_order {
    int64_t row_cap, expert_cap;
    int64_t base;                  /* number of the slice's first expert row: added to begin and end alone */
    int k, experts;                /* local */
    int32_t *source;               /* [expert_cap] received row of an expert row; undefined in padding */
    int32_t *slot;                 /* [expert_cap] which of its k */
    int32_t *place;                /* [row_cap, k] expert rows of a received row, ascending, then -1 */
    float *weight;                 /* [expert_cap] its routing weight */
    int32_t *begin, *end, *expert; /* [experts] groups, base included */
};
/* ids [row_cap, k] local or -1, side [row_cap, k], the first *count rows; pad: groups start on multiples of it in the
 * slice. Stable: rows of one expert keep the order of arrival. */
nf_status nf_order_build(nf_queue *q, const struct nf_order *order, const int32_t *ids, const float *side, const int32_t *count,
                         int pad);
/* rows [expert_cap, X] of this slice = received [row_cap, X] by source */
nf_status nf_expand(nf_queue *q, nf_out rows, nf_in received, const struct nf_order *order);
/* partial [row_cap, X] = sum of a received row's expert rows in expert order; side [row_cap, k] = row_side [expert_cap] at its
 * slot, else 0 (both NULL: none). Only the first *count rows. */
nf_status nf_collapse(nf_queue *q, nf_out partial, float *side, nf_in rows, const float *row_side, const struct nf_order *order,
                      const int32_t *count);
/* y [n, X] = add + sum over r < R of returned[where[., r]] in that order; weights [n, k] = sum of their sides (both NULL:
 * none). add NULL: 0; may be y. */
nf_status nf_combine(nf_queue *q, nf_out y, float *weights, nf_in returned, const float *side, const int32_t *where,
                     int64_t slots, int k, nf_in add);

/* ---- head and loss ------------------------------------------------------------------------------------------------------- */

/*
 * Fused linear cross-entropy: logits = h wT in tiles, loss += scale sum (logsumexp - logit of target) over targets != -100.
 * dh [T, H] and dw [V, H] (data NULL / NULL: evaluation) are made at once, times *scale: no T x V tensor ever exists. A bf16 dw
 * is summed in fp32 over all tokens of the call and rounded once.
 * loss: device double, added to; token_loss [T] fp32 (unscaled; 0 where not scored) or NULL; scale: device.
 */
nf_status nf_head_loss(nf_queue *q, double *loss, float *token_loss, nf_out dh, nf_grad dw, nf_in h, nf_in w,
                       const int32_t *target, const float *scale);
/* logits [T, V] fp32 of few rows: samples, goldens */
nf_status nf_head_logits(nf_queue *q, nf_out logits, nf_in h, nf_in w);

/* ---- optimizer and flat runs --------------------------------------------------------------------------------------------- */

struct nf_adamw_piece {
    int64_t flat, count;
    bool decay;
    int param; /* with `first` and the element: key of stochastic rounding */
    int64_t first;
};
/*
 * One flat run and its state. Views of length n.
 *
 *   w fp32                    m, v fp32; the weight is its own master, under every scheme
 *   w bf16, state fp32        master, m, v fp32; w = master rounded to nearest even
 *   w bf16, state split       low int16: (w, low) is the exact fp32 master (nf_split_f32); m, v bf16
 *   w bf16, state bf16        m, v bf16; no master
 */
struct nf_adamw_run {
    nf_tensor w;
    nf_tensor low, master;              /* data NULL: none */
    nf_tensor m, v, g;                  /* g fp32 or bf16 */
    const struct nf_adamw_piece *piece; /* host */
    int pieces;
};
struct nf_adamw_arg {
    double beta1, beta2, eps, weight_decay;
    enum nf_state_scheme scheme;
    uint64_t seed;
};
/*
 * w -= lr wd w; w -= lr (m / c1) / (sqrt(v / c2) + eps) with g clip_scale; nothing if decision->skip. lr from vars, t and
 * clip_scale from decision (device).  Source  Loshchilov & Hutter 2019; torch.optim.AdamW
 *
 * All arithmetic is fp32. bf16 moments, and with state bf16 the weight, are rounded stochastically when they are stored: 16
 * random bits are added to the fp32 bits, and the upper 16 bits are kept (a NaN stays one). With e = first + the element, the
 * number in the logical tensor, and the key {seed, purpose NF_RNG_ROUND, step t, layer param}:
 *   m   low half of word e % 4 of block (row e / 4, position 0);   v   high half of that word
 *   w   of the eight halves of block (row e / 8, position 1), low before high, number e % 8
 * so the same elements are rounded alike on every mesh.
 */
nf_status nf_adamw(nf_queue *q, const struct nf_adamw_run *run, const struct nf_adamw_arg *arg, const struct nf_step_vars *vars,
                   const struct nf_decision *decision);
/* *sum += sum of squares of x [n], in fp64, fixed order */
nf_status nf_sumsq(nf_queue *q, double *sum, nf_in x);
/* reduced {norm_sq, loss, mtp_loss, aux_loss} -> decision: skip if not finite, clip_scale for max norm clip (0: none), t + 1
 * unless skipped */
nf_status nf_decide(nf_queue *q, struct nf_decision *decision, const double *reduced, double clip);
nf_status nf_cast(nf_queue *q, nf_out y, nf_in x);
nf_status nf_add(nf_queue *q, nf_out y, nf_in a, nf_in b); /* y may be a or b */
nf_status nf_fill(nf_queue *q, nf_out y, float value);
/* *count += how many elements of a and b [n], of one type, are not the same bits: repeated results are compared where they lie.
 * count: device int64 */
nf_status nf_mismatch(nf_queue *q, int64_t *count, nf_in a, nf_in b);

#endif
