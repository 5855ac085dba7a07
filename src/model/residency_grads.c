/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency_grads.c: what happens to gradients: dense ones are summed over world, those of experts over the ranks that hold the
 * same experts. A unit's reduction starts as soon as its backward ends and travels while the next unit computes.
 */
#include <stdlib.h>

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
        NF_TRY(nf_all_reduce(res->arg.reduce, group, r->g, r->n, NF_F32, &r->reduced));
    }
    return NF_OK;
}

nf_status nf_residency_end_backward(nf_residency *res)
{
    for (int i = 0; i < res->runs; i++)
        NF_TRY(nf_queue_wait(res->arg.queue, res->run[i].reduced));
    return NF_OK;
}

int nf_residency_flats(nf_residency *res, struct nf_flat **flats)
{
    res->flats = 0;
    for (int i = 0; i < res->runs; i++) {
        struct run *r = &res->run[i];
        if (!r->trained || !r->m)
            continue;
        res->flat[res->flats++] = (struct nf_flat){.run = {.w = nf_vector(r->w, r->dtype, r->n),
                                                           .m = nf_vector(r->m, NF_F32, r->n),
                                                           .v = nf_vector(r->v, NF_F32, r->n),
                                                           .g = nf_vector(r->g, NF_F32, r->n),
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

nf_status nf_residency_init_random(nf_residency *res, uint64_t seed)
{
    const nf_model *m = res->arg.model;
    enum { CHUNK = 1 << 16 };
    float *host = malloc(CHUNK * sizeof *host);
    nf_status s = host ? NF_OK : nf_fail(NF_ENOMEM, "no memory to draw weights");

    for (int p = 0; p < m->params && !s; p++) {
        const nf_named *n = &res->named[NF_WEIGHTS][p];
        for (int64_t at = 0; at < n->piece.count && !s; at += CHUNK) {
            int64_t count = n->piece.count - at < CHUNK ? n->piece.count - at : CHUNK;
            nf_tensor from = nf_vector(host, NF_F32, count);
            nf_tensor to = nf_vector((char *)n->data + (size_t)at * nf_dtype_size(n->desc->dtype), n->desc->dtype, count);
            m->init(m, p, seed, n->piece.first + at, count, host);
            s = nf_cast(res->arg.queue, &to, &from);
            if (!s)
                s = nf_queue_drain(res->arg.queue);
        }
    }
    free(host);
    return s;
}
