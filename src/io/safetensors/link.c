/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each tensor on disk stands for: a row of the family's map, a whole fused parameter, something to pass through, or
 * nothing known. Every kind of row in use is a contiguous range of its logical tensor, so reading and writing are copies of
 * ranges.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

int64_t nf_st_desc_count(const nf_param_desc *desc)
{
    int64_t count = 1;
    for (int i = 0; i < desc->nd; i++)
        count *= desc->dim[i];
    return count;
}

int64_t nf_st_entry_count(const struct nf_st_entry *entry)
{
    int64_t count = 1;
    for (int i = 0; i < entry->nd; i++)
        count *= entry->dim[i];
    return count;
}

bool nf_st_matches(const char *const *patterns, const char *name)
{
    for (int i = 0; patterns && patterns[i]; i++)
        if (nf_str_match(patterns[i], name))
            return true;
    return false;
}

const char *nf_st_canonical(const nf_weight_map *map, const char *name, char out[NF_ST_NAME_MAX + 64])
{
    return map->canonical && map->canonical(name, out, NF_ST_NAME_MAX + 64) ? out : name;
}

nf_status nf_st_row_span(const nf_map_row *row, const nf_param_desc *desc, int64_t *first, int64_t *count)
{
    const int64_t all = nf_st_desc_count(desc), part = desc->nd > 0 && desc->dim[0] > 0 ? all / desc->dim[0] : 0;
    const int64_t line = desc->nd == 3 ? desc->dim[2] : 1;
    int64_t disk = 1;
    for (int i = 0; i < row->nd; i++)
        disk *= row->dim[i];
    switch (row->kind) {
    case NF_MAP_WHOLE:
        *first = 0;
        *count = all;
        break;
    case NF_MAP_ROW:
        *first = row->index * part;
        *count = part;
        break;
    case NF_MAP_BAND:
        *first = row->index * part + row->row0 * line;
        *count = row->rows * line;
        break;
    default: return nf_fail(NF_EBUG, "map row '%s': this kind of conversion is not implemented", row->name);
    }
    if (*first < 0 || *first + *count > all || *count != disk)
        return nf_fail(NF_EBUG, "map row '%s': its shape does not fit parameter '%s'", row->name, desc->name);
    return NF_OK;
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static int rows_by_name(const void *a, const void *b, void *ctx)
{
    const nf_weight_map *map = ctx;
    return strcmp(map->row[*(const int64_t *)a].name, map->row[*(const int64_t *)b].name);
}

int64_t nf_st_links_row(const struct nf_st_links *links, const nf_weight_map *map, const char *name)
{
    int64_t low = 0, high = links->rows;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = strcmp(map->row[links->by_name[middle]].name, name);
        if (order == 0)
            return links->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* An expert parameter whose rows lie one by one in the map, found as one tensor. */
static int fused_param(const nf_param_desc *desc, int params, const int *by_name, const char *name)
{
    int low = 0, high = params;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const nf_param_desc *d = &desc[by_name[middle]];
        const int order = strcmp(d->name, name);
        if (order == 0)
            return d->spread == NF_EXPERT && d->nd == 3 ? by_name[middle] : -1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static int params_by_name(const void *a, const void *b, void *ctx)
{
    const nf_param_desc *desc = ctx;
    return strcmp(desc[*(const int *)a].name, desc[*(const int *)b].name);
}

static void twice(struct nf_st_links *links, int64_t a, int64_t b)
{
    if (links->twice_a < 0) {
        links->twice_a = a;
        links->twice_b = b;
    }
}

/* Rows of a parameter, given as a list by parameter: first[p] .. first[p + 1) of list. */
static void link_fused(struct nf_st_links *links, const nf_weight_map *map, int param, int64_t entry)
{
    for (int64_t r = 0; r < map->rows; r++) {
        if (map->row[r].param != param)
            continue;
        if (links->entry[r] >= 0)
            twice(links, links->entry[r], entry);
        links->entry[r] = entry;
    }
}

nf_status nf_st_links_make(const nf_st *st, const nf_weight_map *map, const nf_param_desc *desc, int params,
                           struct nf_st_links *links)
{
    char canonical[NF_ST_NAME_MAX + 64];
    const int64_t count = st ? st->count : 0;
    *links = (struct nf_st_links){.twice_a = -1, .twice_b = -1, .rows = map->rows};
    links->row = malloc((size_t)(count + 1) * sizeof *links->row);
    links->entry = malloc((size_t)(map->rows + 1) * sizeof *links->entry);
    links->by_name = malloc((size_t)(map->rows + 1) * sizeof *links->by_name);
    int *by_name = malloc((size_t)(params + 1) * sizeof *by_name);
    if (!links->row || !links->entry || !links->by_name || !by_name) {
        free(by_name);
        nf_st_links_free(links);
        return nf_fail(NF_ENOMEM, "no memory to match %lld tensors with the model", (long long)count);
    }
    for (int64_t r = 0; r < map->rows; r++) {
        links->entry[r] = -1;
        links->by_name[r] = r;
    }
    for (int p = 0; p < params; p++)
        by_name[p] = p;
    qsort_r(links->by_name, (size_t)map->rows, sizeof *links->by_name, rows_by_name, (void *)map);
    qsort_r(by_name, (size_t)params, sizeof *by_name, params_by_name, (void *)desc);
    for (int64_t i = 0; i < count; i++) {
        const char *found = st->entry[i].name, *name = nf_st_canonical(map, found, canonical);
        const int64_t row = nf_st_links_row(links, map, name);
        const int fused = row < 0 ? fused_param(desc, params, by_name, name) : -1;
        if (row >= 0) {
            if (links->entry[row] >= 0)
                twice(links, links->entry[row], i);
            links->entry[row] = i;
            links->row[i] = row;
        } else if (fused >= 0) {
            link_fused(links, map, fused, i);
            links->row[i] = NF_ST_FUSED - fused;
        } else {
            links->row[i] = nf_st_matches(map->pass, found) || nf_st_matches(map->pass, name) ? NF_ST_PASS : NF_ST_UNKNOWN;
        }
    }
    free(by_name);
    return NF_OK;
}

void nf_st_links_free(struct nf_st_links *links)
{
    free(links->row);
    free(links->entry);
    free(links->by_name);
    links->row = links->entry = links->by_name = NULL;
}

/* ---- ranges of logical tensors --------------------------------------------------------------------------------------------
 */

static int by_range(const void *a, const void *b)
{
    const struct nf_st_span *x = a, *y = b;
    if (x->param != y->param)
        return x->param < y->param ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

void nf_st_spans_sort(struct nf_st_span *span, int64_t n)
{
    if (n > 0)
        qsort(span, (size_t)n, sizeof *span, by_range);
}

int64_t nf_st_spans_find(const struct nf_st_span *span, int64_t n, int param, int64_t at)
{
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const struct nf_st_span *s = &span[middle];
        if (s->param < param || (s->param == param && s->first + s->count <= at))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
