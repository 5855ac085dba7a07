/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aside.c: a directory of snapshots when a run goes on in it from elsewhere than its newest. Snapshots newer than the one gone
 * on from belong to steps that will be run again: they are put aside, never removed, and never mixed with what this run writes.
 */
#include "aside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exports.h"
#include "nemafit/io/snapshot.h"
#include "nemafit/log.h"
#include "nemafit/params.h"

/* ---- newer snapshots are put aside -----------------------------------------------------------------------------------------
 */

/* The first of DIR/earlier-1, -2, ... that is not there. malloc'd */
static char *earlier(const char *dir)
{
    char name[32], *path = NULL;

    for (int i = 1; i < 1000000; i++) {
        snprintf(name, sizeof name, "earlier-%d", i);
        path = nf_path_join(dir, name);
        if (!path || access(path, F_OK) != 0)
            return path;
        free(path);
    }
    return NULL;
}

static nf_status move_into(const char *aside, const char *from)
{
    char *to = nf_path_join(aside, nf_path_base(from));
    nf_status status = NF_OK;

    if (!to)
        return nf_fail(NF_ENOMEM, "no memory for a path");
    if (rename(from, to) != 0)
        status = nf_fail_errno(errno, from, "cannot put this snapshot aside");
    free(to);
    return status;
}

nf_status nf_put_aside(const char *dir, int64_t last)
{
    struct nf_snapshot_list list = {0};
    char *aside = NULL;
    int moved = 0;
    nf_status status = nf_snapshot_list(dir, &list);

    for (int i = 0; i < list.count && !status; i++) {
        if (list.place[i].step <= last)
            continue;
        if (!aside && !(aside = earlier(dir)))
            status = nf_fail(NF_ENOMEM, "%s: no place to put older snapshots aside", dir);
        if (!status && !moved)
            status = nf_dir_make(aside);
        if (!status)
            status = move_into(aside, list.place[i].path);
        moved += !status;
    }
    nf_snapshot_list_free(&list);
    if (!status && moved)
        status = nf_dir_sync(dir);
    if (!status && moved)
        nf_note("snapshots %d of steps behind %" PRId64 " are in %s now", moved, last < 0 ? 0 : last, aside);
    free(aside);
    return status ? status : nf_exports_cut(dir, last);
}

/* ---- resume = 'DIR': begins there, and the same command started again goes on from its own snapshots
 * -------------------------- */

nf_status nf_origin_is(const char *dir, const char *from, bool *began)
{
    char *path = nf_path_join(dir, "origin"), *text = NULL;
    size_t n = 0;
    nf_status status = NF_OK;

    *began = false;
    if (!path)
        return nf_fail(NF_ENOMEM, "no memory for a path");
    if (access(path, F_OK) == 0)
        status = nf_file_read(path, NF_PATH_MAX + 2, &text, &n);
    if (!status && text)
        *began = n == strlen(from) + 1 && !strncmp(text, from, n - 1);
    free(text);
    free(path);
    return status;
}

nf_status nf_origin_note(const char *dir, const char *from)
{
    char *path = nf_path_join(dir, "origin");
    nf_str text = {0};
    nf_status status = path ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a path");

    nf_str_addf(&text, "%s\n", from ? from : "");
    if (!status && text.failed)
        status = nf_fail(NF_ENOMEM, "no memory for a path");
    if (!status && from)
        status = nf_file_write(path, text.text, text.len);
    else if (!status && unlink(path) != 0 && errno != ENOENT)
        status = nf_fail_errno(errno, path, "cannot remove");
    nf_str_free(&text);
    free(path);
    return status;
}
