/* SPDX-License-Identifier: Apache-2.0 */
/* --verify: every file of a snapshot, one line each, whatever the others are like. */
#include "private.h"

#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a rank found out about one file. */
struct finding {
    int status;
    char text[1020];
};

static void look(nf_snapshot_reader *r, int f, struct finding *out)
{
    out->status = f < r->m.files ? nf_h5_check_file(r, f) : NF_OK;
    if (out->status != NF_OK)
        snprintf(out->text, sizeof out->text, "%s", nf_diagnosis());
    nf_diagnosis_clear();
}

static void tell(const nf_snapshot_reader *r, int f, const struct finding *x)
{
    char size[32];
    if (x->status == NF_OK)
        nf_note("whole     %s  %s", r->m.file[f].name, nf_str_bytes(size, (double)r->m.file[f].size));
    else
        nf_note("DAMAGED   %s", x->text);
}

nf_status nf_snapshot_verify(const nf_mesh *mesh, const char *path)
{
    const int ranks = nf_mesh_ranks(mesh), rank = nf_mesh_rank(mesh);
    struct finding mine = {0}, *all = malloc((size_t)ranks * sizeof *all);
    nf_snapshot_reader *r = NULL;
    int damaged = 0, worst = NF_OK;
    nf_status status = nf_agree(mesh, all ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory to look at it", path));
    if (status == NF_OK)
        status = nf_h5_open_tables(mesh, path, &r);
    for (int f = 0; status == NF_OK && f < r->m.files; f += ranks) {
        mine = (struct finding){0};
        look(r, f + rank, &mine);
        status = nf_gather_bytes(nf_mesh_group(mesh, NF_WORLD), &mine, sizeof mine, all);
        for (int k = 0; status == NF_OK && k < ranks && f + k < r->m.files; k++) {
            tell(r, f + k, &all[k]);
            damaged += all[k].status != NF_OK;
            worst = all[k].status == NF_OK || (worst != NF_OK && worst != NF_EDATA) ? worst : all[k].status;
        }
    }
    if (status == NF_OK && damaged)
        status =
            nf_fail((nf_status)worst, "%s: %d of %d files are damaged: this snapshot is not used", path, damaged, r->m.files);
    if (status == NF_OK)
        nf_note("verify: PASS, step %lld, %d tensors in %d files", (long long)r->m.meta.step, r->m.tensors, r->m.files);
    nf_snapshot_close(r);
    free(all);
    return status;
}
