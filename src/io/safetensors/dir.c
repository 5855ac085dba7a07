/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output directory: everything is written beside it under a name of its own and takes its place with one rename, so that
 * under the final name there is always a complete checkpoint, the old or the new. Nothing is followed, truncated or removed
 * that is not such a checkpoint. Rank 0 alone calls what is here, but for nf_st_dir_create.
 */
#include "private.h"

#include "nemafit/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define INDEX "model.safetensors.index.json"

/* ---- what stands there already --------------------------------------------------------------------------------------------
 */

/* config.json, weights, and nothing deeper. */
static nf_status check_is_checkpoint(const char *path)
{
    char shown[280], inner[280];
    bool config = false, weights = false;
    DIR *dir = opendir(path);
    if (!dir)
        return nf_fail_errno(errno, path, "cannot list");
    nf_str_shown(shown, path, strlen(path));
    nf_status status = NF_OK;
    for (struct dirent *d; status == NF_OK && (d = readdir(dir));) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
            fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            status =
                nf_fail(NF_EEXISTS, "%s: exists and has a folder '%s' in it: not replaced\n  Hint: choose another directory.",
                        shown, nf_str_shown(inner, d->d_name, strlen(d->d_name)));
        config |= strcmp(d->d_name, "config.json") == 0;
        weights |= nf_str_match("*.safetensors", d->d_name);
    }
    closedir(dir);
    if (status == NF_OK && !(config && weights))
        status =
            nf_fail(NF_EEXISTS, "%s: exists and is not a checkpoint: not replaced\n  Hint: choose another directory.", shown);
    return status;
}

