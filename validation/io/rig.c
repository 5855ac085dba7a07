/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool rig_open(struct rig *r, const char *name)
{
    *r = (struct rig){.world = MPI_COMM_WORLD};
    MPI_Comm_rank(r->world, &r->rank);
    MPI_Comm_size(r->world, &r->ranks);
    const bool ready = r->rank != 0 || make_folder(r->base, name);
    MPI_Bcast(r->base, sizeof r->base, MPI_BYTE, 0, r->world);
    snprintf(r->source, sizeof r->source, "%.250s/source", r->base);
    snprintf(r->target, sizeof r->target, "%.250s/target", r->base);
    return ready;
}

bool rig_mesh(struct rig *r)
{
    return nf_device_host(1, &r->device) == NF_OK && nf_mesh_new(&r->world, r->ep, r->device, &r->mesh) == NF_OK &&
           nf_queue_new(r->device, "io", 0, NULL, &r->queue) == NF_OK;
}

void rig_mesh_free(struct rig *r)
{
    nf_queue_free(r->queue);
    nf_mesh_free(r->mesh);
    nf_device_free(r->device);
}

void rig_close(struct rig *r)
{
    if (r->rank == 0)
        make_remove(r->base);
}

void rig_barrier(const struct rig *r)
{
    nf_barrier(nf_mesh_group(r->mesh, NF_WORLD));
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------
 */

/* Piece `part` of `parts` uneven ones of [0, n). */
static void part_of(int64_t n, int part, int parts, int64_t *first, int64_t *count)
{
    const int64_t a = n * part * part / ((int64_t)parts * parts), b = n * (part + 1) * (part + 1) / ((int64_t)parts * parts);
    *first = a;
    *count = b - a;
}

bool rig_take_memory(struct rig *r, bool split)
{
    const int ep = nf_group_size(nf_mesh_group(r->mesh, NF_EP)), me = nf_group_rank(nf_mesh_group(r->mesh, NF_EP));
    const int edp = nf_group_size(nf_mesh_group(r->mesh, NF_EDP)), row = nf_group_rank(nf_mesh_group(r->mesh, NF_EDP));
    r->n = 0;
    for (int p = 0; p < TOY_PARAMS; p++) {
        const nf_param_desc *d = &r->toy.desc[p];
        const bool expert = d->spread == NF_EXPERT;
        const int64_t all = toy_count(&r->toy, p), mine = expert ? all / ep : all;
        int64_t first = 0, count = mine;
        if (split)
            part_of(mine, expert ? row : r->rank, expert ? edp : r->ranks, &first, &count);
        first += expert ? me * mine : 0;
        for (int half = 0; half < 2; half++) { /* two pieces of some, so that one parameter may lie in two places */
            const bool two = split && p % 2;
            if (half && !two)
                break;
            const int64_t cut = two ? count / 3 : 0;
            nf_named *named = &r->named[r->n++];
            *named = (nf_named){.desc = d,
                                .piece = {.param = p,
                                          .first = first + (half ? cut : 0),
                                          .count = half  ? count - cut
                                                   : two ? cut
                                                         : count}};
            named->data = malloc((size_t)named->piece.count * 4 + 1);
            if (!named->data)
                return false;
            memset(named->data, 0xee, (size_t)named->piece.count * 4);
        }
    }
    return true;
}

void rig_give_memory(struct rig *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->named[i].data);
    r->n = 0;
}

bool rig_memory_right(const struct rig *r, bool spare)
{
    for (int i = 0; i < r->n; i++) {
        const nf_piece *piece = &r->named[i].piece;
        for (int64_t k = 0; k < piece->count; k++) {
            const uint32_t wanted = piece->param == TOY_SPARE && !spare ? 0 : toy_bits(&r->toy, piece->param, piece->first + k);
            const uint32_t found =
                r->named[i].desc->dtype == NF_F32 ? ((uint32_t *)r->named[i].data)[k] : ((uint16_t *)r->named[i].data)[k];
            if (found != wanted) {
                tap_note("%s[%lld]: %08x, wanted %08x", r->named[i].desc->name, (long long)(piece->first + k), found, wanted);
                return false;
            }
        }
    }
    return true;
}

/* ---- disk -----------------------------------------------------------------------------------------------------------------
 */

bool rig_open_file(struct rig_file *o, const char *path)
{
    *o = (struct rig_file){0};
    o->bytes = make_read(path, &o->n);
    uint64_t header = 0;
    if (!o->bytes || o->n < 8)
        return false;
    memcpy(&header, o->bytes, 8);
    return nf_st_header_parse(path, o->bytes + 8, header, o->n, &o->entry, &o->count) == NF_OK;
}

void rig_close_file(struct rig_file *o)
{
    nf_st_entries_free(o->entry, o->count);
    free(o->bytes);
}

