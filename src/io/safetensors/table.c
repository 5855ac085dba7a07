/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of a checkpoint as bytes, so that rank 0 alone touches the headers and all ranks work from the same numbers. The
 * bytes come from a rank of the same program: they are checked for being whole, not for malice.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

struct unpack {
    const char *at;
    size_t left;
    bool failed;
};

static void put(nf_str *s, const void *bytes, size_t n)
{
    nf_str_addn(s, bytes, n);
}

static void put_text(nf_str *s, const char *text)
{
    const uint64_t n = strlen(text);
    put(s, &n, sizeof n);
    put(s, text, n);
}

static void get(struct unpack *u, void *bytes, size_t n)
{
    if (u->failed || u->left < n) {
        u->failed = true;
        memset(bytes, 0, n);
        return;
    }
    memcpy(bytes, u->at, n);
    u->at += n;
    u->left -= n;
}

static char *get_text(struct unpack *u)
{
    uint64_t n;
    get(u, &n, sizeof n);
    if (u->failed || u->left < n)
        u->failed = true;
    char *text = u->failed ? NULL : malloc(n + 1);
    if (!text) {
        u->failed = true;
        return NULL;
    }
    get(u, text, n);
    text[n] = 0;
    return text;
}

nf_status nf_st_table_pack(const nf_st *st, void **bytes, size_t *n)
{
    nf_str s = {0};
    put_text(&s, st->dir);
    put_text(&s, st->root);
    put(&s, &st->indexed, sizeof st->indexed);
    put(&s, &st->shards, sizeof st->shards);
    for (int i = 0; i < st->shards; i++) {
        put_text(&s, st->shard[i].name);
        put(&s, &st->shard[i].size, sizeof st->shard[i].size);
        put(&s, &st->shard[i].mtime_ns, sizeof st->shard[i].mtime_ns);
    }
    put(&s, &st->count, sizeof st->count);
    for (int64_t i = 0; i < st->count; i++) {
        struct nf_st_entry e = st->entry[i];
        e.name = NULL;
        put_text(&s, st->entry[i].name);
        put(&s, &e, sizeof e);
    }
    if (s.failed) {
        nf_str_free(&s);
        return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", st->dir);
    }
    *bytes = s.text;
    *n = s.len;
    return NF_OK;
}

nf_status nf_st_table_unpack(const void *bytes, size_t n, nf_st **out)
{
    struct unpack u = {bytes, n, false};
    nf_st *st = calloc(1, sizeof *st);
    if (!st)
        return nf_fail(NF_ENOMEM, "no memory for a table of tensors");
    int shards = 0;
    int64_t count = 0;
    st->dir = get_text(&u);
    st->root = get_text(&u);
    get(&u, &st->indexed, sizeof st->indexed);
    get(&u, &shards, sizeof shards);
    st->shard = calloc((size_t)shards + 1, sizeof *st->shard);
    u.failed |= !st->shard;
    for (; st->shards < shards && !u.failed; st->shards++) {
        struct nf_st_shard *shard = &st->shard[st->shards];
        shard->name = get_text(&u);
        get(&u, &shard->size, sizeof shard->size);
        get(&u, &shard->mtime_ns, sizeof shard->mtime_ns);
    }
    get(&u, &count, sizeof count);
    st->entry = u.failed ? NULL : calloc((size_t)count + 1, sizeof *st->entry);
    u.failed |= !st->entry;
    for (; st->count < count && !u.failed; st->count++) {
        char *name = get_text(&u);
        get(&u, &st->entry[st->count], sizeof *st->entry);
        st->entry[st->count].name = name;
    }
    const nf_status status = u.failed ? nf_fail(NF_ENOMEM, "no memory for a table of tensors") : nf_st_table_sort(st);
    if (status != NF_OK) {
        nf_st_free(st);
        return status;
    }
    *out = st;
    return NF_OK;
}

/* ---- by name --------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b, void *ctx)
{
    const nf_st *st = ctx;
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    const int order = strcmp(st->entry[i].name, st->entry[j].name);
    return order ? order : (i > j) - (i < j);
}

nf_status nf_st_table_sort(nf_st *st)
{
    free(st->by_name);
    st->by_name = malloc((size_t)(st->count + 1) * sizeof *st->by_name);
    if (!st->by_name)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", st->dir);
    for (int64_t i = 0; i < st->count; i++)
        st->by_name[i] = i;
    qsort_r(st->by_name, (size_t)st->count, sizeof *st->by_name, by_name, st);
    return NF_OK;
}

const struct nf_st_entry *nf_st_find(const nf_st *st, const char *name)
{
    int64_t low = 0, high = st->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (strcmp(st->entry[st->by_name[middle]].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == st->count || strcmp(st->entry[st->by_name[low]].name, name) != 0)
        return NULL;
    return &st->entry[st->by_name[low]];
}

const char *nf_st_dir(const nf_st *st)
{
    return st->dir;
}

int64_t nf_st_count(const nf_st *st)
{
    return st->count;
}

const struct nf_st_entry *nf_st_entry(const nf_st *st, int64_t i)
{
    return i >= 0 && i < st->count ? &st->entry[i] : NULL;
}

void nf_st_free(nf_st *st)
{
    if (!st)
        return;
    for (int i = 0; i < st->shards; i++)
        free(st->shard[i].name);
    free(st->shard);
    nf_st_entries_free(st->entry, st->count);
    free(st->by_name);
    free(st->dir);
    free(st->root);
    free(st);
}