static nf_status check_not_source(const char *target, const struct stat *st, const char *source)
{
    struct stat other;
    char shown[280];
    if (source && stat(source, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino)
        return nf_fail(NF_EEXISTS, "%s: is the checkpoint that this run reads: not replaced\n  Hint: choose another directory.",
                       nf_str_shown(shown, target, strlen(target)));
    return NF_OK;
}

static nf_status check_target(struct nf_st_dir *dir, const nf_st *source, const char *source_dir)
{
    struct stat st;
    char shown[280];
    const char *base = nf_path_base(dir->target);
    nf_str_shown(shown, dir->target, strlen(dir->target));
    if (*base == 0 || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return nf_fail(NF_EUSAGE, "%s: cannot be the name of a new directory", shown);
    if (lstat(dir->target, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? NF_OK : nf_fail_errno(errno, dir->target, "cannot look at it");
    if (!S_ISDIR(st.st_mode))
        return nf_fail(NF_EEXISTS, "%s: exists and is %s: not replaced", shown,
                       S_ISLNK(st.st_mode) ? "a link" : "not a directory");
    NF_TRY(check_not_source(dir->target, &st, source ? source->dir : NULL));
    NF_TRY(check_not_source(dir->target, &st, source_dir));
    NF_TRY(check_is_checkpoint(dir->target));
    dir->replaces = true;
    return NF_OK;
}

static nf_status check_space(const char *parent, uint64_t need)
{
    struct statvfs fs;
    if (statvfs(parent, &fs) != 0)
        return nf_fail_errno(errno, parent, "cannot read the free space");
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    char a[32], b[32];
    return need <= room ? NF_OK
                        : nf_fail(NF_EIO, "%s: the checkpoint needs %s (%llu bytes), %s (%llu bytes) are free", parent,
                                  nf_str_bytes(a, (double)need), (unsigned long long)need, nf_str_bytes(b, (double)room),
                                  (unsigned long long)room);
}

static nf_status name_target(struct nf_st_dir *dir, const char *name, char **parent)
{
    *dir = (struct nf_st_dir){.target = strdup(name)};
    for (size_t n = dir->target ? strlen(dir->target) : 0; n > 1 && dir->target[n - 1] == '/'; n--)
        dir->target[n - 1] = 0;
    *parent = dir->target ? nf_path_dir(dir->target) : NULL;
    return *parent ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory for a path", name);
}

nf_status nf_st_dir_check(struct nf_st_dir *dir, const nf_st *source, const struct nf_st_write_arg *arg, uint64_t need)
{
    char *parent = NULL;
    nf_status status = name_target(dir, arg->dir, &parent);
    if (status == NF_OK)
        status = check_target(dir, source, arg->source_dir);
    if (status == NF_OK)
        status = nf_dir_make(parent);
    if (status == NF_OK)
        status = check_space(parent, need);
    free(parent);
    return status;
}

/* May something be made in `path`, or where it will be made? Cuts `path` down to what is there. */
static nf_status check_writable(char *path)
{
    struct stat st;
    while (stat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR) && strcmp(path, ".") != 0 && strcmp(path, "/") != 0) {
        char *slash = strrchr(path, '/');
        if (slash && slash != path)
            *slash = 0;
        else
            strcpy(path, slash ? "/" : ".");
    }
    if (stat(path, &st) != 0)
        return nf_fail_errno(errno, path, "cannot look at it");
    if (!S_ISDIR(st.st_mode))
        return nf_fail(NF_EEXISTS, "%s: is not a directory: nothing can be made in it", path);
    return access(path, W_OK | X_OK) == 0 ? NF_OK : nf_fail_errno(errno, path, "cannot make anything in it");
}

nf_status nf_st_dir_foresee(const nf_st *source, const struct nf_st_write_arg *arg)
{
    struct nf_st_dir dir;
    char *parent = NULL;
    uint64_t bytes;
    nf_status status = name_target(&dir, arg->dir, &parent);
    if (status == NF_OK)
        status = check_target(&dir, source, arg->source_dir);
    if (status == NF_OK)
        status = check_writable(parent);
    if (status == NF_OK)
        status = nf_st_dir_carried(arg->source_dir, &bytes);
    free(parent);
    nf_st_dir_end(&dir);
    return status;
}

/* ---- the temporary --------------------------------------------------------------------------------------------------------
 */

nf_status nf_st_dir_create(const char *dir, const char *name, int *fd)
{
    char *path = nf_path_join(dir, name);
    if (!path)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", dir);
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    const nf_status status = *fd >= 0 ? NF_OK : nf_fail_errno(errno, path, "cannot create");
    free(path);
    return status;
}

nf_status nf_st_sync_and_close(int fd, const char *path)
{
    nf_status status = fsync(fd) == 0 ? NF_OK : nf_fail_errno(errno, path, "cannot bring it to the disk");
    if (close(fd) != 0 && status == NF_OK)
        status = nf_fail_errno(errno, path, "cannot close");
    return status;
}

/* A file of `size` bytes that begins with `bytes`; its room is taken now if the file system can. */
static nf_status put_file(const char *dir, const char *name, const void *bytes, size_t n, uint64_t size)
{
    int fd;
    NF_TRY(nf_st_dir_create(dir, name, &fd));
    char *joined = nf_path_join(dir, name);
    const char *path = joined ? joined : name; /* for messages */
    nf_status status = nf_pwrite(fd, path, bytes, n, 0);
    if (status == NF_OK && fallocate(fd, 0, 0, (off_t)size) != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        status = nf_fail_errno(errno, path, "cannot take room for it");
    if (status == NF_OK && ftruncate(fd, (off_t)size) != 0)
        status = nf_fail_errno(errno, path, "cannot set its size");
    const nf_status closed = nf_st_sync_and_close(fd, path);
    free(joined);
    return status == NF_OK ? closed : status;
}

/* Remove a directory of ours, which has files only, and close it. Says nothing: it is called where the story is over. */
static bool remove_flat(DIR *dir, const char *path)
{
    if (!dir)
        return false;
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    return rmdir(path) == 0;
}

/* A directory, locked; -1: it is not there, another process has it, or the file system has no locks. */
static int lock_dir(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Temporaries of this target that nobody holds: their processes were killed. Not being able to remove them is no failure. */
static void sweep(const char *target)
{
    char *parent = nf_path_dir(target);
    DIR *dir = parent ? opendir(parent) : NULL;
    nf_str begin = {0};
    nf_str_addf(&begin, "%s.tmp-", nf_path_base(target));
    for (struct dirent *d; dir && !begin.failed && (d = readdir(dir));) {
        const char *number = d->d_name + begin.len;
        if (strncmp(d->d_name, begin.text, begin.len) != 0 || number[0] == 0 || strspn(number, "0123456789-") != strlen(number))
            continue;
        char *path = nf_path_join(parent, d->d_name);
        const int fd = path ? lock_dir(path) : -1;
        if (fd >= 0) {
            (void)remove_flat(opendir(path), path);
            close(fd);
        }
        free(path);
    }
    if (dir)
        closedir(dir);
    nf_str_free(&begin);
    free(parent);
}

nf_status nf_st_dir_begin(struct nf_st_dir *dir, const struct nf_st_layout *layout)
{
    const size_t n = strlen(dir->target) + 48;
    char *name = malloc(n);
    if (!name)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", dir->target);
    sweep(dir->target);
    for (int i = 0;; i++) { /* one of a killed run with our number may stand there */
        snprintf(name, n, i ? "%s.tmp-%ld-%d" : "%s.tmp-%ld", dir->target, (long)getpid(), i);
        if (mkdir(name, 0750) == 0)
            break;
        if (errno != EEXIST || i == 100) {
            const nf_status status = nf_fail_errno(errno, name, "cannot create");
            free(name);
            return status;
        }
    }
    dir->temporary = name;
    dir->lock = lock_dir(name) + 1;
    for (int i = 0; i < layout->files; i++)
        NF_TRY(put_file(name, layout->file[i].name, layout->file[i].header.text, layout->file[i].header.len,
                        layout->file[i].size));
    if (!layout->indexed)
        return NF_OK;
    nf_str text = {0};
    nf_status status = nf_st_layout_index(layout, &text);
    if (status == NF_OK)
        status = put_file(name, INDEX, text.text, text.len, text.len);
    nf_str_free(&text);
    return status;
}

/* ---- the end --------------------------------------------------------------------------------------------------------------
 */

static nf_status check_sizes(const struct nf_st_dir *dir, const struct nf_st_layout *layout)
{
    for (int i = 0; i < layout->files; i++) {
        const struct nf_st_outfile *f = &layout->file[i];
        struct nf_file_id id = {0};
        int fd = -1;
        char *path = nf_path_join(dir->temporary, f->name), *head = malloc(f->header.len);
        nf_status status = path && head ? nf_st_file_open(path, NULL, &fd, &id) : nf_fail(NF_ENOMEM, "%s: no memory", f->name);
        if (status == NF_OK && id.size != f->size)
            status = nf_fail(NF_EIO, "%s: has %llu bytes, %llu were written", path, (unsigned long long)id.size,
                             (unsigned long long)f->size);
        if (status == NF_OK)
            status = nf_st_pread(fd, path, head, f->header.len, 0);
        if (status == NF_OK && memcmp(head, f->header.text, f->header.len) != 0)
            status = nf_fail(NF_EIO, "%s: its header reads back with other bytes", path);
        if (fd >= 0)
            close(fd);
        free(path);
        free(head);
        NF_TRY(status);
    }
    return NF_OK;
}

/* Both names change in one step, or the old one goes aside first where the file system cannot do that. *old: where it is then.
 */
static nf_status exchange(const struct nf_st_dir *dir, const char *aside, const char **old)
{
    *old = dir->temporary;
    if (renameat2(AT_FDCWD, dir->temporary, AT_FDCWD, dir->target, RENAME_EXCHANGE) == 0)
        return NF_OK;
    *old = aside;
    if (rename(dir->target, aside) != 0)
        return nf_fail_errno(errno, dir->target, "cannot put the old one aside");
    if (rename(dir->temporary, dir->target) != 0) {
        const nf_status status = nf_fail_errno(errno, dir->target, "cannot give the new one its name");
        (void)rename(aside, dir->target);
        return status;
    }
    return NF_OK;
}

static nf_status appear(const struct nf_st_dir *dir)
{
    if (renameat2(AT_FDCWD, dir->temporary, AT_FDCWD, dir->target, RENAME_NOREPLACE) == 0)
        return NF_OK;
    if ((errno == ENOSYS || errno == EINVAL) && rename(dir->temporary, dir->target) == 0)
        return NF_OK;
    if (errno == EEXIST || errno == ENOTEMPTY)
        return nf_fail(NF_EEXISTS, "%s: appeared while it was being written: not replaced", dir->target);
    return nf_fail_errno(errno, dir->target, "cannot give the new one its name");
}

/* All that may fail for lack of memory comes before the names change. */
nf_status nf_st_dir_commit(struct nf_st_dir *dir, const struct nf_st_layout *layout)
{
    NF_TRY(check_sizes(dir, layout));
    NF_TRY(nf_dir_sync(dir->temporary));
    nf_str aside = {0};
    nf_str_addf(&aside, "%s.old-%ld", dir->target, (long)getpid());
    char *parent = nf_path_dir(dir->target);
    DIR *replaced = dir->replaces ? opendir(dir->target) : NULL;
    const char *old = NULL;
    nf_status status = NF_OK;
    if (aside.failed || !parent)
        status = nf_fail(NF_ENOMEM, "%s: no memory for a path", dir->target);
    else if (dir->replaces && !replaced)
        status = nf_fail_errno(errno, dir->target, "cannot list");
    if (status == NF_OK)
        status = dir->replaces ? exchange(dir, aside.text, &old) : appear(dir);
    if (status == NF_OK) {
        status = nf_dir_sync(parent);
        if (replaced && !remove_flat(replaced, old))
            nf_warn("%s: cannot remove what was replaced; it may be removed by hand", old);
        replaced = NULL;
        free(dir->temporary); /* nothing has this name now */
        dir->temporary = NULL;
    }
    if (replaced)
        closedir(replaced);
    free(parent);
    nf_str_free(&aside);
    return status;
}

void nf_st_dir_end(struct nf_st_dir *dir)
{
    if (dir->temporary)
        (void)remove_flat(opendir(dir->temporary), dir->temporary);
    if (dir->lock)
        close(dir->lock - 1);
    free(dir->temporary);
    free(dir->target);
    *dir = (struct nf_st_dir){0};
}
