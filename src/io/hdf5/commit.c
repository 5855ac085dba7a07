/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From files on the disk to a snapshot: places and checksums come together on rank 0, which writes what is its own, last the
 * MANIFEST, and gives the directory its name with one rename.
 */
#include "private.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a rank tells of its file and of each piece in it. */
struct told_file {
    uint64_t size;
    int64_t blocks;
    uint32_t crc, pad;
};
struct told_piece {
    uint64_t at;
    uint32_t crc, pad;
};
struct told {
    struct told_file *file;   /* [ranks] */
    struct told_piece *piece; /* [ranks][most pieces] */
    uint32_t *block;          /* [ranks][most blocks] */
    int64_t most[2];          /* pieces and blocks of a rank, at most */
};

static void free_told(struct told *t)
{
    free(t->file);
    free(t->piece);
    free(t->block);
}

/* Equal sizes are gathered: padded to the most that a rank has. */
static nf_status gather(nf_snapshot *s, struct told *t)
{
    const struct nf_h5_stream *st = &s->stream;
    const nf_group *world = nf_mesh_group(s->mesh, NF_WORLD);
    const size_t ranks = (size_t)nf_group_size(world);
    const struct told_file mine = {.size = st->image.size, .blocks = st->blocks, .crc = st->crc};
    t->most[0] = st->parts + 1;
    t->most[1] = st->blocks + 1;
    NF_TRY(nf_reduce_i64(world, t->most, 2, NF_MAX));
    const size_t pieces = (size_t)t->most[0] * sizeof *t->piece, blocks = (size_t)t->most[1] * sizeof *t->block;
    struct told_piece *piece = calloc(1, pieces);
    uint32_t *block = calloc(1, blocks);
    t->file = calloc(ranks, sizeof *t->file);
    t->piece = malloc(ranks * pieces);
    t->block = malloc(ranks * blocks);
    nf_status status = piece && block && t->file && t->piece && t->block
                           ? NF_OK
                           : nf_fail(NF_ENOMEM, "%s: no memory to gather its checksums", s->target);
    status = nf_agree(s->mesh, status);
    for (int64_t i = 0; i < st->parts && status == NF_OK; i++)
        piece[st->part[i].piece] = (struct told_piece){.at = st->part[i].at, .crc = st->part[i].crc};
    if (status == NF_OK) {
        memcpy(block, st->block, (size_t)st->blocks * sizeof *block);
        status = nf_gather_bytes(world, &mine, sizeof mine, t->file);
    }
    if (status == NF_OK)
        status = nf_gather_bytes(world, piece, pieces, t->piece);
    if (status == NF_OK)
        status = nf_gather_bytes(world, block, blocks, t->block);
    free(piece);
    free(block);
    return status;
}

/* ---- rank 0 ----------------------------------------------------------------------------------------------------------------
 */

static nf_status fill_manifest(struct nf_h5_manifest *m, const struct told *t)
{
    int64_t *next = calloc((size_t)m->meta.ranks, sizeof *next);
    if (!next)
        return nf_fail(NF_ENOMEM, "no memory for the MANIFEST of a snapshot");
    for (int r = 0; r < m->meta.ranks; r++) {
        m->file[r].size = t->file[r].size;
        m->file[r].crc = t->file[r].crc;
    }
    for (int64_t i = 0; i < m->pieces; i++) {
        struct nf_h5_piece *p = &m->piece[i];
        const struct told_piece *told = &t->piece[p->file * t->most[0] + next[p->file]++];
        p->at = told->at;
        p->crc = told->crc;
    }
    free(next);
    snprintf(m->meta.program, sizeof m->meta.program, "%s", PACKAGE_STRING);
    return NF_OK;
}

/* Write a small file and list it. The table of files has room for 64 of them. */
static nf_status put(nf_snapshot *s, const char *name, const void *bytes, size_t n)
{
    struct nf_h5_manifest *m = &s->plan.m;
    struct nf_h5_file *f = &m->file[m->files];
    if (!(f->name = strdup(name)))
        return nf_fail(NF_ENOMEM, "%s: no memory for a name", s->target);
    m->files++;
    f->size = n;
    return nf_h5_put(s->temporary, name, bytes, n, &f->crc);
}

static nf_status put_checksums(nf_snapshot *s, const struct told *t)
{
    int64_t n = 0;
    for (int r = 0; r < s->plan.m.meta.ranks; r++)
        n += t->file[r].blocks;
    uint32_t *all = malloc((size_t)n * sizeof *all + 1);
    if (!all)
        return nf_fail(NF_ENOMEM, "%s: no memory for its checksums", s->target);
    n = 0;
    for (int r = 0; r < s->plan.m.meta.ranks; n += t->file[r++].blocks)
        memcpy(all + n, t->block + r * t->most[1], (size_t)t->file[r].blocks * sizeof *all);
    const nf_status status = put(s, "checksums", all, (size_t)n * sizeof *all);
    free(all);
    return status;
}

