/* SPDX-License-Identifier: Apache-2.0 */
/* keep_open.c: before the first step: the directories are ours alone, and there is room for what will be written. See keep.h.
 */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "keep.h"
#include "nemafit/log.h"

static const double lease_seconds = 30; /* ranks of a run that was killed live on for a few seconds */
static const double guessed_rate = 1e8; /* bytes/s of a rank */

/* One directory, however it is spelt. Both exist. */
static nf_status same_directory(const nf_mesh *mesh, const char *a, const char *b, bool *same)
{
    struct stat x, y;

    *same = nf_mesh_rank(mesh) == 0 && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
    return nf_bcast(nf_mesh_group(mesh, NF_WORLD), 0, same, sizeof *same);
}

nf_status nf_keeper_open(struct session *s, struct keeper *k)
{
    const char *dir = s->p->snapshot.dir;
    bool same = false;

    *k = (struct keeper){.s = s, .watch = {nf_keeper_moved, s->mesh}, .newest = -1, .retry_step = -1, .retry_gap = 1};
    NF_TRY(nf_lease_take(s->mesh, s->p->log.dir, lease_seconds, &k->log_lease));
    if (!dir)
        return NF_OK;
    NF_TRY(nf_agree(s->mesh, nf_mesh_rank(s->mesh) == 0 ? nf_dir_make(dir) : NF_OK));
    NF_TRY(same_directory(s->mesh, dir, s->p->log.dir, &same));
    if (same) {
        k->lease = k->log_lease;
        k->log_lease = NULL;
    } else {
        NF_TRY(nf_lease_take(s->mesh, dir, lease_seconds, &k->lease));
    }
    return nf_state_fingerprints(s, k->model, k->data);
}

void nf_keeper_close(struct keeper *k)
{
    nf_snapshot_free(k->behind);
    nf_snapshot_staging_free(k->staging);
    nf_lease_drop(k->lease);
    nf_lease_drop(k->log_lease);
    nf_choices_free(&k->choices);
    *k = (struct keeper){0};
}

/* Bytes of one export. */
static double export_bytes(const struct session *s)
{
    static const int dtype[] = {
        [NF_EXPORT_SOURCE] = -1, [NF_EXPORT_BF16] = NF_BF16, [NF_EXPORT_FP32] = NF_F32, [NF_EXPORT_FP16] = NF_F16};
    const int to = dtype[s->p->export_.dtype];
    double bytes = 0;

    for (int64_t i = 0; s->source && to < 0 && i < nf_st_count(s->source); i++)
        bytes += (double)nf_st_entry(s->source, i)->bytes;
    for (int i = 0; i < s->model->params && (to >= 0 || !s->source); i++) {
        const nf_param_desc *d = &s->model->desc[i];
        double count = 1;
        for (int j = 0; j < d->nd; j++)
            count *= (double)d->dim[j];
        bytes += count * (double)nf_dtype_size(to >= 0 && !d->buffer ? (nf_dtype)to : d->dtype);
    }
    return bytes;
}

/* Rank 0: is there room for one more snapshot, for all that are kept at once, and for an export? */
static nf_status judge(const struct keeper *k, uint64_t each)
{
    const struct nf_params *p = k->s->p;
    struct nf_snapshot_list list = {0};
    uint64_t room = 0;
    char need[32], have[32];
    double wanted, export = 0;

    NF_TRY(nf_snapshot_room(p->snapshot.dir, &room));
    NF_TRY(nf_snapshot_list(p->snapshot.dir, &list));
    wanted = (double)p->snapshot.keep + 1 + p->snapshot.keep_best - list.count; /* the oldest goes when the newest is there */
    nf_snapshot_list_free(&list);
    if (p->export_.dir) {
        uint64_t there = 0;
        NF_TRY(nf_snapshot_room(p->export_.dir, &there));
        export = export_bytes(k->s);
        if ((double)there < export)
            nf_warn("%s: an export takes %s, and %s are free", p->export_.dir, nf_str_bytes(need, export),
                    nf_str_bytes(have, (double)there));
    }
    if (room < each && p->snapshot.on_error == NF_ON_ERROR_STOP)
        return nf_fail(NF_EIO,
                       "%s: a snapshot takes %llu bytes (%s), and %llu (%s) are free"
                       "\n  Hint: free some space, choose another snapshot.dir, or say snapshot.on_error = 'retry' or 'pause'",
                       p->snapshot.dir, (unsigned long long)each, nf_str_bytes(need, (double)each), (unsigned long long)room,
                       nf_str_bytes(have, (double)room));
    if ((double)room < fmax(wanted, 1) * (double)each)
        nf_warn("%s: %.0f more snapshots of %s will be there at once, and %s are free", p->snapshot.dir, fmax(wanted, 1),
                nf_str_bytes(need, (double)each), nf_str_bytes(have, (double)room));
    return NF_OK;
}

nf_status nf_keeper_preflight(struct keeper *k)
{
    struct nf_snapshot_meta meta = {.best_step = -1, .csv_bytes = -1, .jsonl_bytes = -1};
    struct nf_snapshot_cost cost;
    struct state_fields fields;
    char text[32];

    nf_state_fields(k->e, &fields);
    struct nf_snapshot_arg arg = {
        .mesh = k->s->mesh, .lease = k->lease, .meta = &meta, .field = fields.field, .fields = fields.n, .queue = k->e->q};
    NF_TRY(nf_snapshot_size(&arg, &cost));
    k->stop->snapshot = 2 * (double)cost.rank_bytes / guessed_rate; /* written and read back; until one was measured */
    nf_note("snapshots %s each, in %s", nf_str_bytes(text, (double)cost.bytes), k->s->p->snapshot.dir);
    NF_TRY(nf_snapshot_staging_new(k->s->mesh, k->e->device, cost.rank_bytes, k->s->p->snapshot.async, &k->staging));
    if (k->s->p->snapshot.async && nf_snapshot_staging_bytes(k->staging) > cost.rank_bytes)
        nf_note("          written behind the steps, from a copy of %s a rank in host memory",
                nf_str_bytes(text, (double)cost.rank_bytes));
    return nf_agree(k->s->mesh, nf_mesh_rank(k->s->mesh) == 0 ? judge(k, cost.bytes) : NF_OK);
}
