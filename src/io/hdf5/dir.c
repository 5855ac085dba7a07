/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of snapshots: names, room, removal. A snapshot that goes loses its name first, so that no half of it is taken for
 * whole. */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

void nf_h5_rank_name(char out[NF_H5_FILE_NAME_MAX], int rank)
{
    snprintf(out, NF_H5_FILE_NAME_MAX, "rank-%05d.h5", rank);
}

bool nf_h5_is_temporary(const char *name)
{
    /* what nf_file_write() leaves in a run's directories if it is killed */
    static const char *const file[] = {"run.generation.*.tmp", "exports.*-*-*.tmp", "origin.*-*-*.tmp",
                                       "input.used.nml.*-*-*.tmp", "log.csv.*-*-*.tmp"};
    bool is = nf_str_match("step-*.tmp", name);
    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        is = is || nf_str_match(file[i], name);
    return is;
}

nf_status nf_h5_remove_dir(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        return unlink(path) == 0 ? NF_OK : nf_fail_errno(errno, path, "cannot remove");
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        const int err = errno;
        if (fd >= 0)
            close(fd);
        return err == ENOENT ? NF_OK : nf_fail_errno(err, path, "cannot list");
    }
    nf_status status = NF_OK;
    for (struct dirent *d; status == NF_OK && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 && unlinkat(fd, d->d_name, 0) != 0 && errno != ENOENT)
            status = nf_fail_errno(errno, path, "cannot remove what is in it");
    closedir(dir);
    if (status == NF_OK && rmdir(path) != 0 && errno != ENOENT)
        status = nf_fail_errno(errno, path, "cannot remove");
    return status;
}

nf_status nf_h5_move_away(const char *path)
{
    nf_str aside = {0};
    nf_str_addf(&aside, "%s%s", path, NF_H5_ASIDE);
    nf_status status = aside.failed ? nf_fail(NF_ENOMEM, "%s: no memory for a path", path) : nf_h5_remove_dir(aside.text);
    if (status == NF_OK && rename(path, aside.text) != 0)
        status = nf_fail_errno(errno, path, "cannot put it aside");
    if (status == NF_OK)
        status = nf_h5_remove_dir(aside.text);
    nf_str_free(&aside);
    return status;
}

nf_status nf_snapshot_room(const char *dir, uint64_t *bytes)
{
    struct statvfs fs;
    char *at = strdup(dir);
    while (at && statvfs(at, &fs) != 0) {
        char *above = errno == ENOENT && strcmp(at, ".") != 0 && strcmp(at, "/") != 0 ? nf_path_dir(at) : NULL;
        if (!above) {
            const nf_status status = nf_fail_errno(errno, at, "cannot read the free space");
            free(at);
            return status;
        }
        free(at);
        at = above;
    }
    if (!at)
        return nf_fail(NF_ENOMEM, "%s: no memory for a path", dir);
    free(at);
    *bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return NF_OK;
}
