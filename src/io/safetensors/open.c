/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open a checkpoint: rank 0 finds its shards, reads and checks their headers and holds them to the index; all ranks get the
 * same table, or the same error. One header is in memory at a time.
 */
#include "private.h"

#include "nemafit/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

enum { INDEX_MAX = 256 << 20 };

struct opening {
    nf_st *st;
    struct nf_st_index index;
    struct nf_st_notes notes;
    struct inode {
        dev_t dev;
        ino_t ino;
    } * inode; /* of each shard */
};

/* Is there anything of this name? A name too long for the system, or a directory that is not there, has nothing in it. */
static bool exists(const char *dir, const char *name)
{
    struct stat st;
    const int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const bool found = fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (fd >= 0)
        close(fd);
    return found;
}

/* ---- headers ------------------------------------------------------------------------------------------------------------ */

static nf_status append(struct opening *o, int shard, struct nf_st_entry *entries, int64_t count)
{
    nf_st *st = o->st;
    struct nf_st_entry *grown = realloc(st->entry, (size_t)(st->count + count + 1) * sizeof *grown);
    if (!grown) {
        nf_st_entries_free(entries, count);
        return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", st->dir);
    }
    st->entry = grown;
    for (int64_t i = 0; i < count; i++) {
        grown[st->count] = entries[i];
        grown[st->count++].file = shard;
    }
    free(entries);
    return NF_OK;
}

static nf_status read_shard(struct opening *o, int shard)
{
    struct nf_st_shard *s = &o->st->shard[shard];
    unsigned char head[NF_ST_HEAD];
    struct nf_st_entry *entries = NULL;
    int64_t count = 0;
    uint64_t length = 0;
    struct nf_file_id id;
    char *text = NULL;
    int fd = -1;
    char *path = nf_path_join(o->st->dir, s->name);
    nf_status status = path ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for a path", o->st->dir);
    if (status == NF_OK)
        status = nf_st_file_open(path, o->st->root, &fd, &id);
    if (status != NF_OK)
        goto done;
    s->size = id.size;
    s->mtime_ns = id.mtime_ns;
    o->inode[shard] = (struct inode){id.dev, id.ino};
    const size_t n = s->size < sizeof head ? (size_t)s->size : sizeof head;
    status = nf_st_pread(fd, path, head, n, 0);
    if (status == NF_OK)
        status = nf_st_prefix(path, head, n, s->size, &length);
    if (status != NF_OK)
        goto done;
    text = malloc(length);
    if (!text) {
        status = nf_fail(NF_ENOMEM, "%s: no memory for a header of %llu bytes", path, (unsigned long long)length);
        goto done;
    }
    status = nf_st_pread(fd, path, text, length, 8);
    if (status == NF_OK)
        status = nf_st_header_read(path, text, length, s->size, &o->notes, &entries, &count);
    if (status == NF_OK)
        status = append(o, shard, entries, count);
done:
    if (fd >= 0)
        close(fd);
    free(text);
    free(path);
    return status;
}

static nf_status check_inodes(const struct opening *o)
{
    for (int i = 0; i < o->st->shards; i++)
        for (int j = 0; j < i; j++)
            if (o->inode[i].dev == o->inode[j].dev && o->inode[i].ino == o->inode[j].ino)
                return nf_fail(NF_EDATA, "%s: IX-19: '%s' and '%s' are the same file", o->st->dir, o->st->shard[j].name,
                               o->st->shard[i].name);
    return NF_OK;
}

/* ---- a directory with an index ------------------------------------------------------------------------------------------ */

/* "model-00001-of-00009.safetensors" */
static bool shard_like(const char *name)
{
    return nf_str_match("model-[0123456789][0123456789]*-of-[0123456789][0123456789]*.safetensors", name);
}

static bool in_index(const struct nf_st_index *index, const char *name)
{
    for (int i = 0; i < index->shards; i++)
        if (strcmp(index->shard[i], name) == 0)
            return true;
    return false;
}

