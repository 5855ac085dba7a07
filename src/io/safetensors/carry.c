/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not weights goes along as it is: config.json, the tokenizer, code that the checkpoint names. Regular files of the
 * directory itself, byte for byte, read back. Old weights in other formats stay behind: they would no longer be those of this
 * model.
 */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_weights(const char *name)
{
    static const char *const pattern[] = {"*.safetensors", "*.safetensors.*",   "pytorch_model*", "tf_model.h5",
                                          "flax_model*",   "consolidated*.pth", "*.gguf",         NULL};
    return nf_st_matches(pattern, name);
}

enum { COPY_BYTES = 1 << 20 };

static nf_status copy_file(const char *from_dir, const char *root, const char *to_dir, const char *name, char *buffer)
{
    struct nf_file_id id = {0};
    int in = -1, out = -1;
    char *path = nf_path_join(from_dir, name);
    nf_status status = path ? nf_st_file_open(path, root, &in, &id) : nf_fail(NF_ENOMEM, "%s: no memory", name);
    if (status == NF_OK)
        status = nf_st_dir_create(to_dir, name, &out);
    for (uint64_t at = 0; status == NF_OK && at < id.size;) {
        const size_t n = id.size - at < COPY_BYTES ? (size_t)(id.size - at) : COPY_BYTES;
        status = nf_st_pread(in, path, buffer, n, at);
        if (status == NF_OK)
            status = nf_pwrite(out, name, buffer, n, at);
        at += n;
    }
    for (uint64_t at = 0; status == NF_OK && at < id.size;) { /* what stands there now */
        const size_t n = id.size - at < COPY_BYTES ? (size_t)(id.size - at) : COPY_BYTES;
        status = nf_st_pread(in, path, buffer, n, at);
        if (status == NF_OK)
            status = nf_st_pread(out, name, buffer + COPY_BYTES, n, at);
        if (status == NF_OK && memcmp(buffer, buffer + COPY_BYTES, n) != 0)
            status = nf_fail(NF_EIO, "%s: its copy reads back with other bytes", path);
        at += n;
    }
    if (out >= 0) {
        const nf_status closed = nf_st_sync_and_close(out, name);
        status = status == NF_OK ? closed : status;
    }
    if (in >= 0)
        close(in);
    free(path);
    return status;
}

/* Call `each` for every regular file (or link to one) that is not weights. */
static nf_status walk(const char *source_dir, nf_status (*each)(void *ctx, const char *name, const struct stat *st), void *ctx)
{
    DIR *dir = opendir(source_dir);
    if (!dir)
        return nf_fail_errno(errno, source_dir, "cannot list");
    nf_status status = NF_OK;
    for (struct dirent *d; status == NF_OK && (d = readdir(dir));) {
        struct stat st;
        if (!is_weights(d->d_name) && fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            status = each(ctx, d->d_name, &st);
    }
    closedir(dir);
    return status;
}

struct carrying {
    const char *from, *root, *to;
    char *buffer;
};

static nf_status carry_one(void *ctx, const char *name, const struct stat *st)
{
    const struct carrying *c = ctx;
    (void)st;
    return copy_file(c->from, c->root, c->to, name, c->buffer);
}

nf_status nf_st_dir_carry(const struct nf_st_dir *dir, const char *source_dir)
{
    if (!source_dir)
        return NF_OK;
    char *root = NULL;
    NF_TRY(nf_root_of(source_dir, &root));
    struct carrying c = {source_dir, root, dir->temporary, malloc(2 * COPY_BYTES)};
    const nf_status status =
        c.buffer ? walk(source_dir, carry_one, &c) : nf_fail(NF_ENOMEM, "%s: no memory to copy files", source_dir);
    free(c.buffer);
    free(root);
    return status;
}

struct counting {
    const char *from, *root;
    uint64_t bytes;
};

static nf_status count_one(void *ctx, const char *name, const struct stat *st)
{
    struct counting *c = ctx;
    struct nf_file_id id = {0};
    int fd = -1;
    (void)st;
    char *path = nf_path_join(c->from, name);
    const nf_status status = path ? nf_st_file_open(path, c->root, &fd, &id) : nf_fail(NF_ENOMEM, "%s: no memory", name);
    if (fd >= 0)
        close(fd);
    free(path);
    c->bytes += id.size;
    return status;
}

nf_status nf_st_dir_carried(const char *source_dir, uint64_t *bytes)
{
    struct counting c = {.from = source_dir};
    char *root = NULL;
    *bytes = 0;
    if (!source_dir)
        return NF_OK;
    NF_TRY(nf_root_of(source_dir, &root));
    c.root = root;
    const nf_status status = walk(source_dir, count_one, &c);
    free(root);
    *bytes = c.bytes;
    return status;
}
