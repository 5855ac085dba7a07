/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency_grads.c: what happens to gradients: dense ones are summed over world, those of experts over the ranks that hold the
 * same experts. A unit's reduction starts as soon as its backward ends and travels while the next unit computes.
 */
#include "residency.h"

nf_status nf_grads_ready(nf_residency *res, int unit)
{
    bool last = res->micro == res->arg.micro_batches - 1;

    for (int i = 0; i < res->runs && last; i++) {
        struct run *r = &res->run[i];
        const nf_group *group = nf_mesh_group(res->arg.mesh, r->spread == NF_EXPERT ? NF_EDP : NF_WORLD);
        nf_event ready;
        if (r->unit != unit || !r->trained)
            continue;
        NF_TRY(nf_queue_record(res->arg.queue, &ready));
        NF_TRY(nf_queue_wait(res->arg.reduce, ready));
        NF_TRY(nf_all_reduce(res->arg.reduce, group, r->data[NF_GRADIENTS], r->n, r->type[NF_GRADIENTS], &r->reduced));
    }
    return NF_OK;
}

nf_status nf_residency_end_backward(nf_residency *res)
{
    for (int i = 0; i < res->runs; i++)
        NF_TRY(nf_queue_wait(res->arg.queue, res->run[i].reduced));
    return NF_OK;
}

static nf_tensor vector(const struct run *r, enum nf_kind kind)
{
    return nf_vector(r->data[kind], r->type[kind], r->n);
}

int nf_residency_flats(nf_residency *res, struct nf_flat **flats)
{
    res->flats = 0;
    for (int i = 0; i < res->runs; i++) {
        struct run *r = &res->run[i];
        if (!r->trained || !r->data[NF_MOMENT1])
            continue;
        res->flat[res->flats++] = (struct nf_flat){.run = {.w = vector(r, NF_WEIGHTS),
                                                           .low = vector(r, NF_REMAINDERS),
                                                           .master = vector(r, NF_MASTERS),
                                                           .m = vector(r, NF_MOMENT1),
                                                           .v = vector(r, NF_MOMENT2),
                                                           .g = vector(r, NF_GRADIENTS),
                                                           .piece = r->piece,
                                                           .pieces = r->pieces},
                                                   .spread = r->spread,
                                                   .unit = r->unit};
    }
    *flats = res->flat;
    return res->flats;
}

int nf_residency_named(nf_residency *res, enum nf_kind kind, const nf_named **named)
{
    *named = res->named[kind];
    return res->arg.model->params;
}

const nf_dtype *nf_residency_types(const nf_residency *res, enum nf_kind kind)
{
    return res->types[kind];
}