/* What lies beside the index: all shards must be there, none too many. */
static nf_status check_beside(struct opening *o)
{
    const nf_st *st = o->st;
    char shown[280];
    int missing = 0;
    const char *first = NULL;
    for (int i = 0; i < o->index.shards; i++)
        if (!exists(st->dir, o->index.shard[i])) {
            missing++;
            first = first ? first : o->index.shard[i];
        }
    if (missing) {
        nf_str part = {0};
        nf_str_addf(&part, "%s.incomplete", first);
        const bool begun = !part.failed && exists(st->dir, part.text);
        nf_str_free(&part);
        return nf_fail(NF_EMISSING, "%s: %s: shard '%s' is missing (%d of %d are)%s", st->dir, begun ? "IX-21" : "IX-06",
                       nf_str_shown(shown, first, strlen(first)), missing, o->index.shards,
                       begun ? ": its download is not finished" : "\n  Hint: the download is not complete.");
    }
    if (exists(st->dir, SINGLE) && !in_index(&o->index, SINGLE))
        return nf_fail(NF_EDATA, "%s: IX-14: both %s and an index that does not name it\n  Hint: remove the one that is old.",
                       st->dir, SINGLE);
    DIR *dir = opendir(st->dir);
    if (!dir)
        return nf_fail_errno(errno, st->dir, "cannot list");
    nf_status status = NF_OK;
    for (struct dirent *d; status == NF_OK && (d = readdir(dir));) {
        if (shard_like(d->d_name) && !in_index(&o->index, d->d_name))
            status = nf_fail(NF_EDATA, "%s: IX-07: '%s' is not in the index\n  Hint: it may be of another save; remove it.",
                             st->dir, nf_str_shown(shown, d->d_name, strlen(d->d_name)));
        else if (nf_str_match("*.safetensors.incomplete", d->d_name) || nf_str_match("*.safetensors.part", d->d_name))
            nf_st_note(&o->notes, "%s: IX-21: '%s' is left of a download", st->dir,
                       nf_str_shown(shown, d->d_name, strlen(d->d_name)));
    }
    closedir(dir);
    return status;
}

/* Index and headers must say the same. Both lists are sorted by name. */
static nf_status check_map(struct opening *o)
{
    const nf_st *st = o->st;
    char shown[280];
    int64_t i = 0;
    uint64_t total = 0;
    for (int64_t k = 0; k < st->count; k++) {
        const struct nf_st_entry *e = &st->entry[st->by_name[k]];
        total += e->bytes;
        while (i < o->index.count && strcmp(o->index.item[i].name, e->name) < 0) {
            const struct nf_st_index_item *item = &o->index.item[i++];
            return nf_fail(NF_EDATA, "%s: IX-08: tensor '%s': the index says '%s', which does not hold it", st->dir,
                           nf_str_shown(shown, item->name, strlen(item->name)), st->shard[item->shard].name);
        }
        nf_str_shown(shown, e->name, strlen(e->name));
        if (i == o->index.count || strcmp(o->index.item[i].name, e->name) != 0)
            return nf_fail(NF_EDATA, "%s: IX-09: tensor '%s' is in '%s' but not in the index", st->dir, shown,
                           st->shard[e->file].name);
        if (o->index.item[i].shard != e->file)
            return nf_fail(NF_EDATA, "%s: IX-08: tensor '%s': the index says '%s', it is in '%s'", st->dir, shown,
                           st->shard[o->index.item[i].shard].name, st->shard[e->file].name);
        i++;
    }
    if (i < o->index.count) {
        const struct nf_st_index_item *item = &o->index.item[i];
        return nf_fail(NF_EDATA, "%s: IX-08: tensor '%s': the index says '%s', which does not hold it", st->dir,
                       nf_str_shown(shown, item->name, strlen(item->name)), st->shard[item->shard].name);
    }
    if (o->index.has_total && o->index.total != total)
        nf_st_note(&o->notes, "%s: IX-13: total_size is %llu, the tensors have %llu bytes", st->dir,
                   (unsigned long long)o->index.total, (unsigned long long)total);
    return NF_OK;
}

static nf_status check_twice(const nf_st *st)
{
    char shown[280];
    for (int64_t k = 1; k < st->count; k++) {
        const struct nf_st_entry *a = &st->entry[st->by_name[k - 1]], *b = &st->entry[st->by_name[k]];
        if (strcmp(a->name, b->name) == 0)
            return nf_fail(NF_EDATA, "%s: IX-10: tensor '%s' is in two shards, '%s' and '%s'", st->dir,
                           nf_str_shown(shown, a->name, strlen(a->name)), st->shard[a->file].name, st->shard[b->file].name);
    }
    return NF_OK;
}

/* ---- rank 0 ------------------------------------------------------------------------------------------------------------- */

