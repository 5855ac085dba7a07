/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as this folder reads them, with the codes of its diagnoses; the shard that is open.
 */
#include "private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

nf_status nf_st_file_open(const char *path, const char *root, int *fd, struct nf_file_id *id)
{
    return nf_file_open(path, root, &(struct nf_file_codes){.kind = "IX-17: ", .outside = "IX-16: "}, fd, id);
}

nf_status nf_st_pread(int fd, const char *path, void *bytes, size_t n, uint64_t at)
{
    return nf_pread(fd, path, "IX-18: ", bytes, n, at);
}

/* ---- the shard that is open ------------------------------------------------------------------------------------------ */

void nf_st_reader_close(struct nf_st_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    free(reader->path);
    *reader = NF_ST_READER(reader->st);
}

nf_status nf_st_reader_seek(struct nf_st_reader *reader, int file)
{
    if (reader->file == file)
        return NF_OK;
    nf_st_reader_close(reader);
    const nf_st *st = reader->st;
    struct nf_file_id id;
    reader->path = nf_path_join(st->dir, st->shard[file].name);
    if (!reader->path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", st->dir);
    NF_TRY(nf_st_file_open(reader->path, st->root, &reader->fd, &id));
    if (id.size != st->shard[file].size || id.mtime_ns != st->shard[file].mtime_ns)
        return nf_fail(NF_EDATA, "%s: IX-18: is not the file that was checked at the start: %llu bytes then, %llu now%s",
                       reader->path, (unsigned long long)st->shard[file].size, (unsigned long long)id.size,
                       id.size == st->shard[file].size ? ", written in between" : "");
    (void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    reader->file = file;
    return NF_OK;
}

nf_status nf_st_reader_get(struct nf_st_reader *reader, int file, void *bytes, size_t n, uint64_t at)
{
    NF_TRY(nf_st_reader_seek(reader, file));
    return nf_st_pread(reader->fd, reader->path, bytes, n, at);
}
