/* SPDX-License-Identifier: Apache-2.0 */
/* Paths as text: nothing here looks at the file system. */
#include "nemafit/str.h"

#include <stdlib.h>
#include <string.h>

/* An absolute name stands for itself; whoever takes names from a file refuses those first. */
char *nf_path_join(const char *dir, const char *name)
{
    size_t nd = strlen(dir), nn = strlen(name);
    if (nd == 0 || name[0] == '/')
        return strdup(name);
    bool slash = dir[nd - 1] != '/';
    char *path = malloc(nd + slash + nn + 1);
    if (!path)
        return NULL;
    memcpy(path, dir, nd);
    if (slash)
        path[nd] = '/';
    memcpy(path + nd + slash, name, nn + 1);
    return path;
}

char *nf_path_dir(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') /* "a/b/" lies in "a" */
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n == 0)
        return strdup(".");
    while (n > 1 && path[n - 1] == '/')
        n--;
    return strndup(path, n);
}

const char *nf_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
