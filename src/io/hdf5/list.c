/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshots of a run directory: which there are, which is the newest that is whole, and which may go. */
#include "private.h"

#include "nemafit/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int newest_first(const void *a, const void *b)
{
    const struct nf_snapshot_place *x = a, *y = b;
    return (x->step < y->step) - (x->step > y->step);
}

static nf_status add(struct nf_snapshot_list *list, const char *dir, const char *name)
{
    long long step = -1;
    char back[48];
    struct stat st;
    if (sscanf(name, "step-%lld", &step) != 1 || step < 0)
        return NF_OK;
    snprintf(back, sizeof back, "step-%08lld", step);
    if (strcmp(back, name) != 0)
        return NF_OK;
    char *path = nf_path_join(dir, name);
    struct nf_snapshot_place *grown = realloc(list->place, (size_t)(list->count + 1) * sizeof *grown);
    list->place = grown ? grown : list->place;
    if (!path || !grown) {
        free(path);
        return nf_fail(NF_ENOMEM, "%s: no memory to list snapshots", dir);
    }
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        free(path);
    else
        list->place[list->count++] = (struct nf_snapshot_place){step, path};
    return NF_OK;
}

nf_status nf_snapshot_list(const char *dir, struct nf_snapshot_list *out)
{
    struct nf_snapshot_list list = {0};
    nf_status status = NF_OK;
    DIR *d = opendir(dir);
    if (!d && errno != ENOENT)
        return nf_fail_errno(errno, dir, "cannot list");
    for (struct dirent *e; d && status == NF_OK && (e = readdir(d));)
        status = add(&list, dir, e->d_name);
    if (d)
        closedir(d);
    if (status != NF_OK) {
        nf_snapshot_list_free(&list);
        return status;
    }
    if (list.count)
        qsort(list.place, (size_t)list.count, sizeof *list.place, newest_first);
    *out = list;
    return NF_OK;
}

void nf_snapshot_list_free(struct nf_snapshot_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->place[i].path);
    free(list->place);
    *list = (struct nf_snapshot_list){0};
}

/* What rank 0 sees, known to all: paths, newest first. */
static nf_status agree_list(const nf_mesh *mesh, const char *dir, struct nf_snapshot_list *list)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const bool first = nf_mesh_rank(mesh) == 0;
    NF_TRY(nf_agree(mesh, first ? nf_snapshot_list(dir, list) : NF_OK));
    int64_t count = list->count;
    NF_TRY(nf_bcast(world, 0, &count, sizeof count));
    if (!first)
        list->place = calloc((size_t)count + 1, sizeof *list->place);
    NF_TRY(nf_agree(mesh, list->place || count == 0 ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory to list snapshots", dir)));
    for (int64_t i = 0; i < count; i++) {
        void *path = first ? list->place[i].path : NULL;
        size_t n = first ? strlen(path) + 1 : 0;
        NF_TRY(nf_bcast_blob(world, 0, &path, &n));
        if (!first)
            list->place[list->count++] = (struct nf_snapshot_place){0, path};
    }
    return NF_OK;
}

nf_status nf_snapshot_open_latest(const nf_mesh *mesh, const char *dir, const struct nf_snapshot_watch *watch,
                                  nf_snapshot_reader **reader)
{
    struct nf_snapshot_list list = {0};
    nf_str newest = {0};
    nf_snapshot_reader *found = NULL;
    nf_status status = agree_list(mesh, dir, &list);
    int i = 0;
    for (; status == NF_OK && !found && i < list.count; i++) {
        status = nf_snapshot_open(mesh, list.place[i].path, watch, &found);
        if (status != NF_EDATA && status != NF_EMISSING && status != NF_EIO)
            continue;
        nf_warn("%s%s", nf_diagnosis(), i + 1 < list.count ? "\n  The snapshot before it is tried." : "");
        if (i == 0)
            nf_str_add(&newest, nf_diagnosis());
        nf_diagnosis_clear();
        status = NF_OK;
    }
    if (status == NF_OK && !found && list.count > 0)
        status = nf_fail(NF_EDATA,
                         "%s: none of its %d snapshots is whole; the newest: %s"
                         "\n  Hint: to begin anew, set snapshot.resume = 'never'",
                         dir, list.count, newest.text ? newest.text : "");
    if (status == NF_OK)
        *reader = found;
    nf_str_free(&newest);
    nf_snapshot_list_free(&list);
    return status;
}
