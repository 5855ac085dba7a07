/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hold a checkpoint to a model: all faults in one answer, since a checkpoint that does not fit usually has many and the first
 * one seldom says why. Pure: every rank has the same table and reaches the same verdict.
 */
#include "private.h"

#include "nemafit/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD = 20 };

struct faults {
    nf_str text;
    int64_t count;
    nf_status status;
};

static void fault(struct faults *f, const char *fmt, ...) NF_PRINTF(2, 3);
static void fault(struct faults *f, const char *fmt, ...)
{
    if (f->status == NF_OK)
        f->status = NF_EDATA;
    if (f->count++ >= TOLD)
        return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    nf_str_addf(&f->text, "\n  %s", line);
}

static const char *shape(char out[128], int nd, const int64_t *dim)
{
    size_t at = (size_t)snprintf(out, 128, "[");
    for (int i = 0; i < nd && at < 100; i++)
        at += (size_t)snprintf(out + at, 128 - at, "%s%lld", i ? ", " : "", (long long)dim[i]);
    snprintf(out + at, 128 - at, "]");
    return out;
}

static const char *shown_name(char out[280], const char *name)
{
    return nf_str_shown(out, name, strlen(name));
}

/* Equal but for dimensions of 1. */
static bool same_shape(int nd, const int64_t *dim, int want_nd, const int64_t *want)
{
    int i = 0, j = 0;
    for (;;) {
        while (i < nd && dim[i] == 1)
            i++;
        while (j < want_nd && want[j] == 1)
            j++;
        if (i == nd || j == want_nd)
            return i == nd && j == want_nd;
        if (dim[i++] != want[j++])
            return false;
    }
}

static void check_shape(struct faults *f, const nf_st *st, const struct nf_st_entry *e, int nd, const int64_t *dim)
{
    char name[280], found[128], wanted[128];
    if (same_shape(e->nd, e->dim, nd, dim))
        return;
    shown_name(name, e->name);
    shape(found, e->nd, e->dim);
    shape(wanted, nd, dim);
    const char *file = st->shard[e->file].name;
    if (e->bytes == 0)
        fault(f, "ST-030 tensor '%s' (%s): it is empty, shape %s, expected %s", name, file, found, wanted);
    else if (e->nd == 2 && nd == 2 && e->dim[0] == dim[1] && e->dim[1] == dim[0])
        fault(f, "MD-04 tensor '%s' (%s): it is transposed, shape %s, expected %s", name, file, found, wanted);
    else
        fault(f, "MD-03 tensor '%s' (%s): shape %s, expected %s", name, file, found, wanted);
}

static void check_dtype(struct faults *f, const nf_st *st, const struct nf_st_entry *e)
{
    char name[280];
    nf_dtype t;
    if (nf_st_dtype_float(e->dtype, &t))
        return;
    const bool packed = strncmp(e->dtype, "F8", 2) == 0 || strncmp(e->dtype, "F4", 2) == 0 || strncmp(e->dtype, "F6", 2) == 0;
    shown_name(name, e->name);
    if (packed) {
        f->status = NF_EMODEL;
        fault(f, "MD-06 tensor '%s' (%s): FP8 and FP4 weights (%s) are not supported; use the BF16 version of the model", name,
              st->shard[e->file].name, e->dtype);
    } else {
        fault(f, "MD-05 tensor '%s' (%s): dtype %s, expected F32, BF16 or F16", name, st->shard[e->file].name, e->dtype);
    }
}

/* ---- what is not in the map -----------------------------------------------------------------------------------------------
 */

/* The last number between `marker` and the next dot, and the name with another number there. False: no such number. */
static bool numbered(const char *name, const char *marker, const char **digits, size_t *length)
{
    const char *at = NULL;
    for (const char *p = strstr(name, marker); p; p = strstr(p + 1, marker))
        at = p + strlen(marker);
    if (!at)
        return false;
    *digits = at;
    *length = strspn(at, "0123456789");
    return *length > 0 && at[*length] == '.';
}

static bool known_with_zero(const struct nf_st_links *links, const nf_weight_map *map, const char *name, const char *digits,
                            size_t length)
{
    nf_str other = {0};
    nf_str_addn(&other, name, (size_t)(digits - name));
    nf_str_addf(&other, "0%s", digits + length);
    const bool known = !other.failed && nf_st_links_row(links, map, other.text) >= 0;
    nf_str_free(&other);
    return known;
}

/* Largest number behind the same beginning in the map; -1: none. */
static long long largest(const nf_weight_map *map, const char *name, const char *digits)
{
    const size_t n = (size_t)(digits - name);
    long long most = -1;
    for (int64_t r = 0; r < map->rows; r++)
        if (strncmp(map->row[r].name, name, n) == 0) {
            const long long number = strtoll(map->row[r].name + n, NULL, 10);
            most = number > most ? number : most;
        }
    return most;
}

