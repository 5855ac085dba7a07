/* SPDX-License-Identifier: Apache-2.0 */
/* Directories. Several ranks may make the same one at the same time. */
#define _GNU_SOURCE
#include "nemafit/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* 0 or an errno. A parent that may not be written to is no error as long as it is there. */
static int made(const char *path)
{
    if (mkdir(path, 0750) == 0)
        return 0;
    int err = errno;
    if (is_dir(path))
        return 0;
    return err == EEXIST ? ENOTDIR : err;
}

nf_status nf_dir_make(const char *path)
{
    char *part = strdup(path);
    int err = part ? 0 : ENOMEM;
    for (char *p = part; err == 0 && *p; p++)
        if (*p == '/' && p > part && p[-1] != '/') {
            *p = '\0';
            err = made(part);
            *p = '/';
        }
    if (err == 0)
        err = made(path);
    free(part);
    if (err == 0)
        return NF_OK;
    if (err == ENOTDIR) { /* something else bears the name, here or on the way */
        char shown[280];
        return nf_fail(NF_EEXISTS, "%s: cannot make this directory: a file with such a name is in the way",
                       nf_str_shown(shown, path, strlen(path)));
    }
    return nf_fail_errno(err, path, "making the directory");
}

nf_status nf_dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return nf_fail_errno(errno, path, "opening the directory");
    int err = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : errno; /* some file systems have no such thing */
    close(fd);
    return err == 0 ? NF_OK : nf_fail_errno(err, path, "fsync of the directory");
}
