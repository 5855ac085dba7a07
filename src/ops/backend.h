/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.h: what a backend fills, one typed slot an op. A slot is called by src/ops/<op>.c alone, with conditions checked, on
 * a queue that is not dry. Its prototype is the op's, with `void *scratch` last where the op takes scratch: as many bytes as
 * the op's scratch function gave for these shapes, undefined contents, gone after the call. Sizes may not depend on the number
 * of threads: a dry device, which sizes the arenas, has none.
 */
#ifndef NEMAFIT_OPS_BACKEND_H
#define NEMAFIT_OPS_BACKEND_H

#include "nemafit/ops.h"

typedef nf_status nf_slot_embed(nf_queue *q, nf_out y, const int32_t *ids, nf_in w);
typedef nf_status nf_slot_embed_bwd(nf_queue *q, nf_grad dw, const int32_t *ids, nf_in dy, int32_t pad_id, void *scratch);

typedef nf_status nf_slot_add_norm(nf_queue *q, nf_out stream, nf_out y, float *rstd, nf_in prev, nf_in branch, nf_in w,
                                   double eps, enum nf_norm_rounding rounding, void *scratch);
typedef nf_status nf_slot_add_norm_bwd(nf_queue *q, nf_out dstream, bool accumulate, nf_grad dw, nf_in dy, nf_in stream,
                                       const float *rstd, nf_in w, void *scratch);
typedef nf_status nf_slot_gated_norm(nf_queue *q, nf_out o, float *rstd, nf_in y, nf_in z, nf_in w, int groups, double eps,
                                     void *scratch);
typedef nf_status nf_slot_gated_norm_bwd(nf_queue *q, nf_out dy, nf_out dz, nf_out o_again, nf_grad dw, nf_in d_o, nf_in y,
                                         nf_in z, const float *rstd, nf_in w, int groups, void *scratch);

typedef nf_status nf_slot_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_linear_arg *arg,
                                 void *scratch);
typedef nf_status nf_slot_linear_dgrad(nf_queue *q, nf_out dx, nf_out act_again, nf_in dy, nf_in w, nf_in pre,
                                       const struct nf_linear_arg *arg, void *scratch);
typedef nf_status nf_slot_linear_wgrad(nf_queue *q, nf_grad dw, nf_grad db, nf_in dy, nf_in x, void *scratch);

typedef nf_status nf_slot_grouped_linear(nf_queue *q, nf_out y, nf_out pre, nf_in x, nf_in w, const struct nf_groups *groups,
                                         const struct nf_grouped_arg *arg, void *scratch);
typedef nf_status nf_slot_grouped_dgrad(nf_queue *q, nf_out dx, nf_out act_again, float *drow_weight, nf_in dy, nf_in w,
                                        nf_in pre, const struct nf_groups *groups, const struct nf_grouped_arg *arg,
                                        void *scratch);
typedef nf_status nf_slot_grouped_wgrad(nf_queue *q, nf_grad dw, nf_grad dbias, nf_in dy, nf_in x,
                                        const struct nf_groups *groups, const struct nf_grouped_arg *arg, void *scratch);

typedef nf_status nf_slot_attention(nf_queue *q, nf_out o, float *lse, nf_in query, nf_in key, nf_in value,
                                    const struct nf_attention_arg *arg, void *scratch);
typedef nf_status nf_slot_attention_bwd(nf_queue *q, nf_out dquery, nf_out dkey, nf_out dvalue, nf_grad dsinks, nf_in d_o,
                                        nf_in query, nf_in key, nf_in value, nf_in o, const float *lse,
                                        const struct nf_attention_arg *arg, void *scratch);

typedef nf_status nf_slot_conv_silu(nf_queue *q, nf_out y, nf_in x, nf_in w, nf_in b, const nf_seq *seq, void *scratch);
typedef nf_status nf_slot_conv_silu_bwd(nf_queue *q, nf_out dx, nf_grad dw, nf_grad db, nf_in dy, nf_in x, nf_in w, nf_in b,
                                        const nf_seq *seq, void *scratch);
typedef nf_status nf_slot_ssd(nf_queue *q, nf_out y, void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias,
                              nf_in a_log, nf_in d, const struct nf_ssd_arg *arg, void *scratch);
typedef nf_status nf_slot_ssd_bwd(nf_queue *q, nf_out dx, nf_out db, nf_out dc, nf_out ddt, nf_grad ddt_bias, nf_grad da_log,
                                  nf_grad dd, nf_in dy, const void *kept, nf_in x, nf_in b, nf_in c, nf_in dt, nf_in dt_bias,
                                  nf_in a_log, nf_in d, const struct nf_ssd_arg *arg, void *scratch);

typedef nf_status nf_slot_route(nf_queue *q, int32_t *ids, float *weights, nf_out scores, int32_t *load, nf_in logits,
                                const float *correction, const struct nf_route_arg *arg, void *scratch);
