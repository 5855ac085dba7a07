/* SPDX-License-Identifier: Apache-2.0 */
/* check.c: `nemafit --check`: everything a run would check, and what it would take; nothing is allocated for it. */
#include <inttypes.h>

#include "loop.h"
#include "nemafit/log.h"
#include "nemafit/train.h"

nf_status nf_train_check(nf_input *input, const void *mpi_comm, int ranks, int rank)
{
    struct session s;
    nf_status status = nf_session_open(input, mpi_comm, ranks, false, &s);

    (void)rank;
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
