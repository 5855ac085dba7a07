/* SPDX-License-Identifier: Apache-2.0 */
/*
 * residency.c: where the parameters of a model lie. Each unit has at most one flat run a kind {dense, expert} x type x
 * {trained, frozen}; tensors start on NF_ALIGN bytes; the gaps are zero in weights, moments and gradients alike, so a run can
 * be summed, reduced and updated as one vector.
 */
#include <stdlib.h>
#include <string.h>

#include "residency.h"

static int64_t elements(const nf_param_desc *d)
{
    int64_t n = 1;
    for (int i = 0; i < d->nd; i++)
        n *= d->dim[i];
    return n;
}

void nf_residency_local(const nf_residency *res, const nf_param_desc *d, int64_t *first, int64_t *count)
{
    const nf_group *ep = nf_mesh_group(res->arg.mesh, NF_EP);

    *count = elements(d);
    *first = 0;
    if (d->spread == NF_EXPERT) {
        *count /= nf_group_size(ep);
        *first = *count * nf_group_rank(ep);
    }
}

static struct run *run_of(nf_residency *res, const nf_param_desc *d)
{
    nf_dtype type[NF_KINDS];
    struct run *r;

    nf_residency_types_of(res, d, type);
    for (int i = 0; i < res->runs; i++) {
        r = &res->run[i];
        if (r->unit == d->unit && r->spread == d->spread && r->trained == !d->frozen && !memcmp(r->type, type, sizeof type))
            return r;
    }
    r = &res->run[res->runs++];
    *r = (struct run){.unit = d->unit, .spread = d->spread, .trained = !d->frozen};
    memcpy(r->type, type, sizeof type);
    return r;
}

static nf_status tables_new(nf_residency *res, size_t params)
{
    bool all = true;

    res->run = calloc(params, sizeof *res->run);
    res->flat = calloc(params, sizeof *res->flat);
    for (int k = 0; k < NF_KINDS; k++) {
        res->named[k] = calloc(params, sizeof *res->named[k]);
        res->types[k] = calloc(params, sizeof *res->types[k]);
        all = all && res->named[k] && res->types[k];
    }
    return all && res->run && res->flat ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the tables of %zu parameters", params);
}

/* Runs and their pieces; every table is as long as the parameter list at most. */
static nf_status lay_out(nf_residency *res)
{
    const nf_model *m = res->arg.model;

    NF_TRY(tables_new(res, (size_t)m->params));
    for (int p = 0; p < m->params; p++) {
        const nf_param_desc *d = &m->desc[p];
        struct run *r = run_of(res, d);
        int64_t first, count, step = NF_ALIGN / (int64_t)nf_dtype_size(d->dtype);
        struct nf_adamw_piece *more = realloc(r->piece, (size_t)(r->pieces + 1) * sizeof *more);
        if (!more)
            return nf_fail(NF_ENOMEM, "no memory for the pieces of a unit");
        r->piece = more;
        nf_residency_local(res, d, &first, &count);
        r->piece[r->pieces++] =
            (struct nf_adamw_piece){.flat = r->n, .count = count, .decay = d->decay, .param = p, .first = first};
        for (int k = 0; k < NF_KINDS; k++) {
            res->named[k][p] = (nf_named){.desc = d, .piece = {.param = p, .first = first, .count = count, .flat = r->n}};
            res->types[k][p] = r->type[k];
        }
        r->n += (count + step - 1) / step * step;
    }
    return NF_OK;
}

/* A view of a parameter's local piece with the shape that layers know. */
static nf_tensor view(const nf_residency *res, const nf_param_desc *d, nf_dtype t, void *data)
{
    int64_t first, count;

    nf_residency_local(res, d, &first, &count);
    if (d->nd == 3)
        return nf_cube(data, t, count / (d->dim[1] * d->dim[2]), d->dim[1], d->dim[2]);
    return d->nd == 2 ? nf_matrix(data, t, d->dim[0], d->dim[1], d->dim[1]) : nf_vector(data, t, d->dim[0]);
}

