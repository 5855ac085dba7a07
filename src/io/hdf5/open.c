/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a snapshot. Rank 0 reads the MANIFEST and the small files, all ranks know them; then the ranks share the files out
 * and read every byte once. Nothing of a tensor is used before that is done.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number in step-00000100, if that is just how it is written; -1: another name. */
static int64_t step_of(const char *path)
{
    char *real = realpath(path, NULL), back[48];
    long long step = -1;
    if (real && sscanf(nf_path_base(real), "step-%lld", &step) == 1)
        snprintf(back, sizeof back, "step-%08lld", step);
    const bool same = real && step >= 0 && strcmp(back, nf_path_base(real)) == 0;
    free(real);
    return same ? step : -1;
}

/* People name the directory of the run easily. */
static NF_COLD nf_status no_manifest(const char *path, const char *shown)
{
    struct nf_snapshot_list list = {0};
    (void)nf_snapshot_list(path, &list);
    nf_diagnosis_clear();
    const nf_status status =
        nf_fail(NF_EMISSING, "%s: is not a snapshot: it has no MANIFEST%s%s", shown,
                list.count ? "\n  Hint: its newest snapshot is " : "", list.count ? list.place[0].path : "");
    nf_snapshot_list_free(&list);
    return status;
}

nf_status nf_h5_manifest_read(const char *path, struct nf_h5_manifest *m, char **out, size_t *n)
{
    struct stat st;
    char *file = nf_path_join(path, "MANIFEST"), *text = NULL, shown[280];
    nf_str_shown(shown, path, strlen(path));
    nf_status status = file ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for a path", shown);
    if (file && stat(path, &st) != 0)
        status = nf_fail_errno(errno, path, "cannot open the snapshot");
    else if (file && !S_ISDIR(st.st_mode))
        status = nf_fail(NF_EDATA, "%s: is not a snapshot: a directory is expected", shown);
    else if (file && lstat(file, &st) != 0 && errno == ENOENT)
        status = no_manifest(path, shown);
    if (status == NF_OK)
        status = nf_file_read(file, NF_H5_MANIFEST_MAX, &text, n);
    if (status == NF_OK)
        status = nf_h5_manifest_parse(file, text, *n, m);
    if (status == NF_OK && step_of(path) >= 0 && step_of(path) != m->meta.step) {
        status = nf_fail(NF_EDATA, "%s: is the MANIFEST of step %lld: the directory has another name", file,
                         (long long)m->meta.step);
        nf_h5_manifest_free(m);
    }
    if (status == NF_OK && out)
        *out = text;
    else
        free(text);
    free(file);
    return status;
}

/* A small file, held to its line of the MANIFEST. */
static nf_status read_small(const nf_snapshot_reader *r, int f, char **bytes, size_t *n)
{
    const struct nf_h5_file *file = &r->m.file[f];
    char *path = nf_path_join(r->path, file->name), *text = NULL;
    nf_status status = path ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for a path", r->path);
    if (status == NF_OK)
        status = nf_file_read(path, NF_H5_MANIFEST_MAX, &text, n);
    if (status == NF_EMISSING) {
        nf_diagnosis_clear();
        status = nf_fail(NF_EDATA, "%s: is missing", path);
    }
    if (status == NF_OK && *n != file->size)
        status = nf_fail(NF_EDATA, "%s: has %zu bytes, %llu are expected", path, *n, (unsigned long long)file->size);
    else if (status == NF_OK && nf_crc32c(0, text, *n) != file->crc)
        status = nf_fail(NF_EDATA, "%s: is damaged: its CRC32C is %08x, %08x is expected", path,
                         (unsigned)nf_crc32c(0, text, *n), (unsigned)file->crc);
    free(path);
    if (status != NF_OK) {
        free(text);
        return status;
    }
    *bytes = text;
    return NF_OK;
}

static nf_status take_checksums(nf_snapshot_reader *r, char *bytes, size_t n)
{
    uint64_t blocks = 0;
    for (int k = 0; k < r->m.meta.ranks; k++)
        blocks += (uint64_t)nf_h5_blocks(r->m.file[k].size);
    r->block = calloc((size_t)r->m.meta.ranks, sizeof *r->block);
    r->block_all = (uint32_t *)(void *)bytes;
    if (!r->block)
        return nf_fail(NF_ENOMEM, "%s: no memory for its checksums", r->path);
    if (blocks != n / sizeof(uint32_t) || n % sizeof(uint32_t) != 0)
        return nf_fail(NF_EDATA, "%s/checksums: has %zu bytes, the ranks' files need %llu", r->path, n,
                       (unsigned long long)(blocks * sizeof(uint32_t)));
    blocks = 0;
    for (int k = 0; k < r->m.meta.ranks; k++) {
        r->block[k] = r->block_all + blocks;
        blocks += (uint64_t)nf_h5_blocks(r->m.file[k].size);
    }
    return NF_OK;
}