const char *const rig_file_name[4] = {"model.safetensors", "model-00001-of-00003.safetensors",
                                      "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"};

/* Files of both directories are equal: same tensors in the same order under the same names, same bytes. */
/* Does every tensor begin on a multiple of its element's size? Then the writer has no reason to change the order. */
static bool aligned(const struct rig_file *o)
{
    uint64_t header;
    memcpy(&header, o->bytes, 8);
    for (int64_t i = 0; i < o->count; i++) {
        const char *t = o->entry[i].dtype;
        const uint64_t size = strcmp(t, "F32") == 0 || strcmp(t, "I32") == 0 ? 4 : t[1] == '8' ? 1 : 2;
        if ((o->entry[i].begin - 8 - header) % size)
            return false;
    }
    return true;
}

static const char *published(char out[256], const char *name, bool alias)
{
    if (!alias || strncmp(name, "model.", 6) != 0)
        return name;
    snprintf(out, 256, "backbone.%s", name + 6);
    return out;
}

static bool same_tensors(const struct rig_file *x, const struct rig_file *y, bool alias)
{
    const bool ordered = aligned(x);
    char name[256];
    for (int64_t i = 0; i < x->count; i++) {
        const struct nf_st_entry *e = &x->entry[i], *g = ordered ? &y->entry[i] : NULL;
        for (int64_t k = 0; !ordered && k < y->count; k++)
            if (strcmp(y->entry[k].name, published(name, e->name, alias)) == 0)
                g = &y->entry[k];
        if (!g || strcmp(published(name, e->name, alias), g->name) != 0 || strcmp(e->dtype, g->dtype) != 0 || e->nd != g->nd ||
            memcmp(e->dim, g->dim, sizeof e->dim) != 0 || e->bytes != g->bytes ||
            memcmp(x->bytes + e->begin, y->bytes + g->begin, e->bytes) != 0) {
            tap_note("%s became %s %s", e->name, g ? g->name : "nothing", g ? g->dtype : "");
            return false;
        }
    }
    return true;
}

bool rig_same_files(const struct rig *r, const struct toy_how *how)
{
    bool same = true;
    for (int f = how->sharded ? 1 : 0; same && f < (how->sharded ? 4 : 1); f++) {
        char a[400], b[400];
        struct rig_file x = {0}, y = {0};
        snprintf(a, sizeof a, "%s/%s", r->source, rig_file_name[f]);
        snprintf(b, sizeof b, "%s/%s", r->target, rig_file_name[f]);
        same = rig_open_file(&x, a) && rig_open_file(&y, b) && x.count == y.count;
        if (!same)
            tap_note("%s: %lld tensors, %lld in the source: %s", b, (long long)y.count, (long long)x.count, nf_diagnosis());
        same = same && aligned(&y) && same_tensors(&x, &y, how->alias);
        rig_close_file(&x);
        rig_close_file(&y);
    }
    return same;
}

bool rig_right_rest(const struct rig *r)
{
    char a[400], b[400];
    snprintf(a, sizeof a, "%s/config.json", r->source);
    snprintf(b, sizeof b, "%s/config.json", r->target);
    bool right = make_same(a, b);
    snprintf(a, sizeof a, "%s/tokenizer.model", r->source);
    snprintf(b, sizeof b, "%s/tokenizer.model", r->target);
    right &= make_same(a, b) && make_count(r->target, "pytorch_model.bin") == 0;
    struct stat st;
    right &= stat(b, &st) == 0 && (st.st_mode & 0777 & ~(mode_t)0640) == 0;
    return right && make_count(r->base, "*.tmp-*") == 0 && make_count(r->base, "*.old-*") == 0;
}

bool rig_write_source(struct rig *r, const struct toy_how *how)
{
    bool written = true;
    if (r->rank == 0) {
        make_remove(r->source);
        written = mkdir(r->source, 0755) == 0 && toy_write(&r->toy, r->source, how);
    }
    rig_barrier(r);
    return written;
}

nf_status rig_export(struct rig *r, nf_st *st, int dtype, double shard_gb)
{
    const struct nf_st_write_arg arg = {.dir = r->target, .source_dir = r->source, .dtype = dtype, .shard_gb = shard_gb};
    return nf_st_write(st, r->mesh, &r->toy.map, r->toy.desc, TOY_PARAMS, r->named, r->n, r->queue, &arg);
}

nf_status rig_load(struct rig *r, nf_st **st)
{
    NF_TRY(nf_st_open(r->mesh, r->source, st));
    NF_TRY(nf_st_check(*st, &r->toy.map, r->toy.desc, TOY_PARAMS, true));
    return nf_st_read(*st, r->mesh, &r->toy.map, r->toy.desc, r->named, r->n, r->queue);
}
