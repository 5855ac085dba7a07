/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.c: which exports of a run were made. An export follows its snapshot, so a kill between the two leaves a run that goes
 * on behind the step of an export that is not there. The list is <snapshot.dir>/exports, a line "STEP PATH" for each that is
 * whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exports.h"

enum { LIST_MAX = 16 << 20 };

/* The list as text, "" if there is none; *path malloc'd as well. */
static nf_status read_list(const char *dir, char **path, char **text)
{
    size_t n = 0;

    *text = NULL;
    *path = nf_path_join(dir, "exports");
    if (!*path)
        return nf_fail(NF_ENOMEM, "no memory for a path");
    if (access(*path, F_OK) == 0)
        return nf_file_read(*path, LIST_MAX, text, &n);
    *text = calloc(1, 1);
    return *text ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a list");
}

nf_status nf_exports_add(const char *dir, int64_t step, const char *export)
{
    char *path, *text;
    nf_str list = {0};
    nf_status status = read_list(dir, &path, &text);

    nf_str_addf(&list, "%s%" PRId64 " %s\n", text ? text : "", step, export);
    if (!status && list.failed)
        status = nf_fail(NF_ENOMEM, "no memory for a list");
    if (!status)
        status = nf_file_write(path, list.text, list.len);
    nf_str_free(&list);
    free(text);
    free(path);
    return status;
}

nf_status nf_exports_has(const char *dir, int64_t step, const char *export, bool *has)
{
    char *path, *text;
    nf_str line = {0};
    nf_status status = read_list(dir, &path, &text);

    nf_str_addf(&line, "%" PRId64 " %s\n", step, export);
    *has = false;
    for (const char *at = text; !status && at && *at && !*has; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        *has = line.text && !strncmp(at, line.text, line.len);
    *has = *has && access(export, F_OK) == 0;
    nf_str_free(&line);
    free(text);
    free(path);
    return status;
}

nf_status nf_exports_cut(const char *dir, int64_t last)
{
    char *path, *text;
    nf_str list = {0};
    nf_status status = read_list(dir, &path, &text);
    bool gone = false;

    for (const char *at = text; !status && at && *at;) {
        const char *end = strchr(at, '\n');
        size_t n = end ? (size_t)(end - at) + 1 : strlen(at);
        if (strtoll(at, NULL, 10) <= last)
            nf_str_addn(&list, at, n);
        else
            gone = true;
        at += n;
    }
    if (!status && list.failed)
        status = nf_fail(NF_ENOMEM, "no memory for a list");
    if (!status && gone)
        status = nf_file_write(path, list.text ? list.text : "", list.len);
    nf_str_free(&list);
    free(text);
    free(path);
    return status;
}