static nf_status find_shards(struct opening *o)
{
    nf_st *st = o->st;
    char *path = nf_path_join(st->dir, INDEX), *text = NULL;
    size_t n = 0;
    if (!path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", st->dir);
    nf_status status = NF_OK;
    st->indexed = exists(st->dir, INDEX);
    if (st->indexed) {
        status = nf_file_read_below(path, st->root, INDEX_MAX, &text, &n);
        if (status == NF_OK)
            status = nf_st_index_parse(path, text, n, &o->notes, &o->index);
        if (status == NF_OK)
            status = check_beside(o);
    } else if (!exists(st->dir, SINGLE)) {
        char shown[280];
        status = nf_fail(
            NF_EMISSING, "%s: there is neither %s nor %s%s", nf_str_shown(shown, st->dir, strlen(st->dir)), SINGLE, INDEX,
            exists(st->dir, "pytorch_model.bin") ? "\n  Hint: pytorch_model.bin is a pickle; convert it to safetensors." : "");
    }
    free(path);
    free(text);
    NF_TRY(status);
    const int shards = st->indexed ? o->index.shards : 1;
    st->shard = calloc((size_t)shards, sizeof *st->shard);
    for (int i = 0; st->shard && i < shards; i++, st->shards++)
        if (!(st->shard[i].name = strdup(st->indexed ? o->index.shard[i] : SINGLE)))
            break;
    return st->shards == shards ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for its list of shards", st->dir);
}

/* One file is a checkpoint of one shard. */
static nf_status one_file(struct opening *o, const char *path)
{
    nf_st *st = o->st;
    free(st->dir);
    st->dir = nf_path_dir(path);
    st->shard = calloc(1, sizeof *st->shard);
    if (!st->dir || !st->shard || !(st->shard->name = strdup(nf_path_base(path))))
        return nf_fail(NF_ENOMEM, "%s: no memory for its name", path);
    st->shards = 1;
    return NF_OK;
}

static nf_status parse(struct opening *o, const char *path, bool file)
{
    nf_st *st = o->st;
    struct stat info;
    char shown[280];
    st->dir = strdup(path);
    if (!st->dir)
        return nf_fail(NF_ENOMEM, "%s: no memory for its name", path);
    if (stat(path, &info) != 0)
        return nf_fail_errno(errno, path, "cannot open");
    if (!file && !S_ISDIR(info.st_mode))
        return nf_fail(NF_EDATA, "%s: is not a directory\n  Hint: give the directory that holds config.json and the weights.",
                       nf_str_shown(shown, path, strlen(path)));
    if (file)
        NF_TRY(one_file(o, path));
    NF_TRY(nf_root_of(st->dir, &st->root));
    if (!file)
        NF_TRY(find_shards(o));
    o->inode = calloc((size_t)st->shards, sizeof *o->inode);
    if (!o->inode)
        return nf_fail(NF_ENOMEM, "%s: no memory for its list of shards", st->dir);
    for (int i = 0; i < st->shards; i++)
        NF_TRY(read_shard(o, i));
    NF_TRY(check_inodes(o));
    NF_TRY(nf_st_table_sort(st));
    NF_TRY(check_twice(st));
    return st->indexed ? check_map(o) : NF_OK;
}

static nf_status parse_and_pack(const char *path, bool file, void **bytes, size_t *n)
{
    struct opening o = {.st = calloc(1, sizeof *o.st)};
    if (!o.st)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", path);
    nf_status status = parse(&o, path, file);
    if (status == NF_OK)
        status = nf_st_table_pack(o.st, bytes, n);
    if (status == NF_OK && o.notes.lines)
        nf_warn("%s", o.notes.text.text);
    if (status == NF_OK && o.notes.dropped)
        nf_warn("%s: and %d more like these", path, o.notes.dropped);
    nf_str_free(&o.notes.text);
    nf_st_index_free(&o.index);
    free(o.inode);
    nf_st_free(o.st);
    return status;
}

static nf_status open_on_all(const nf_mesh *mesh, const char *path, bool file, nf_st **out)
{
    void *bytes = NULL;
    size_t n = 0;
    nf_st *st = NULL;
    NF_TRY(nf_agree(mesh, nf_mesh_rank(mesh) == 0 ? parse_and_pack(path, file, &bytes, &n) : NF_OK));
    nf_status status = nf_bcast_blob(nf_mesh_group(mesh, NF_WORLD), 0, &bytes, &n);
    if (status == NF_OK)
        status = nf_agree(mesh, nf_st_table_unpack(bytes, n, &st));
    free(bytes);
    if (status != NF_OK) {
        nf_st_free(st);
        return status;
    }
    *out = st;
    return NF_OK;
}

nf_status nf_st_open(const nf_mesh *mesh, const char *dir, nf_st **st)
{
    return open_on_all(mesh, dir, false, st);
}

nf_status nf_st_open_file(const nf_mesh *mesh, const char *path, nf_st **st)
{
    return open_on_all(mesh, path, true, st);
}
