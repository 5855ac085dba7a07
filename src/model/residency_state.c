/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency_state.c: what is held beside the weights of a run, in which types. A bf16 parameter costs, with bf16 (fp32)
 * gradients: state fp32 16 (18) bytes, split 10 (12), bf16 8 (10); a fp32 parameter, always its own master, 16.
 */
#include "residency.h"

void nf_residency_types_of(const nf_residency *res, const nf_param_desc *d, nf_dtype type[NF_KINDS])
{
    const struct nf_residency_arg *a = &res->arg;
    const bool half = d->dtype == NF_BF16, once = a->micro_batches == 1 && !d->reused;

    type[NF_WEIGHTS] = d->dtype;
    type[NF_MOMENT1] = type[NF_MOMENT2] = half && a->scheme != NF_STATE_FP32 ? NF_BF16 : NF_F32;
    type[NF_GRADIENTS] = half && (a->grad_dtype == NF_BF16 || (a->grad_dtype == NF_AUTO && once)) ? NF_BF16 : NF_F32;
    type[NF_REMAINDERS] = NF_I16;
    type[NF_MASTERS] = NF_F32;
}

/* In the state arena, from the start to the end. */
static bool holds(const nf_residency *res, const struct run *r, enum nf_kind kind)
{
    const bool half = r->type[NF_WEIGHTS] == NF_BF16;

    switch (kind) {
    case NF_WEIGHTS: return true;
    case NF_GRADIENTS: return r->trained && res->arg.optimizer && !res->passing;
    case NF_REMAINDERS: return r->trained && res->arg.optimizer && half && res->arg.scheme == NF_STATE_SPLIT;
    case NF_MASTERS: return r->trained && res->arg.optimizer && half && res->arg.scheme == NF_STATE_FP32;
    default: return r->trained && res->arg.optimizer;
    }
}

const char *nf_residency_what(const struct run *r, enum nf_kind kind)
{
    static const char *const names[NF_KINDS][2] = {
        [NF_WEIGHTS] = {"dense weights", "expert weights"},          [NF_MOMENT1] = {"dense moments", "expert moments"},
        [NF_MOMENT2] = {"dense moments", "expert moments"},          [NF_GRADIENTS] = {"dense gradients", "expert gradients"},
        [NF_REMAINDERS] = {"dense remainders", "expert remainders"}, [NF_MASTERS] = {"dense masters", "expert masters"}};
    return names[kind][r->spread == NF_EXPERT];
}

nf_status nf_residency_take(nf_residency *res)
{
    for (int i = 0; i < res->runs; i++) {
        struct run *r = &res->run[i];
        for (int k = 0; k < NF_KINDS; k++) {
            if (!holds(res, r, (enum nf_kind)k))
                continue;
            const size_t bytes = nf_run_bytes(r, (enum nf_kind)k);
            const char *what = nf_residency_what(r, (enum nf_kind)k);
            NF_TRY(nf_arena_get(res->arg.state, NF_LOW, bytes, what, (void **)&r->data[k]));
            NF_TRY(nf_fill_zero(res->arg.queue, r->data[k], bytes));
        }
    }
    return NF_OK;
}