static void unknown(struct faults *f, const nf_st *st, const struct nf_st_links *links, const nf_weight_map *map,
                    const struct nf_st_entry *e)
{
    char canonical[NF_ST_NAME_MAX + 64], shown[280];
    if (f->count >= TOLD) { /* only counted */
        fault(f, "%s", "");
        return;
    }
    const char *name = nf_st_canonical(map, e->name, canonical), *digits, *file = st->shard[e->file].name;
    size_t length;
    shown_name(shown, e->name);
    if (numbered(name, ".experts.", &digits, &length) && known_with_zero(links, map, name, digits, length)) {
        fault(f, "MD-08 tensor '%s' (%s): the model has experts 0 to %lld", shown, file, largest(map, name, digits));
        return;
    }
    if (numbered(name, ".layers.", &digits, &length)) {
        const long long most = largest(map, name, digits);
        if (most >= 0 && strtoll(digits, NULL, 10) > most) {
            fault(f, "MD-14 tensor '%s' (%s): the model has layers 0 to %lld", shown, file, most);
            return;
        }
    }
    fault(f, "MD-02 tensor '%s' (%s): the model has none of this name", shown, file);
}

static void check_entries(struct faults *f, const nf_st *st, const struct nf_st_links *links, const nf_weight_map *map,
                          const nf_param_desc *desc, bool strict)
{
    char a[280], b[280];
    int64_t ignored = 0, first = -1;
    if (links->twice_a >= 0)
        fault(f, "MD-09 tensors '%s' and '%s' stand for the same parameter", shown_name(a, st->entry[links->twice_a].name),
              shown_name(b, st->entry[links->twice_b].name));
    for (int64_t i = 0; i < st->count; i++) {
        const struct nf_st_entry *e = &st->entry[i];
        const int64_t row = links->row[i];
        if (row == NF_ST_PASS)
            continue;
        if (row == NF_ST_UNKNOWN) {
            if (strict)
                unknown(f, st, links, map, e);
            else if (ignored++ == 0)
                first = i;
            continue;
        }
        check_dtype(f, st, e);
        if (row >= 0) {
            check_shape(f, st, e, map->row[row].nd, map->row[row].dim);
        } else {
            const nf_param_desc *d = &desc[NF_ST_FUSED - row];
            check_shape(f, st, e, d->nd, d->dim);
        }
    }
    if (ignored)
        nf_warn("%s: MD-02: %lld tensors are unknown to the model and are passed through, first '%s'", st->dir,
                (long long)ignored, shown_name(a, st->entry[first].name));
}

/* ---- what is missing ------------------------------------------------------------------------------------------------------
 */

static void check_missing(struct faults *f, const struct nf_st_links *links, const nf_weight_map *map,
                          const nf_param_desc *desc, int params)
{
    int64_t *have = calloc((size_t)params + 1, sizeof *have);
    if (!have) {
        f->status = nf_fail(NF_ENOMEM, "no memory to check the checkpoint");
        return;
    }
    for (int64_t r = 0; r < map->rows; r++)
        have[map->row[r].param] += links->entry[r] >= 0;
    for (int64_t r = 0; r < map->rows; r++) {
        const nf_map_row *row = &map->row[r];
        if (links->entry[r] >= 0 || nf_st_matches(map->optional, row->name))
            continue;
        if (row->kind != NF_MAP_WHOLE && have[row->param] > 0)
            fault(f, "MD-07 tensor '%s' is missing: of experts 0 to %lld, number %lld", row->name,
                  (long long)desc[row->param].dim[0] - 1, (long long)row->index);
        else
            fault(f, "MD-01 tensor '%s' is missing", row->name);
    }
    free(have);
}

nf_status nf_st_check(const nf_st *st, const nf_weight_map *map, const nf_param_desc *desc, int params, bool strict)
{
    struct nf_st_links links;
    struct faults f = {.status = NF_OK};
    char shown[280], more[64] = "";
    NF_TRY(nf_st_links_make(st, map, desc, params, &links));
    check_entries(&f, st, &links, map, desc, strict);
    check_missing(&f, &links, map, desc, params);
    nf_st_links_free(&links);
    if (f.count > TOLD)
        snprintf(more, sizeof more, "\n  ... and %lld more", (long long)f.count - TOLD);
    if (f.status != NF_OK)
        nf_fail(f.status, "%s: the checkpoint does not fit the model of config.json: %lld fault%s%s%s",
                shown_name(shown, st->dir), (long long)f.count, f.count == 1 ? "" : "s", f.text.text ? f.text.text : "", more);
    nf_str_free(&f.text);
    return f.status;
}
