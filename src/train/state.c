/* SPDX-License-Identifier: Apache-2.0 */
/* state.c: what of an engine goes into a snapshot, whether it may, and what a run is recognised by. See keep.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "keep.h"
#include "nemafit/digest.h"

static void add(struct state_fields *f, struct engine *e, const char *name, enum nf_kind kind, enum nf_snapshot_want want)
{
    struct nf_snapshot_field *field = &f->field[f->n++];

    *field = (struct nf_snapshot_field){.name = name, .want = want};
    field->n = nf_residency_named(e->res, kind, &field->named);
    field->dtype = nf_residency_types(e->res, kind);
}

void nf_state_fields(struct engine *e, struct state_fields *f)
{
    *f = (struct state_fields){0};
    add(f, e, "weights", NF_WEIGHTS, NF_WANT_ALL);
    add(f, e, "m", NF_MOMENT1, NF_WANT_TRAINED);
    add(f, e, "v", NF_MOMENT2, NF_WANT_TRAINED);
    add(f, e, "remainder", NF_REMAINDERS, NF_WANT_HELD);
    add(f, e, "master", NF_MASTERS, NF_WANT_HELD);
}

/* Sum of squares of one tensor's piece, added to e->eval_sum: finite if and only if all values are (in fp64 no square
 * overflows). */
static nf_status add_squares(struct engine *e, const struct nf_snapshot_field *f, int i)
{
    const nf_named *named = &f->named[i];
    nf_dtype type = f->dtype ? f->dtype[i] : named->desc->dtype;
    nf_tensor x = nf_vector(named->data, type, named->piece.count);

    if (!named->data || named->piece.count == 0 || (type != NF_F32 && type != NF_BF16))
        return NF_OK;
    return nf_sumsq(e->q, e->eval_sum, &x);
}

static nf_status read_sum(struct engine *e, double *sum)
{
    NF_TRY(nf_copy(e->q, &e->result[0].mtp_loss, e->eval_sum, sizeof *sum));
    NF_TRY(nf_queue_drain(e->q));
    *sum = e->result[0].mtp_loss;
    return NF_OK;
}

static nf_status all_finite(struct engine *e, const struct state_fields *f)
{
    double sum;

    NF_TRY(nf_fill_zero(e->q, e->eval_sum, sizeof *e->eval_sum));
    for (int k = 0; k < f->n; k++)
        for (int i = 0; i < f->field[k].n; i++)
            NF_TRY(add_squares(e, &f->field[k], i));
    NF_TRY(read_sum(e, &sum));
    if (isfinite(sum))
        return NF_OK;
    for (int k = 0; k < f->n; k++)
        for (int i = 0; i < f->field[k].n; i++) {
            NF_TRY(nf_fill_zero(e->q, e->eval_sum, sizeof *e->eval_sum));
            NF_TRY(add_squares(e, &f->field[k], i));
            NF_TRY(read_sum(e, &sum));
            if (!isfinite(sum))
                return nf_fail(NF_ENONFINITE,
                               "%s of '%s' are not finite: no snapshot is taken of that\n  Hint: go on from an older one with "
                               "a lower optim.lr",
                               f->field[k].name, f->field[k].named[i].desc->name);
        }
    return NF_OK;
}

nf_status nf_state_finite(struct engine *e)
{
    struct state_fields f;

    nf_state_fields(e, &f);
    return nf_agree(e->mesh, all_finite(e, &f));
}

static void add_checkpoint(const nf_st *source, nf_digest *d)
{
    for (int64_t i = 0; source && i < nf_st_count(source); i++) {
        const struct nf_st_entry *t = nf_st_entry(source, i);
        nf_digest_text(d, t->name);
        nf_digest_text(d, t->dtype);
        nf_digest_add(d, t->dim, (size_t)t->nd * sizeof *t->dim);
        nf_digest_number(d, t->file);
        nf_digest_number(d, (int64_t)t->begin);
        nf_digest_number(d, (int64_t)t->bytes);
    }
}

static nf_status add_files(const nf_strings *files, nf_digest *d)
{
    nf_digest_number(d, files->count);
    for (int i = 0; i < files->count; i++)
        NF_TRY(nf_digest_file(d, files->item[i]));
    return NF_OK;
}

static nf_status fingerprints(const struct session *s, char model[65], char data[65])
{
    char *path = nf_path_join(s->p->model.path, "config.json");
    nf_digest m = nf_digest_new(), d = nf_digest_new();
    nf_status status = path ? nf_digest_file(&m, path) : nf_fail(NF_ENOMEM, "no memory for a path");

    free(path);
    add_checkpoint(s->source, &m);
    NF_TRY(status);
    NF_TRY(add_files(&s->p->data.train, &d));
    NF_TRY(add_files(&s->p->data.valid, &d));
    nf_digest_number(&d, nf_dataset_rows(s->train));
    nf_digest_show(&m, model);
    nf_digest_show(&d, data);
    return NF_OK;
}

nf_status nf_state_fingerprints(const struct session *s, char model[65], char data[65])
{
    char both[2][65] = {{0}};
    nf_status status = NF_OK;

    if (nf_mesh_rank(s->mesh) == 0)
        status = fingerprints(s, both[0], both[1]);
    NF_TRY(nf_agree(s->mesh, status));
    NF_TRY(nf_bcast(nf_mesh_group(s->mesh, NF_WORLD), 0, both, sizeof both));
    memcpy(model, both[0], sizeof both[0]);
    memcpy(data, both[1], sizeof both[1]);
    return NF_OK;
}
