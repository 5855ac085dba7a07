/* SPDX-License-Identifier: Apache-2.0 */
/* Which snapshots stay. A snapshot is removed only while enough whole ones remain, and never the newest whole one. */
#include "private.h"

#include "nemafit/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool nf_h5_looks_whole(const char *path)
{
    struct nf_h5_manifest m = {0};
    size_t n = 0;
    bool whole = nf_h5_manifest_read(path, &m, NULL, &n) == NF_OK;
    for (int f = 0; whole && f < m.files; f++) {
        struct stat st;
        char *file = nf_path_join(path, m.file[f].name);
        whole = file && lstat(file, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == m.file[f].size;
        free(file);
    }
    nf_h5_manifest_free(&m);
    nf_diagnosis_clear();
    return whole;
}

static nf_status prune(const nf_lease *lease, int64_t keep, int64_t pinned)
{
    struct nf_snapshot_list list = {0};
    int64_t kept = 0;
    NF_TRY(nf_lease_check(lease));
    NF_TRY(nf_snapshot_list(lease->dir, &list));
    for (int i = 0; i < list.count; i++) {
        const struct nf_snapshot_place *p = &list.place[i];
        if (!nf_h5_looks_whole(p->path) || p->step == pinned)
            continue;
        if (kept++ < keep)
            continue;
        if (nf_h5_move_away(p->path) == NF_OK) {
            nf_debug("snapshot  removed %s", p->path);
            continue;
        }
        nf_warn("an older snapshot cannot be removed: %s", nf_diagnosis()); /* the newest one stands: not a reason to end */
        nf_diagnosis_clear();
    }
    nf_snapshot_list_free(&list);
    return nf_dir_sync(lease->dir);
}

nf_status nf_snapshot_prune(const nf_mesh *mesh, const nf_lease *lease, int64_t keep, int64_t pinned)
{
    NF_CHECK(keep >= 1);
    return nf_agree(mesh, nf_mesh_rank(mesh) == 0 ? prune(lease, keep, pinned) : NF_OK);
}
