/* SPDX-License-Identifier: Apache-2.0 */
/* check.c: `nemafit --check`: everything a run would check, and what it would take; nothing is allocated for it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop.h"
#include "nemafit/log.h"
#include "nemafit/train.h"

/* Could this directory be made, or written to? Of what is not there yet the nearest above that is. */
static nf_status could_write(const char *dir)
{
    struct stat st;
    char *at = dir ? strdup(dir) : NULL;
    nf_status status = NF_OK;

    while (at && stat(at, &st) != 0) {
        char *above = errno == ENOENT && strcmp(at, ".") != 0 && strcmp(at, "/") != 0 ? nf_path_dir(at) : NULL;
        if (!above)
            status = nf_fail_errno(errno, dir, "cannot be made");
        free(at);
        at = above;
    }
    if (at && !S_ISDIR(st.st_mode))
        status = nf_fail_errno(ENOTDIR, at, "cannot be written to");
    else if (at && access(at, W_OK | X_OK) != 0)
        status = nf_fail_errno(errno, at, "cannot be written to");
    free(at);
    return status;
}

static nf_status could_write_all(const struct nf_params *p)
{
    NF_TRY(could_write(p->log.dir)); /* export.dir is looked at when the session is opened */
    return could_write(p->snapshot.dir);
}

nf_status nf_train_check(nf_input *input, const void *mpi_comm, int ranks, int rank)
{
    struct session s;
    nf_status status = nf_session_open(input, mpi_comm, ranks, false, &s);

    (void)rank;
    if (!status)
        status = nf_agree(s.mesh, nf_mesh_rank(s.mesh) == 0 ? could_write_all(s.p) : NF_OK);
    if (!status) {
        nf_str model = {0}, memory = {0};
        char text[32];
        nf_model_describe(s.model, &model);
        nf_note("model     %s", model.text ? model.text : "");
        nf_note("step      %" PRId64 " rows, %d micro-batches a rank, %" PRId64 " steps", s.global_batch, s.micro_batches,
                s.steps);
        nf_memory_lines(&s.memory, 1 << 10, &memory);
        nf_note("memory    %s a rank\n%s", nf_str_bytes(text, nf_session_bytes(&s)), memory.text ? memory.text : "");
        nf_note("check: the input is valid");
        nf_str_free(&memory);
        nf_str_free(&model);
    }
    nf_session_close(&s);
    return status;
}
