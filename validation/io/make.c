/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "make.h"

#include "tap.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void make_tensor(struct make *m, const char *name, const char *dtype, int nd, const int64_t *dim, const void *bytes, size_t n)
{
    nf_str_addf(&m->json, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", m->json.len ? "," : "", name, dtype);
    for (int i = 0; i < nd; i++)
        nf_str_addf(&m->json, "%s%lld", i ? "," : "", (long long)dim[i]);
    nf_str_addf(&m->json, "],\"data_offsets\":[%zu,%zu]}", m->data.len, m->data.len + n);
    nf_str_addn(&m->data, bytes, n);
}

bool make_write(struct make *m, const char *path)
{
    nf_str file = {0};
    const size_t n = m->json.len + 2;
    for (int i = 0; i < 8; i++) {
        const char byte = (char)((uint64_t)n >> (8 * i) & 255);
        nf_str_addn(&file, &byte, 1);
    }
    nf_str_addf(&file, "{%s}", m->json.text ? m->json.text : "");
    nf_str_addn(&file, m->data.text, m->data.len);
    const bool written = make_file(path, file.text, file.len);
    nf_str_free(&file);
    nf_str_free(&m->json);
    nf_str_free(&m->data);
    *m = (struct make){0};
    return written;
}

bool make_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    const bool written = fwrite(bytes, 1, n, f) == n;
    return fclose(f) == 0 && written;
}

bool make_text(const char *path, const char *text)
{
    return make_file(path, text, strlen(text));
}

bool make_folder(char out[256], const char *name)
{
    snprintf(out, 256, "%s.XXXXXX", name);
    return mkdtemp(out) != NULL;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void make_remove(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *make_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    nf_str all = {0};
    char part[4096];
    for (size_t got; (got = fread(part, 1, sizeof part, f)) > 0;)
        nf_str_addn(&all, part, got);
    fclose(f);
    nf_str_addn(&all, "", 0);
    *n = all.len;
    return all.text ? all.text : calloc(1, 1);
}

bool make_same(const char *a, const char *b)
{
    size_t n = 0, m = 0;
    char *x = make_read(a, &n), *y = make_read(b, &m);
    const bool same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

int make_count(const char *dir, const char *pattern)
{
    int count = 0;
    DIR *d = opendir(dir);
    if (!d)
        return -1;
    for (struct dirent *e; (e = readdir(d));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && nf_str_match(pattern, e->d_name);
    closedir(d);
    return count;
}

bool make_diagnosed(nf_status got, nf_status wanted, const char *text)
{
    const bool right = got == wanted && strstr(nf_diagnosis(), text) != NULL;
    if (!right)
        tap_note("wanted %s '%s', got %s '%.300s'", nf_status_name(wanted), text, nf_status_name(got), nf_diagnosis());
    nf_diagnosis_clear();
    return right;
}
