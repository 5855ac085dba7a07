/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.safetensors.index.json: which shard holds which tensor. A shard is a plain file name beside the index: everything that
 * could lead out of the directory is refused before any file is opened.
 */
#include "private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nf_st_codes codes = {.syntax = "IX-01", .utf8 = "IX-01", .depth = "IX-01"};

struct item {
    char *name, *shard;
    size_t at;
};

struct reading {
    struct nf_st_scan s;
    struct item *item;
    int64_t count, cap;
    bool has_total, has_map;
    uint64_t total;
};

static nf_status no_memory(const struct reading *r)
{
    return nf_fail(NF_ENOMEM, "%s: no memory for the index", r->s.file);
}

static nf_status check_shard(const struct reading *r, const struct nf_st_text *shard)
{
    char shown[280];
    const char *code = NULL, *why = NULL;
    const size_t n = shard->n;
    if (n == 0 || n > 255 || strcmp(shard->text, ".") == 0) {
        code = "IX-04";
        why = "is no file name";
    } else if (shard->text[0] == '/') {
        code = "IX-02";
        why = "is an absolute path";
    } else if (memchr(shard->text, '/', n) || memchr(shard->text, '\\', n) || strstr(shard->text, "..")) {
        code = "IX-03";
        why = "leads out of the directory";
    }
    for (size_t i = 0; i < n && !code; i++)
        if ((unsigned char)shard->text[i] < 0x20 || shard->text[i] == 0x7f) {
            code = "IX-04";
            why = "holds a control byte";
        }
    if (!code && (n < 13 || strcmp(shard->text + n - 12, ".safetensors") != 0)) {
        code = "IX-05";
        why = "does not end in .safetensors";
    }
    return code ? nf_fail(NF_EDATA, "%s: %s: shard name '%s' %s (byte %zu)", r->s.file, code,
                          nf_str_shown(shown, shard->text, n), why, shard->at)
                : NF_OK;
}

static nf_status read_map(struct reading *r)
{
    bool first = true, more;
    struct nf_st_text key, value;
    char shown[280];
    if (nf_st_scan_peek(&r->s) != '{')
        return nf_fail(NF_EDATA, "%s: IX-01: weight_map is not an object (byte %zu)", r->s.file, r->s.at);
    NF_TRY(nf_st_scan_enter(&r->s, '{'));
    for (;;) {
        NF_TRY(nf_st_scan_member(&r->s, &first, &more, &key));
        if (!more)
            return NF_OK;
        if (key.n == 0 || key.n > NF_ST_NAME_MAX || strlen(key.text) != key.n)
            return nf_fail(NF_EDATA, "%s: IX-01: tensor name '%s' cannot be one (byte %zu)", r->s.file,
                           nf_str_shown(shown, key.text, key.n), key.at);
        if (r->count == r->cap) {
            const int64_t cap = r->cap ? 2 * r->cap : 64;
            struct item *grown = realloc(r->item, (size_t)cap * sizeof *grown);
            if (!grown)
                return no_memory(r);
            r->item = grown;
            r->cap = cap;
        }
        struct item *item = &r->item[r->count++];
        *item = (struct item){.name = strdup(key.text), .at = key.at};
        if (!item->name)
            return no_memory(r);
        if (nf_st_scan_peek(&r->s) != '"')
            return nf_fail(NF_EDATA, "%s: IX-12: the shard of tensor '%s' is not a string (byte %zu)", r->s.file,
                           nf_str_shown(shown, item->name, strlen(item->name)), r->s.at);
        NF_TRY(nf_st_scan_string(&r->s, &value));
        NF_TRY(check_shard(r, &value));
        item->shard = strdup(value.text);
        if (!item->shard)
            return no_memory(r);
    }
}

static nf_status read_metadata(struct reading *r, struct nf_st_notes *notes)
{
    bool first = true, more;
    struct nf_st_text key;
    struct nf_st_number number;
    if (nf_st_scan_peek(&r->s) != '{')
        return nf_st_scan_skip(&r->s);
    NF_TRY(nf_st_scan_enter(&r->s, '{'));
    for (;;) {
        NF_TRY(nf_st_scan_member(&r->s, &first, &more, &key));
        if (!more)
            return NF_OK;
        const bool total = key.n == 10 && memcmp(key.text, "total_size", 10) == 0;
        const int c = nf_st_scan_peek(&r->s);
        if (!total || (c != '-' && !isdigit(c))) {
            if (total)
                nf_st_note(notes, "%s: IX-13: total_size is not a number", r->s.file);
            NF_TRY(nf_st_scan_skip(&r->s));
            continue;
        }
        NF_TRY(nf_st_scan_number(&r->s, &number));
        r->has_total = number.kind == NF_ST_NATURAL;
        r->total = number.value;
        /* Some writers give it as 1.2e10; what cannot be compared is not compared. */
    }
}