static nf_status put_shown(nf_snapshot *s)
{
    struct nf_h5_image image = {0};
    nf_status status = nf_h5_shown(&s->plan.m, &image);
    unsigned char *bytes = status == NF_OK ? calloc(1, (size_t)image.size + 1) : NULL;
    if (status == NF_OK && !bytes)
        status = nf_fail(NF_ENOMEM, "%s: no memory for snapshot.h5", s->target);
    if (status == NF_OK) {
        nf_h5_image_lay(&image, 0, (size_t)image.size, bytes);
        status = put(s, "snapshot.h5", bytes, (size_t)image.size);
    }
    free(bytes);
    nf_h5_image_free(&image);
    return status;
}

/* Do the ranks' files lie where rank 0 looks, too? On a cluster a run directory may not be shared. */
static nf_status check_there(const nf_snapshot *s)
{
    for (int r = 0; r < s->plan.m.meta.ranks; r++) {
        struct stat st;
        char *path = nf_path_join(s->temporary, s->plan.m.file[r].name);
        nf_status status = path ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for a path", s->target);
        if (path && lstat(path, &st) != 0)
            status = nf_fail_errno(errno, path, "rank 0 cannot see it: all ranks must share snapshot.dir");
        else if (path && (uint64_t)st.st_size != s->plan.m.file[r].size)
            status = nf_fail(NF_EIO, "%s: has %llu bytes, %llu were written", path, (unsigned long long)st.st_size,
                             (unsigned long long)s->plan.m.file[r].size);
        free(path);
        NF_TRY(status);
    }
    return NF_OK;
}

static nf_status put_manifest(nf_snapshot *s)
{
    nf_str text = {0};
    nf_status status = nf_h5_manifest_print(&s->plan.m, &text);
    if (status == NF_OK)
        status = nf_h5_put(s->temporary, "MANIFEST", text.text, text.len, NULL);
    nf_str_free(&text);
    return status;
}

/* Where two names cannot change in one step, the old one is put aside first. A kill in between leaves it there, whole, and the
 * next lease gives it its name back. */
static nf_status rename_in_turn(const nf_snapshot *s)
{
    nf_str aside = {0};
    nf_str_addf(&aside, "%s%s", s->target, NF_H5_ASIDE);
    nf_status status = aside.failed ? nf_fail(NF_ENOMEM, "%s: no memory for a path", s->target) : nf_h5_remove_dir(aside.text);
    if (status == NF_OK && rename(s->target, aside.text) != 0)
        status = nf_fail_errno(errno, s->target, "cannot put the old one aside");
    else if (status == NF_OK && rename(s->temporary, s->target) != 0) {
        status = nf_fail_errno(errno, s->target, "cannot give it its name");
        (void)rename(aside.text, s->target);
    }
    if (status == NF_OK && nf_h5_remove_dir(aside.text) != NF_OK) /* the next lease removes it */
        nf_diagnosis_clear();
    nf_str_free(&aside);
    return status;
}

/* The new one takes the name; one of the same step, which a resumed run may find, gives it up in the same moment. */
static nf_status rename_it(const nf_snapshot *s)
{
    struct stat st;
    if (lstat(s->target, &st) != 0)
        return rename(s->temporary, s->target) == 0 ? NF_OK : nf_fail_errno(errno, s->target, "cannot give it its name");
    if (renameat2(AT_FDCWD, s->temporary, AT_FDCWD, s->target, RENAME_EXCHANGE) != 0)
        return rename_in_turn(s);
    if (nf_h5_remove_dir(s->temporary) != NF_OK) /* the next lease removes it */
        nf_diagnosis_clear();
    return NF_OK;
}

static nf_status finish(nf_snapshot *s, const struct told *t)
{
    NF_TRY(fill_manifest(&s->plan.m, t));
    NF_TRY(check_there(s));
    NF_TRY(put_checksums(s, t));
    NF_TRY(put_shown(s));
    for (int i = 0; i < s->attachments; i++)
        NF_TRY(put(s, s->attachment[i].name, s->attachment[i].bytes, s->attachment[i].n));
    NF_TRY(put_manifest(s));
    NF_TRY(nf_dir_sync(s->temporary));
    NF_TRY(nf_lease_check(s->lease)); /* nobody renames for a run that lost its directory */
    NF_TRY(rename_it(s));
    s->cost.bytes = 0;
    for (int i = 0; i < s->plan.m.files; i++)
        s->cost.bytes += s->plan.m.file[i].size;
    return nf_dir_sync(s->lease->dir);
}

nf_status nf_h5_commit(nf_snapshot *s)
{
    struct told t = {0};
    nf_status status = gather(s, &t);
    if (status == NF_OK)
        status = nf_agree(s->mesh, nf_mesh_rank(s->mesh) == 0 ? finish(s, &t) : NF_OK);
    free_told(&t);
    if (status == NF_OK)
        status = nf_bcast(nf_mesh_group(s->mesh, NF_WORLD), 0, &s->cost.bytes, sizeof s->cost.bytes);
    return status;
}
