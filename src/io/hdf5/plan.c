/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who writes what. Ranks tell which elements of which tensor lie with them; each element gets one writer among its holders.
 * What several hold is cut into parts, and each part goes to the holder with the least to write so far, so that all disks work
 * alike long. All ranks compute the same plan. Elements that nobody holds are found here, before any file is.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

enum { PART = 1 << 18 /* elements that are worth a piece of their own */ };

struct held {
    int64_t first, count;
};

struct planning {
    struct nf_h5_plan *plan;
    const struct nf_snapshot_field *field;
    int fields, total, ranks; /* total: tensors of all fields strung together */
    const struct held *held;  /* [ranks][total] */
    uint64_t *load;           /* [ranks] bytes to write */
    int64_t cap;
};

const nf_named *nf_h5_named(const struct nf_snapshot_field *field, int fields, int source, nf_dtype *dtype)
{
    for (int f = 0; f < fields; source -= field[f].n, f++)
        if (source < field[f].n) {
            *dtype = field[f].dtype ? field[f].dtype[source] : field[f].named[source].desc->dtype;
            return &field[f].named[source];
        }
    return NULL;
}

/* Are all ranks speaking of the same tensors? */
static nf_status check_same(const nf_mesh *mesh, const struct nf_snapshot_field *field, int fields, int total)
{
    nf_str text = {0};
    for (int f = 0; f < fields; f++) {
        nf_str_addf(&text, "%s %d %d\n", field[f].name, field[f].n, (int)field[f].want);
        for (int i = 0; i < field[f].n; i++) {
            const nf_param_desc *d = field[f].named[i].desc;
            nf_str_addf(&text, "%s %d %lld %lld %lld %d %d\n", d->name, (int)(field[f].dtype ? field[f].dtype[i] : d->dtype),
                        (long long)d->dim[0], d->nd > 1 ? (long long)d->dim[1] : 1, d->nd > 2 ? (long long)d->dim[2] : 1,
                        d->frozen, d->buffer);
        }
    }
    nf_str_addf(&text, "%d", total);
    nf_status status = nf_agree(mesh, text.failed ? nf_fail(NF_ENOMEM, "no memory to plan a snapshot") : NF_OK);
    if (status == NF_OK)
        status = nf_same(mesh, text.text, text.len, "the list of tensors of a snapshot");
    nf_str_free(&text);
    return status;
}

static nf_status gather(const nf_mesh *mesh, const struct nf_snapshot_field *field, int fields, int total, struct held **out)
{
    const int ranks = nf_mesh_ranks(mesh);
    const size_t each = (size_t)total * sizeof(struct held);
    struct held *mine = malloc(each + 1), *all = malloc(each * (size_t)ranks + 1);
    nf_status status = nf_agree(mesh, mine && all ? NF_OK : nf_fail(NF_ENOMEM, "no memory to plan a snapshot"));
    int k = 0;
    for (int f = 0; f < fields && status == NF_OK; f++)
        for (int i = 0; i < field[f].n; i++, k++) {
            const nf_named *n = &field[f].named[i];
            mine[k] = n->data && n->piece.count > 0 ? (struct held){n->piece.first, n->piece.count} : (struct held){0, 0};
        }
    if (status == NF_OK && total > 0)
        status = nf_gather_bytes(nf_mesh_group(mesh, NF_WORLD), mine, each, all);
    free(mine);
    if (status != NF_OK) {
        free(all);
        return status;
    }
    *out = all;
    return NF_OK;
}

static nf_status add(struct planning *p, int64_t first, int64_t count, int rank, size_t size)
{
    struct nf_h5_manifest *m = &p->plan->m;
    struct nf_h5_piece *last = m->pieces ? &m->piece[m->pieces - 1] : NULL;
    p->load[rank] += (uint64_t)count * size;
    if (last && last->tensor == m->tensors && last->file == rank && last->first + last->count == first) {
        last->count += count;
        return NF_OK;
    }
    if (m->pieces == p->cap) {
        const int64_t more = p->cap ? 2 * p->cap : 256;
        struct nf_h5_piece *grown = realloc(m->piece, (size_t)more * sizeof *grown);
        if (!grown)
            return nf_fail(NF_ENOMEM, "no memory to plan a snapshot");
        m->piece = grown;
        p->cap = more;
    }
    m->piece[m->pieces++] = (struct nf_h5_piece){.tensor = m->tensors, .file = rank, .first = first, .count = count};
    return NF_OK;
}

/* Elements [at, end), which the same ranks hold: in parts, borders on whole rows, each to whom has the least. */
static nf_status deal(struct planning *p, int k, int64_t at, int64_t end, int64_t holders, int64_t row, size_t size)
{
    int64_t parts = (end - at + PART - 1) / PART;
    parts = parts < holders ? parts : holders;
    const int64_t first = at, all = end - at;
    for (int64_t i = 1; i <= parts; i++) {
        int64_t stop = i == parts ? end : (first + all / parts * i) / row * row;
        int best = -1;
        if (stop <= at)
            continue;
        for (int r = 0; r < p->ranks; r++) {
            const struct held *h = &p->held[(size_t)r * (size_t)p->total + (size_t)k];
            if (h->first <= at && h->first + h->count > at && (best < 0 || p->load[r] < p->load[best]))
                best = r;
        }
        NF_TRY(add(p, at, stop - at, best, size));
        at = stop;
    }
    return NF_OK;
}