static nf_status read_all(struct reading *r, struct nf_st_notes *notes)
{
    bool first = true, more, has_meta = false;
    struct nf_st_text key;
    NF_TRY(nf_st_scan_enter(&r->s, '{'));
    for (;;) {
        NF_TRY(nf_st_scan_member(&r->s, &first, &more, &key));
        if (!more)
            break;
        const bool map = key.n == 10 && memcmp(key.text, "weight_map", 10) == 0;
        const bool meta = key.n == 8 && memcmp(key.text, "metadata", 8) == 0;
        if ((map && r->has_map) || (meta && has_meta))
            return nf_fail(NF_EDATA, "%s: IX-11: key '%s' stands twice (byte %zu)", r->s.file, map ? "weight_map" : "metadata",
                           key.at);
        r->has_map |= map;
        has_meta |= meta;
        NF_TRY(map ? read_map(r) : meta ? read_metadata(r, notes) : nf_st_scan_skip(&r->s));
    }
    NF_TRY(nf_st_scan_end(&r->s));
    if (!r->has_map || r->count == 0)
        return nf_fail(NF_EDATA, "%s: IX-01: %s", r->s.file, r->has_map ? "weight_map is empty" : "there is no weight_map");
    return NF_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "...-00002-of-00009.safetensors" says how many shards there are. */
static nf_status check_numbers(const struct reading *r, const struct nf_st_index *index)
{
    for (int i = 0; i < index->shards; i++) {
        const char *name = index->shard[i], *at = strstr(name, "-of-");
        int of, end = 0;
        if (at && at - name >= 6 && sscanf(at, "-of-%5d.safetensors%n", &of, &end) == 1 && end && at[end] == 0 &&
            of != index->shards) {
            char shown[280];
            return nf_fail(NF_EDATA, "%s: IX-15: '%s' says there are %d shards, the index names %d", r->s.file,
                           nf_str_shown(shown, name, strlen(name)), of, index->shards);
        }
    }
    return NF_OK;
}

static nf_status finish(struct reading *r, struct nf_st_index *index)
{
    char shown[280];
    qsort(r->item, (size_t)r->count, sizeof *r->item, by_name);
    for (int64_t i = 1; i < r->count; i++)
        if (strcmp(r->item[i - 1].name, r->item[i].name) == 0)
            return nf_fail(NF_EDATA, "%s: IX-11: tensor '%s' stands twice (bytes %zu and %zu)", r->s.file,
                           nf_str_shown(shown, r->item[i].name, strlen(r->item[i].name)), r->item[i - 1].at, r->item[i].at);
    char **shard = malloc((size_t)r->count * sizeof *shard);
    index->item = calloc((size_t)r->count, sizeof *index->item);
    if (!shard || !index->item) {
        free(shard);
        return no_memory(r);
    }
    for (int64_t i = 0; i < r->count; i++)
        shard[i] = r->item[i].shard;
    qsort(shard, (size_t)r->count, sizeof *shard, by_text);
    index->shard = shard;
    for (int64_t i = 0; i < r->count; i++)
        if (i == 0 || strcmp(shard[index->shards - 1], shard[i]) != 0)
            shard[index->shards++] = shard[i];
    for (int i = 0; i < index->shards; i++) {
        shard[i] = strdup(shard[i]);
        if (!shard[i]) {
            index->shards = i;
            return no_memory(r);
        }
    }
    for (int64_t i = 0; i < r->count; i++) {
        char **found = bsearch(&r->item[i].shard, shard, (size_t)index->shards, sizeof *shard, by_text);
        index->item[i] = (struct nf_st_index_item){.name = r->item[i].name, .shard = (int)(found - shard)};
        r->item[i].name = NULL;
        index->count++;
    }
    index->has_total = r->has_total;
    index->total = r->total;
    return check_numbers(r, index);
}

nf_status nf_st_index_parse(const char *file, const char *text, size_t n, struct nf_st_notes *notes, struct nf_st_index *index)
{
    char shown[280];
    struct reading r = {0};
    *index = (struct nf_st_index){0};
    nf_status status = nf_st_scan_open(&r.s, nf_str_shown(shown, file, strlen(file)), text, n, &codes);
    if (status == NF_OK)
        status = read_all(&r, notes);
    if (status == NF_OK)
        status = finish(&r, index);
    for (int64_t i = 0; i < r.count; i++) {
        free(r.item[i].name);
        free(r.item[i].shard);
    }
    free(r.item);
    nf_st_scan_close(&r.s);
    if (status != NF_OK)
        nf_st_index_free(index);
    return status;
}

void nf_st_index_free(struct nf_st_index *index)
{
    for (int64_t i = 0; i < index->count; i++)
        free(index->item[i].name);
    for (int i = 0; i < index->shards; i++)
        free(index->shard[i]);
    free(index->item);
    free(index->shard);
    *index = (struct nf_st_index){0};
}
