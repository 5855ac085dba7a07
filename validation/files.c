/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c: finding and reading the cases.
 */
#include "files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct files files_list(const char *folder, const char *ending)
{
    struct files list = {NULL, 0};
    const char *root = getenv("srcdir");
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/validation/%s", root ? root : ".", folder);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name), m = strlen(ending);
        if (n <= m || e->d_name[0] == '.' || strcmp(e->d_name + n - m, ending))
            continue;
        char **more = realloc(list.path, (size_t)(list.count + 1) * sizeof *more);
        size_t bytes = strlen(dir) + n + 2;
        char *path = malloc(bytes);
        if (!more || !path)
            abort();
        snprintf(path, bytes, "%s/%s", dir, e->d_name);
        list.path = more;
        list.path[list.count++] = path;
    }
    if (d)
        closedir(d);
    if (list.count)
        qsort(list.path, (size_t)list.count, sizeof *list.path, by_name);
    return list;
}

void files_free(struct files *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->path[i]);
    free(list->path);
}

char *files_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0, room = 0;
    while (f && !feof(f) && !ferror(f)) {
        if (size + 4096 > room) {
            room = 2 * room + 8192;
            char *more = realloc(text, room);
            if (!more)
                abort();
            text = more;
        }
        size += fread(text + size, 1, 4095, f);
    }
    if (f)
        fclose(f);
    if (text)
        text[size] = 0;
    *n = size;
    return text;
}

char *files_other(const char *path, const char *ending)
{
    size_t stem = strrchr(path, '.') ? (size_t)(strrchr(path, '.') - path) : strlen(path);
    char *other = malloc(stem + strlen(ending) + 1);
    if (!other)
        abort();
    memcpy(other, path, stem);
    strcpy(other + stem, ending);
    return other;
}

const char *files_name(const char *path)
{
    return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

int files_lines(char *text, char **line, int limit)
{
    int n = 0;
    while (text && *text && n < limit) {
        line[n++] = text;
        text = strchr(text, '\n');
        if (text)
            *text++ = 0;
    }
    return n;
}
