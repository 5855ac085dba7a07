/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where every byte of the output will lie, from the table of the source and the family's map alone: all ranks compute the same,
 * so each can write its ranges without asking. Order and distribution are the source's where there is one.
 */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_BYTES 5e9

struct making {
    const nf_st *source;
    const nf_weight_map *map;
    const nf_param_desc *desc;
    const struct nf_st_write_arg *arg;
    struct nf_st_links links;
    struct nf_st_layout *layout;
};

/*
 * Type of a tensor of the model. A buffer (the router's correction bias) is never narrowed: rounding it changes which experts
 * are chosen. A tensor that the source lacks has the type it has in memory.
 */
static nf_dtype out_dtype(const struct making *m, const nf_param_desc *desc, int64_t source)
{
    nf_dtype own = desc->dtype;
    if (source >= 0)
        nf_st_dtype_float(m->source->entry[source].dtype, &own);
    const nf_dtype wanted = m->arg->dtype == NF_AUTO ? own : (nf_dtype)m->arg->dtype;
    return desc->buffer && nf_dtype_size(wanted) < nf_dtype_size(own) ? own : wanted;
}

static void add_row(struct making *m, int64_t r, int64_t source, int file)
{
    const nf_map_row *row = &m->map->row[r];
    const nf_dtype t = out_dtype(m, &m->desc[row->param], source);
    struct nf_st_out *out = &m->layout->out[m->layout->outs++];
    *out = (struct nf_st_out){.row = r, .source = source, .e = {.name = (char *)row->name, .nd = row->nd, .file = file}};
    snprintf(out->e.dtype, sizeof out->e.dtype, "%s", nf_st_dtype_disk(t));
    for (int i = 0; i < row->nd; i++)
        out->e.dim[i] = row->dim[i];
    out->e.bytes = (uint64_t)nf_st_entry_count(&out->e) * nf_dtype_size(t);
}

static void add_pass(struct making *m, int64_t source)
{
    struct nf_st_out *out = &m->layout->out[m->layout->outs++];
    *out = (struct nf_st_out){.row = -1, .source = source, .e = m->source->entry[source]};
}

/* Is a tensor of the model that the source lacks to be written all the same? Yes, unless it may be absent and is untouched. */
static bool added(const struct making *m, int64_t r)
{
    const nf_param_desc *d = &m->desc[m->map->row[r].param];
    return !m->source || !(d->frozen || d->buffer) || !nf_st_matches(m->map->optional, m->map->row[r].name);
}

static nf_status list(struct making *m)
{
    const int64_t count = m->source ? m->source->count : 0;
    m->layout->out = calloc((size_t)(m->map->rows + count + 1), sizeof *m->layout->out);
    if (!m->layout->out)
        return nf_fail(NF_ENOMEM, "no memory to plan the writing of %lld tensors", (long long)(m->map->rows + count));
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = m->links.row[i];
        const int file = m->source->entry[i].file;
        if (row >= 0)
            add_row(m, row, i, file);
        else if (row > NF_ST_FUSED)
            add_pass(m, i);
        else /* published layouts have one tensor an expert */
            for (int64_t r = 0; r < m->map->rows; r++)
                if (m->links.entry[r] == i)
                    add_row(m, r, i, file);
    }
    const int last = m->source ? m->source->shards - 1 : 0;
    for (int64_t r = 0; r < m->map->rows; r++)
        if (m->links.entry[r] < 0 && added(m, r))
            add_row(m, r, -1, last);
    return NF_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------
 */

static nf_status name_files(struct making *m, int files)
{
    struct nf_st_layout *l = m->layout;
    const bool reuse = m->source && m->arg->shard_gb == 0;
    char name[64];
    l->file = calloc((size_t)files, sizeof *l->file);
    if (!l->file)
        return nf_fail(NF_ENOMEM, "no memory to plan %d shards", files);
    l->files = files;
    l->indexed = files > 1 || (reuse && m->source->indexed);
    for (int i = 0; i < files; i++) {
        if (files == 1)
            snprintf(name, sizeof name, "model.safetensors");
        else
            snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i + 1, files);
        l->file[i].name = strdup(reuse && l->indexed ? m->source->shard[i].name : name);
        if (!l->file[i].name)
            return nf_fail(NF_ENOMEM, "no memory to plan %d shards", files);
    }
    return NF_OK;
}

static nf_status distribute(struct making *m)
{
    struct nf_st_layout *l = m->layout;
    if (m->source && m->arg->shard_gb == 0)
        return name_files(m, m->source->shards);
    const double limit = m->arg->shard_gb > 0 ? m->arg->shard_gb * 1e9 : SHARD_BYTES;
    double in_file = 0;
    int file = 0;
    for (int64_t i = 0; i < l->outs; i++) {
        const double bytes = (double)l->out[i].e.bytes;
        if (in_file > 0 && in_file + bytes > limit) {
            file++;
            in_file = 0;
        }
        in_file += bytes;
        l->out[i].e.file = file;
    }
    return name_files(m, file + 1);
}

static uint64_t alignment(const struct nf_st_entry *e)
{
    const int bits = nf_st_dtype_bits(e->dtype);
    return bits >= 8 && bits <= 64 ? (uint64_t)bits / 8 : 1;
}

/* Wide elements first, if one would not lie on a multiple of its size: some readers want that. Else the order stays. */
static int by_alignment(const void *a, const void *b)
{
    const struct nf_st_out *x = a, *y = b;
    const uint64_t p = alignment(&x->e), q = alignment(&y->e);
    if (p != q)
        return p > q ? -1 : 1;
    return (x->e.begin > y->e.begin) - (x->e.begin < y->e.begin); /* here: the number in the old order */
}