typedef nf_status nf_slot_route_bwd(nf_queue *q, nf_out dlogits, const float *dweights, const int32_t *ids,
                                    const float *weights, nf_in scores, const struct nf_route_arg *arg, void *scratch);
typedef nf_status nf_slot_router_bias(nf_queue *q, nf_out correction, const int32_t *load, float rate,
                                      const struct nf_decision *decision);
typedef nf_status nf_slot_order_build(nf_queue *q, const struct nf_order *order, const int32_t *ids, const float *side,
                                      const int32_t *count, int pad, void *scratch);
typedef nf_status nf_slot_expand(nf_queue *q, nf_out rows, nf_in received, const struct nf_order *order);
typedef nf_status nf_slot_collapse(nf_queue *q, nf_out partial, float *side, nf_in rows, const float *row_side,
                                   const struct nf_order *order, const int32_t *count);
typedef nf_status nf_slot_combine(nf_queue *q, nf_out y, float *weights, nf_in returned, const float *side,
                                  const int32_t *where, int64_t slots, int k, nf_in add);

typedef nf_status nf_slot_head_loss(nf_queue *q, double *loss, float *token_loss, nf_out dh, nf_grad dw, nf_in h, nf_in w,
                                    const int32_t *target, const float *scale, void *scratch);
typedef nf_status nf_slot_head_logits(nf_queue *q, nf_out logits, nf_in h, nf_in w, void *scratch);

typedef nf_status nf_slot_adamw(nf_queue *q, const struct nf_adamw_run *run, const struct nf_adamw_arg *arg,
                                const struct nf_step_vars *vars, const struct nf_decision *decision);
typedef nf_status nf_slot_sumsq(nf_queue *q, double *sum, nf_in x, void *scratch);
typedef nf_status nf_slot_decide(nf_queue *q, struct nf_decision *decision, const double *reduced, double clip);
typedef nf_status nf_slot_cast(nf_queue *q, nf_out y, nf_in x);
typedef nf_status nf_slot_add(nf_queue *q, nf_out y, nf_in a, nf_in b);
typedef nf_status nf_slot_fill(nf_queue *q, nf_out y, float value);
typedef nf_status nf_slot_mismatch(nf_queue *q, int64_t *count, nf_in a, nf_in b);

/* All slots by name, in the order of the struct: for the check of coverage. */
/* clang-format off */
#define NF_BACKEND_SLOTS(X) \
    X(embed) X(embed_bwd) X(add_norm) X(add_norm_bwd) X(gated_norm) X(gated_norm_bwd) X(linear) \
    X(linear_dgrad) X(linear_wgrad) X(grouped_linear) X(grouped_dgrad) X(grouped_wgrad) X(attention) \
    X(attention_bwd) X(conv_silu) X(conv_silu_bwd) X(ssd) X(ssd_bwd) X(route) X(route_bwd) \
    X(router_bias) X(order_build) X(expand) X(collapse) X(combine) X(head_loss) X(head_logits) X(adamw) \
    X(sumsq) X(decide) X(cast) X(add) X(fill) X(mismatch)
/* clang-format on */

struct nf_backend {
    const char *name;
    const char *(*describe)(const nf_device *device, char out[160]);

    nf_slot_embed *embed;
    nf_slot_embed_bwd *embed_bwd;
    nf_slot_add_norm *add_norm;
    nf_slot_add_norm_bwd *add_norm_bwd;
    nf_slot_gated_norm *gated_norm;
    nf_slot_gated_norm_bwd *gated_norm_bwd;
    nf_slot_linear *linear;
    nf_slot_linear_dgrad *linear_dgrad;
    nf_slot_linear_wgrad *linear_wgrad;
    nf_slot_grouped_linear *grouped_linear;
    nf_slot_grouped_dgrad *grouped_dgrad;
    nf_slot_grouped_wgrad *grouped_wgrad;
    nf_slot_attention *attention;
    nf_slot_attention_bwd *attention_bwd;
    nf_slot_conv_silu *conv_silu;
    nf_slot_conv_silu_bwd *conv_silu_bwd;
    nf_slot_ssd *ssd;
    nf_slot_ssd_bwd *ssd_bwd;
    nf_slot_route *route;
    nf_slot_route_bwd *route_bwd;
    nf_slot_router_bias *router_bias;
    nf_slot_order_build *order_build;
    nf_slot_expand *expand;
    nf_slot_collapse *collapse;
    nf_slot_combine *combine;
    nf_slot_head_loss *head_loss;
    nf_slot_head_logits *head_logits;
    nf_slot_adamw *adamw;
    nf_slot_sumsq *sumsq;
    nf_slot_decide *decide;
    nf_slot_cast *cast;
    nf_slot_add *add;
    nf_slot_fill *fill;
    nf_slot_mismatch *mismatch;
};

/* The first empty slot's name, or NULL: nothing missing. */
const char *nf_backend_missing(const struct nf_backend *backend);

extern const struct nf_backend nf_backend_cpu;

#endif
