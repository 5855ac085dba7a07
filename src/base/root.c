/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where links of a downloaded directory may lead. What comes from elsewhere must not make a run read, or write back into an
 * export, a file of the user's that merely has the right name: links stay below a root.
 */
#define _GNU_SOURCE
#include "nemafit/str.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

nf_status nf_root_of(const char *dir, char **root)
{
    char *real = realpath(dir, NULL);
    if (!real)
        return nf_fail_errno(errno, dir, "cannot open");
    *root = real;
    char *last = strrchr(real, '/');
    if (last && last != real) {
        *last = 0;
        char *above = strrchr(real, '/');
        if (above && above != real && strcmp(above, "/snapshots") == 0) {
            *above = 0;
            return NF_OK;
        }
        *last = '/';
    }
    return NF_OK;
}

/* Checked after the opening: there is no moment between the two in which a link could change. */
nf_status nf_root_check(int fd, const char *path, const char *root, const char *code)
{
    char proc[64], real[PATH_MAX];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(proc, real, sizeof real - 1);
    if (n < 0) { /* no /proc */
        if (!realpath(path, real))
            return nf_fail_errno(errno, path, "cannot open");
        n = (ssize_t)strlen(real);
    }
    real[n] = 0;
    const size_t length = strlen(root);
    const bool inside = strncmp(real, root, length) == 0 && (real[length] == '/' || (length > 0 && root[length - 1] == '/'));
    char a[280], b[280];
    return inside ? NF_OK
                  : nf_fail(NF_EDATA, "%s: %sis a link that leads out of the checkpoint, to %s\n  Hint: copy the file there.",
                            nf_str_shown(a, path, strlen(path)), code, nf_str_shown(b, real, (size_t)n));
}