static int by_file(const void *a, const void *b)
{
    const struct nf_st_out *x = a, *y = b;
    if (x->e.file != y->e.file)
        return x->e.file < y->e.file ? -1 : 1;
    return (x->e.begin > y->e.begin) - (x->e.begin < y->e.begin);
}

static void json_string(nf_str *s, const char *text)
{
    nf_str_add(s, "\"");
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            nf_str_addf(s, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            nf_str_addf(s, "\\u%04x", (unsigned)*p);
        else
            nf_str_addn(s, p, 1);
    }
    nf_str_add(s, "\"");
}

/* Tensors [first, end) of one file: their places and the header. */
static void place(struct nf_st_layout *l, int file, int64_t first, int64_t end)
{
    bool aligned = true;
    uint64_t at = 0;
    for (int64_t i = first; i < end; i++) {
        aligned &= at % alignment(&l->out[i].e) == 0;
        at += l->out[i].e.bytes;
    }
    if (!aligned)
        qsort(l->out + first, (size_t)(end - first), sizeof *l->out, by_alignment);
    nf_str *h = &l->file[file].header;
    nf_str_addn(h, "\0\0\0\0\0\0\0\0", 8);
    nf_str_add(h, "{\"__metadata__\":{\"format\":\"pt\"}");
    at = 0;
    for (int64_t i = first; i < end; i++) {
        struct nf_st_entry *e = &l->out[i].e;
        nf_str_add(h, ",");
        json_string(h, e->name);
        nf_str_addf(h, ":{\"dtype\":\"%s\",\"shape\":[", e->dtype);
        for (int d = 0; d < e->nd; d++)
            nf_str_addf(h, "%s%lld", d ? "," : "", (long long)e->dim[d]);
        nf_str_addf(h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + e->bytes));
        e->begin = at;
        at += e->bytes;
    }
    nf_str_add(h, "}");
    while (h->len % 8 && !h->failed)
        nf_str_add(h, " ");
    for (int64_t i = first; i < end; i++)
        l->out[i].e.begin += h->len;
    for (int i = 0; i < 8 && !h->failed; i++)
        h->text[i] = (char)((uint64_t)(h->len - 8) >> (8 * i) & 255);
    l->file[file].size = h->len + at;
    l->total += at;
}

nf_status nf_st_layout_make(const nf_st *source, const nf_weight_map *map, const nf_param_desc *desc, int params,
                            const struct nf_st_write_arg *arg, struct nf_st_layout *layout)
{
    struct making m = {source, map, desc, arg, {0}, layout};
    *layout = (struct nf_st_layout){0};
    NF_CHECK(arg->dtype == NF_AUTO || nf_st_dtype_disk((nf_dtype)arg->dtype));
    NF_TRY(nf_st_links_make(source, map, desc, params, &m.links));
    nf_status status = m.links.twice_a < 0
                           ? list(&m)
                           : nf_fail(NF_EDATA, "%s: MD-09: tensors '%s' and '%s' stand for the same parameter", source->dir,
                                     source->entry[m.links.twice_a].name, source->entry[m.links.twice_b].name);
    nf_st_links_free(&m.links);
    if (status == NF_OK)
        status = distribute(&m);
    for (int64_t i = 0; status == NF_OK && i < layout->outs; i++)
        layout->out[i].e.begin = (uint64_t)i;
    if (status == NF_OK && layout->outs)
        qsort(layout->out, (size_t)layout->outs, sizeof *layout->out, by_file);
    int64_t first = 0;
    for (int file = 0; status == NF_OK && file < layout->files; file++) {
        int64_t end = first;
        while (end < layout->outs && layout->out[end].e.file == file)
            end++;
        place(layout, file, first, end);
        first = end;
        if (layout->file[file].header.failed)
            status = nf_fail(NF_ENOMEM, "no memory for the header of '%s'", layout->file[file].name);
        else if (layout->file[file].header.len - 8 > NF_ST_HEADER_MAX)
            status = nf_fail(NF_EUSAGE, "the header of '%s' would be above the format's limit\n  Hint: make shards smaller.",
                             layout->file[file].name);
    }
    if (status != NF_OK)
        nf_st_layout_free(layout);
    return status;
}

void nf_st_layout_free(struct nf_st_layout *layout)
{
    for (int i = 0; i < layout->files; i++) {
        free(layout->file[i].name);
        nf_str_free(&layout->file[i].header);
    }
    free(layout->file);
    free(layout->out);
    *layout = (struct nf_st_layout){0};
}

static int out_by_name(const void *a, const void *b)
{
    const struct nf_st_out *const *x = a, *const *y = b;
    return strcmp((*x)->e.name, (*y)->e.name);
}

/* As the publishers' tools write it: two blanks of indent, keys sorted. */
nf_status nf_st_layout_index(const struct nf_st_layout *layout, nf_str *text)
{
    const struct nf_st_out **sorted = malloc((size_t)(layout->outs + 1) * sizeof *sorted);
    if (!sorted)
        return nf_fail(NF_ENOMEM, "no memory for the index");
    for (int64_t i = 0; i < layout->outs; i++)
        sorted[i] = &layout->out[i];
    qsort(sorted, (size_t)layout->outs, sizeof *sorted, out_by_name);
    nf_str_addf(text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                (unsigned long long)layout->total);
    for (int64_t i = 0; i < layout->outs; i++) {
        nf_str_addf(text, "%s\n    ", i ? "," : "");
        json_string(text, sorted[i]->e.name);
        nf_str_add(text, ": ");
        json_string(text, layout->file[sorted[i]->e.file].name);
    }
    nf_str_add(text, "\n  }\n}\n");
    free(sorted);
    return text->failed ? nf_fail(NF_ENOMEM, "no memory for the index") : NF_OK;
}