/* Point parameters and tables at where a run lies now. */
static void point(nf_residency *res, struct run *r)
{
    const nf_model *m = res->arg.model;

    for (int i = 0; i < r->pieces; i++) {
        const struct nf_adamw_piece *e = &r->piece[i];
        nf_param *p = m->param[e->param];
        nf_named *weight = &res->named[NF_WEIGHTS][e->param];
        for (int k = 0; k < NF_KINDS; k++)
            res->named[k][e->param].data = r->data[k] ? r->data[k] + (size_t)e->flat * nf_dtype_size(r->type[k]) : NULL;
        weight->low = res->named[NF_REMAINDERS][e->param].data;
        weight->master = res->named[NF_MASTERS][e->param].data;
        p->w = view(res, &m->desc[e->param], r->type[NF_WEIGHTS], weight->data);
        p->g = (nf_grad){0};
        if (r->data[NF_GRADIENTS])
            p->g.t = view(res, &m->desc[e->param], r->type[NF_GRADIENTS], res->named[NF_GRADIENTS][e->param].data);
    }
}

nf_status nf_residency_new(const struct nf_residency_arg *arg, nf_residency **out)
{
    nf_residency *res = calloc(1, sizeof *res);
    nf_status s;

    if (!res)
        return nf_fail(NF_ENOMEM, "no memory for the tables of parameters");
    res->arg = *arg;
    res->passing = arg->optimizer && arg->micro_batches == 1;
    s = arg->shard == NF_SHARD_NONE ? lay_out(res) : nf_fail(NF_EUSAGE, "parallel.shard: only 'none' is in this version");
    if (!s)
        s = nf_residency_take(res);
    if (s) {
        nf_residency_free(res);
        return s;
    }
    for (int i = 0; i < res->runs; i++)
        point(res, &res->run[i]);
    *out = res;
    return NF_OK;
}

void nf_residency_free(nf_residency *res)
{
    if (!res)
        return;
    for (int i = 0; i < res->runs; i++)
        free(res->run[i].piece);
    for (int k = 0; k < NF_KINDS; k++) {
        free(res->named[k]);
        free(res->types[k]);
    }
    free(res->flat);
    free(res->run);
    free(res);
}

/* Gradients of a unit, from the high end of the step arena: where consumed activations lay. */
static nf_status take_passing(nf_residency *res, struct run *r)
{
    const size_t each = nf_dtype_size(r->type[NF_GRADIENTS]);
    char *g;

    NF_TRY(
        nf_arena_get(res->arg.step, NF_HIGH, nf_run_bytes(r, NF_GRADIENTS), nf_residency_what(r, NF_GRADIENTS), (void **)&g));
    for (int i = 0; i < r->pieces; i++) {
        int64_t end = r->piece[i].flat + r->piece[i].count, next = i + 1 < r->pieces ? r->piece[i + 1].flat : r->n;
        if (next > end)
            NF_TRY(nf_fill_zero(res->arg.queue, g + (size_t)end * each, (size_t)(next - end) * each));
    }
    r->data[NF_GRADIENTS] = g;
    point(res, r);
    return NF_OK;
}

nf_status nf_acquire(nf_residency *res, int unit, enum nf_direction direction, bool want_grads)
{
    (void)direction; /* whole tensors are here already: nothing to prefetch */
    for (int i = 0; i < res->runs && want_grads && res->passing; i++) {
        struct run *r = &res->run[i];
        if (r->unit == unit && r->trained && !r->data[NF_GRADIENTS])
            NF_TRY(take_passing(res, r));
    }
    return NF_OK;
}

void nf_release(nf_residency *res, int unit)
{
    (void)res, (void)unit; /* whole tensors stay */
}

void nf_residency_begin_step(nf_residency *res)
{
    for (int i = 0; i < res->runs; i++) {
        struct run *r = &res->run[i];
        r->reduced = NF_DONE;
        if (res->passing)
            r->data[NF_GRADIENTS] = NULL;
        point(res, r);
    }
}

void nf_residency_begin_micro(nf_residency *res, int micro)
{
    res->micro = micro;
}