/* Everything small but snapshot.h5, which is only for people. */
static nf_status read_attached(nf_snapshot_reader *r, const nf_mesh *mesh)
{
    r->attached = calloc((size_t)r->m.files, sizeof *r->attached);
    nf_status status = r->attached ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory", r->path);
    status = nf_agree(mesh, status);
    for (int f = r->m.meta.ranks; f < r->m.files && status == NF_OK; f++) {
        char *bytes = NULL;
        size_t n = 0;
        if (strcmp(r->m.file[f].name, "snapshot.h5") == 0)
            continue;
        status = nf_agree(mesh, nf_mesh_rank(mesh) == 0 ? read_small(r, f, &bytes, &n) : NF_OK);
        if (status == NF_OK)
            status = nf_bcast_blob(nf_mesh_group(mesh, NF_WORLD), 0, (void **)&bytes, &n);
        if (status != NF_OK) {
            free(bytes);
            break;
        }
        if (strcmp(r->m.file[f].name, "checksums") == 0 && !r->block) {
            status = nf_agree(mesh, take_checksums(r, bytes, n)); /* it owns the bytes in any case */
            continue;
        }
        char *ended = realloc(bytes, n + 1); /* a blob has no NUL */
        if (ended)
            ended[n] = 0;
        else
            free(bytes);
        r->attached[f] = ended;
        status = nf_agree(mesh, ended ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory", r->path));
    }
    if (status == NF_OK && !r->block)
        status = nf_fail(NF_EDATA, "%s/MANIFEST: lists no file 'checksums'", r->path);
    return status;
}

static nf_status read_tables(nf_snapshot_reader *r, const nf_mesh *mesh)
{
    const bool first = nf_mesh_rank(mesh) == 0;
    char *text = NULL;
    size_t n = 0;
    NF_TRY(nf_agree(mesh, first ? nf_h5_manifest_read(r->path, &r->m, &text, &n) : NF_OK));
    nf_status status = nf_bcast_blob(nf_mesh_group(mesh, NF_WORLD), 0, (void **)&text, &n);
    if (status == NF_OK && !first)
        status = nf_h5_manifest_parse(r->path, text, n, &r->m);
    free(text);
    NF_TRY(nf_agree(mesh, status));
    r->chunk = malloc(NF_H5_CHUNK);
    NF_TRY(nf_agree(mesh, r->chunk ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory to read it", r->path)));
    return read_attached(r, mesh);
}

nf_status nf_h5_open_tables(const nf_mesh *mesh, const char *path, nf_snapshot_reader **out)
{
    nf_snapshot_reader *r = calloc(1, sizeof *r);
    nf_status status = NF_OK;
    if (r) {
        r->file = r->fd = -1;
        r->path = strdup(path);
    }
    if (!r || !r->path)
        status = nf_fail(NF_ENOMEM, "%s: no memory to open it", path);
    status = nf_agree(mesh, status);
    if (status == NF_OK)
        status = read_tables(r, mesh);
    if (status == NF_OK)
        *out = r;
    else
        nf_snapshot_close(r);
    return status;
}

nf_status nf_snapshot_open(const nf_mesh *mesh, const char *path, const struct nf_snapshot_watch *watch,
                           nf_snapshot_reader **out)
{
    nf_snapshot_reader *r = NULL;
    nf_status status = NF_OK;
    NF_TRY(nf_h5_open_tables(mesh, path, &r));
    if (watch)
        r->watch = *watch;
    for (int f = nf_mesh_rank(mesh); f < r->m.files && status == NF_OK; f += nf_mesh_ranks(mesh))
        status = nf_h5_check_file(r, f);
    status = nf_agree(mesh, status);
    if (status == NF_OK)
        *out = r;
    else
        nf_snapshot_close(r);
    return status;
}

void nf_snapshot_close(nf_snapshot_reader *r)
{
    if (!r)
        return;
    if (r->fd >= 0)
        close(r->fd);
    for (int f = 0; r->attached && f < r->m.files; f++)
        free(r->attached[f]);
    free(r->attached);
    free(r->block);
    free(r->block_all);
    free(r->chunk);
    free(r->path);
    nf_h5_manifest_free(&r->m);
    free(r);
}

const char *nf_snapshot_path(const nf_snapshot_reader *r)
{
    return r->path;
}

const struct nf_snapshot_meta *nf_snapshot_meta(const nf_snapshot_reader *r)
{
    return &r->m.meta;
}

bool nf_snapshot_attached(const nf_snapshot_reader *r, const char *name, const void **bytes, size_t *n)
{
    for (int f = 0; f < r->m.files; f++)
        if (r->attached[f] && strcmp(r->m.file[f].name, name) == 0) {
            *bytes = r->attached[f];
            *n = (size_t)r->m.file[f].size;
            return true;
        }
    return false;
}