/* All elements of tensor k of the strung list, or none if it may be absent. */
static nf_status plan_tensor(struct planning *p, const struct nf_snapshot_field *field, int i, int k)
{
    struct nf_h5_manifest *m = &p->plan->m;
    const nf_param_desc *d = field->named[i].desc;
    const nf_dtype dtype = field->dtype ? field->dtype[i] : d->dtype;
    struct nf_h5_tensor t = {.dtype = dtype, .nd = d->nd};
    bool somewhere = false;
    memcpy(t.dim, d->dim, sizeof t.dim);
    const int64_t all = nf_h5_tensor_count(&t), row = d->nd > 1 ? d->dim[d->nd - 1] : 1;
    for (int r = 0; r < p->ranks; r++)
        somewhere |= p->held[(size_t)r * (size_t)p->total + (size_t)k].count > 0;
    if (!somewhere && (field->want == NF_WANT_HELD || (field->want == NF_WANT_TRAINED && (d->frozen || d->buffer))))
        return NF_OK;
    t.field = strdup(field->name);
    t.name = strdup(d->name);
    m->tensor[m->tensors] = t;
    if (!t.field || !t.name) {
        free(t.field);
        free(t.name);
        return nf_fail(NF_ENOMEM, "no memory to plan a snapshot");
    }
    nf_status status = NF_OK;
    for (int64_t at = 0; at < all && status == NF_OK;) {
        int64_t end = all, holders = 0;
        for (int r = 0; r < p->ranks; r++) {
            const struct held *h = &p->held[(size_t)r * (size_t)p->total + (size_t)k];
            const int64_t stop = h->first + h->count;
            if (h->first > at)
                end = h->count > 0 && h->first < end ? h->first : end;
            else if (stop > at) {
                end = stop < end ? stop : end;
                holders++;
            }
        }
        status = holders ? deal(p, k, at, end, holders, row, nf_dtype_size(dtype))
                         : nf_fail(NF_EBUG, "snapshot: %s of '%s': elements [%lld, %lld) are on no rank", field->name, d->name,
                                   (long long)at, (long long)end);
        at = end;
    }
    p->plan->source[m->tensors++] = k;
    m->piece_of[m->tensors] = m->pieces;
    return status;
}

static nf_status plan_all(struct planning *p)
{
    struct nf_h5_manifest *m = &p->plan->m;
    int k = 0;
    m->tensor = calloc((size_t)p->total + 1, sizeof *m->tensor);
    m->piece_of = calloc((size_t)p->total + 1, sizeof *m->piece_of);
    m->file = calloc((size_t)p->ranks + 64 + 1, sizeof *m->file);
    p->plan->source = calloc((size_t)p->total + 1, sizeof *p->plan->source);
    p->load = calloc((size_t)p->ranks, sizeof *p->load);
    if (!m->tensor || !m->piece_of || !m->file || !p->plan->source || !p->load)
        return nf_fail(NF_ENOMEM, "no memory to plan a snapshot");
    for (int f = 0; f < p->fields; f++)
        for (int i = 0; i < p->field[f].n; i++)
            NF_TRY(plan_tensor(p, &p->field[f], i, k++));
    for (; m->files < p->ranks; m->files++) {
        char name[NF_H5_FILE_NAME_MAX];
        nf_h5_rank_name(name, m->files);
        if (!(m->file[m->files].name = strdup(name)))
            return nf_fail(NF_ENOMEM, "no memory to plan a snapshot");
    }
    return NF_OK;
}

nf_status nf_h5_plan_make(const nf_mesh *mesh, const struct nf_snapshot_field *field, int fields, struct nf_h5_plan *plan)
{
    struct nf_h5_plan made = {0};
    struct planning p = {.plan = &made, .field = field, .fields = fields, .ranks = nf_mesh_ranks(mesh)};
    struct held *held = NULL;
    for (int f = 0; f < fields; f++)
        p.total += field[f].n;
    NF_TRY(check_same(mesh, field, fields, p.total));
    NF_TRY(gather(mesh, field, fields, p.total, &held));
    p.held = held;
    const nf_status status = nf_agree(mesh, plan_all(&p));
    free(held);
    free(p.load);
    if (status == NF_OK)
        *plan = made;
    else
        nf_h5_plan_free(&made);
    return status;
}

void nf_h5_plan_free(struct nf_h5_plan *plan)
{
    nf_h5_manifest_free(&plan->m);
    free(plan->source);
    plan->source = NULL;
}
