/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which bytes of which shard fill which elements of this rank's pieces. The tensors on disk must tile every parameter exactly,
 * and so every piece is filled exactly once; that is checked here for the plan and counted again while it is carried out.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

/* Ranges of all parameters by the entries that fill them (item -1: an optional tensor that is absent). */
nf_status nf_st_sources_make(const nf_st *st, const nf_weight_map *map, const nf_param_desc *desc, int params,
                             struct nf_st_span **spans, int64_t *count)
{
    struct nf_st_links links;
    char a[280], b[280];
    nf_status status = nf_st_links_make(st, map, desc, params, &links);
    NF_TRY(status);
    struct nf_st_span *span = malloc((size_t)(map->rows + st->count + 1) * sizeof *span);
    int64_t n = 0;
    if (!span)
        status = nf_fail(NF_ENOMEM, "no memory to plan the reading of %lld tensors", (long long)st->count);
    if (status == NF_OK && links.twice_a >= 0) {
        const char *x = st->entry[links.twice_a].name, *y = st->entry[links.twice_b].name;
        status = nf_fail(NF_EDATA, "%s: MD-09: tensors '%s' and '%s' stand for the same parameter", st->dir,
                         nf_str_shown(a, x, strlen(x)), nf_str_shown(b, y, strlen(y)));
    }
    for (int64_t i = 0; status == NF_OK && i < st->count; i++)
        if (links.row[i] <= NF_ST_FUSED) {
            const int param = (int)(NF_ST_FUSED - links.row[i]);
            span[n++] = (struct nf_st_span){.param = param, .first = 0, .count = nf_st_desc_count(&desc[param]), .item = i};
        }
    for (int64_t r = 0; status == NF_OK && r < map->rows; r++) {
        const nf_map_row *row = &map->row[r];
        const int64_t entry = links.entry[r];
        if (entry >= 0 && links.row[entry] != r)
            continue; /* part of a fused tensor */
        struct nf_st_span s = {.param = row->param, .item = entry};
        status = nf_st_row_span(row, &desc[row->param], &s.first, &s.count);
        if (status == NF_OK && entry < 0 && !nf_st_matches(map->optional, row->name))
            status = nf_fail(NF_EDATA, "%s: MD-01: tensor '%s' is missing", st->dir, row->name);
        span[n++] = s;
    }
    nf_st_links_free(&links);
    if (status != NF_OK) {
        free(span);
        return status;
    }
    nf_st_spans_sort(span, n);
    *spans = span;
    *count = n;
    return NF_OK;
}

/* Do the ranges tile each parameter, in order, without gap or overlap, and does every entry have as many elements as its range?
 */
nf_status nf_st_sources_check(const nf_st *st, const nf_param_desc *desc, int params, const struct nf_st_span *span, int64_t n)
{
    char shown[280];
    int64_t k = 0;
    for (int p = 0; p < params; p++) {
        int64_t at = 0;
        for (; k < n && span[k].param == p; k++) {
            if (span[k].first != at)
                return nf_fail(NF_EBUG, "parameter '%s': elements [%lld, %lld) are filled %s", desc[p].name,
                               (long long)(span[k].first < at ? span[k].first : at),
                               (long long)(span[k].first < at ? at : span[k].first),
                               span[k].first < at ? "twice" : "by no tensor");
            at += span[k].count;
            if (span[k].item < 0)
                continue;
            const struct nf_st_entry *e = &st->entry[span[k].item];
            nf_dtype t;
            nf_str_shown(shown, e->name, strlen(e->name));
            if (nf_st_entry_count(e) != span[k].count)
                return nf_fail(NF_EDATA, "%s: MD-03: tensor '%s' has %lld elements, expected %lld", st->dir, shown,
                               (long long)nf_st_entry_count(e), (long long)span[k].count);
            if (!nf_st_dtype_float(e->dtype, &t))
                return nf_fail(NF_EDATA, "%s: MD-05: tensor '%s': dtype %s, expected F32, BF16 or F16", st->dir, shown,
                               e->dtype);
        }
        if (at != nf_st_desc_count(&desc[p]))
            return nf_fail(NF_EBUG, "parameter '%s': elements [%lld, %lld) are filled by no tensor", desc[p].name,
                           (long long)at, (long long)nf_st_desc_count(&desc[p]));
    }
    return NF_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct nf_st_job *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

nf_status nf_st_jobs_make(const nf_st *st, const struct nf_st_span *span, int64_t spans, const nf_named *named, int n,
                          const bool *take, struct nf_st_job **jobs, int64_t *count)
{
    int64_t cap = 0, made = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct nf_st_job *job = pass ? malloc((size_t)(cap + 1) * sizeof *job) : NULL;
        if (pass && !job)
            return nf_fail(NF_ENOMEM, "no memory for a plan of %lld reads", (long long)cap);
        made = 0;
        for (int i = 0; i < n; i++) {
            const nf_piece *piece = &named[i].piece;
            if (!take[i])
                continue;
            const int64_t end = piece->first + piece->count;
            for (int64_t k = nf_st_spans_find(span, spans, piece->param, piece->first);
                 k < spans && span[k].param == piece->param && span[k].first < end; k++) {
                const int64_t from = span[k].first > piece->first ? span[k].first : piece->first;
                const int64_t to = span[k].first + span[k].count < end ? span[k].first + span[k].count : end;
                if (to <= from)
                    continue;
                if (!pass) {
                    cap++;
                    continue;
                }
                struct nf_st_job *j = &job[made++];
                *j = (struct nf_st_job){
                    .named = i, .entry = span[k].item, .to = from - piece->first, .count = to - from, .file = -1};
                if (span[k].item < 0)
                    continue;
                const struct nf_st_entry *e = &st->entry[span[k].item];
                nf_st_dtype_float(e->dtype, &j->type);
                j->file = e->file;
                j->from = from - span[k].first;
                j->at = e->begin + (uint64_t)j->from * nf_dtype_size(j->type);
            }
        }
        if (pass)
            *jobs = job;
    }
    if (made)
        qsort(*jobs, (size_t)made, sizeof **jobs, by_place);
    *count = made;
    return NF_OK;
}
