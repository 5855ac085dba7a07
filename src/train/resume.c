/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.c: going on from a snapshot. Which one, and may it be: what shapes the result must be what it was when the snapshot
 * was written. Snapshots newer than the one gone on from belong to steps that will be run again: they are put aside, never
 * removed, and never mixed with what this run writes.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aside.h"
#include "keep.h"
#include "nemafit/log.h"

/* ---- may it go on? ----------------------------------------------------------------------------------------------------------
 */

static nf_status same_input(const struct keeper *k, const nf_snapshot_reader *reader)
{
    const char *path = nf_snapshot_path(reader);
    const void *text;
    size_t n;
    nf_input *before = NULL;

    if (!nf_snapshot_attached(reader, "input.used.nml", &text, &n))
        return nf_fail(NF_EDATA, "%s: holds no input.used.nml", path);
    nf_status status = nf_input_parse(path, text, n, NULL, 0, &before);
    if (!status)
        status = nf_input_compare(k->s->input, before, path);
    nf_input_free(before);
    return status;
}

static nf_status same_world(const struct keeper *k, const nf_snapshot_reader *reader)
{
    const struct nf_snapshot_meta *m = nf_snapshot_meta(reader);
    const char *path = nf_snapshot_path(reader);

    if (strcmp(m->model, k->model))
        return nf_fail(
            NF_EDATA,
            "%s: config.json or the checkpoint in %s changed since this snapshot was written (fingerprint %s, now %s)"
            "\n  Hint: put it back, or give snapshot.dir another directory and begin anew",
            path, k->s->p->model.path, m->model, k->model);
    if (strcmp(m->data, k->data))
        return nf_fail(NF_EDATA,
                       "%s: a file of data.train or data.valid changed since this snapshot was written (fingerprint %s, now %s)"
                       "\n  Hint: put it back, or give snapshot.dir another directory and begin anew",
                       path, m->data, k->data);
    if (m->step < 0 || m->row != m->step * k->s->global_batch)
        return nf_fail(NF_EDATA, "%s: %" PRId64 " rows were drawn in %" PRId64 " steps, which is not %" PRId64 " a step", path,
                       m->row, m->step, k->s->global_batch);
    return NF_OK;
}

static void take_state(struct resume *r)
{
    const struct nf_snapshot_meta *m = nf_snapshot_meta(r->reader);
    const void *text;
    size_t n;

    r->state = (struct run_state){.step = m->step,
                                  .updates = m->updates,
                                  .skipped = m->skipped,
                                  .best_step = m->best_step,
                                  .best_loss = m->best_loss,
                                  .last_loss = m->last_loss,
                                  .seconds = m->seconds};
    r->state.evaluation_due =
        nf_snapshot_attached(r->reader, "state.txt", &text, &n) && strstr(text, "evaluation_due = 1") != NULL;
    r->csv_bytes = m->csv_bytes;
}

/* ---- which ------------------------------------------------------------------------------------------------------------------
 */

static nf_status open_asked(struct keeper *k, struct resume *r, const char **origin)
{
    const struct nf_params *p = k->s->p;
    const char *asked = p->snapshot.resume ? p->snapshot.resume : "auto";
    const bool rank0 = nf_mesh_rank(k->s->mesh) == 0;
    bool began = false;

    *origin = NULL;
    if (!strcmp(asked, "never") || (!p->snapshot.dir && !strcmp(asked, "auto")))
        return NF_OK;
    if (strcmp(asked, "auto")) {
        *origin = asked;
        NF_TRY(nf_agree(k->s->mesh, rank0 && p->snapshot.dir ? nf_origin_is(p->snapshot.dir, asked, &began) : NF_OK));
        NF_TRY(nf_bcast(nf_mesh_group(k->s->mesh, NF_WORLD), 0, &began, sizeof began));
        if (!began)
            return nf_snapshot_open(k->s->mesh, asked, &k->watch, &r->reader);
    }
    NF_TRY(nf_snapshot_open_latest(k->s->mesh, p->snapshot.dir, &k->watch, &r->reader));
    return r->reader || !*origin ? NF_OK : nf_snapshot_open(k->s->mesh, *origin, &k->watch, &r->reader);
}

/* Does the snapshot lie in the directory that this run writes? Then those up to it stay where they are. */
static bool is_own(const char *dir, const char *path)
{
    char *parent = nf_path_dir(path), *a = parent ? realpath(parent, NULL) : NULL, *b = realpath(dir, NULL);
    bool same = a && b && !strcmp(a, b);

    free(a);
    free(b);
    free(parent);
    return same;
}

nf_status nf_resume_find(struct keeper *k, struct resume *r)
{
    const char *dir = k->s->p->snapshot.dir, *origin;
    nf_status status = NF_OK;

    *r = (struct resume){.state = {.best_step = -1, .best_loss = NAN, .last_loss = NAN}, .csv_bytes = -1};
    NF_TRY(open_asked(k, r, &origin));
    if (r->reader) {
        NF_TRY(same_input(k, r->reader));
        NF_TRY(same_world(k, r->reader));
        take_state(r);
    }
    if (dir && nf_mesh_rank(k->s->mesh) == 0) {
        status = nf_put_aside(dir, r->reader && is_own(dir, nf_snapshot_path(r->reader)) ? r->state.step : -1);
        if (!status)
            status = nf_origin_note(dir, origin);
    }
    NF_TRY(nf_agree(k->s->mesh, status));
    if (r->reader && dir) {
        bool own = is_own(dir, nf_snapshot_path(r->reader));
        NF_TRY(nf_bcast(nf_mesh_group(k->s->mesh, NF_WORLD), 0, &own, sizeof own));
        k->newest = own ? r->state.step : -1;
    }
    if (r->reader)
        nf_note("resume    from %s: %" PRId64 " of %" PRId64 " steps are done", nf_snapshot_path(r->reader), r->state.step,
                k->s->steps);
    return NF_OK;
}

nf_status nf_resume_choices(const struct resume *r, struct choices *known)
{
    const void *bytes;
    size_t n;

    return r->reader && nf_snapshot_attached(r->reader, TUNING_FILE, &bytes, &n) ? nf_choices_set(known, bytes, n) : NF_OK;
}

nf_status nf_resume_load(struct resume *r, struct engine *e)
{
    struct nf_decision decision = {.t = (int32_t)r->state.updates};
    struct state_fields f;

    nf_state_fields(e, &f);
    NF_TRY(nf_snapshot_load(r->reader, e->mesh, f.field, f.n, e->q));
    e->result[0] = decision; /* pinned: the copy may come later */
    return nf_agree(e->mesh, nf_copy(e->q, e->decision, &e->result[0], sizeof decision));
}

void nf_resume_close(struct resume *r)
{
    nf_snapshot_close(r->reader);
    r->reader = NULL;
}
