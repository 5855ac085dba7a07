/* SPDX-License-Identifier: Apache-2.0 */
/* tape.c: the tape's host tables; what it points to lives on the step arena. */
#include <stdlib.h>

#include "tape.h"

nf_status nf_tape_new(const nf_model *model, nf_tape **tape)
{
    nf_tape *t = calloc(1, sizeof *t);

    if (t)
        t->block = calloc((size_t)model->blocks, sizeof *t->block);
    if (!t || !t->block) {
        free(t);
        return nf_fail(NF_ENOMEM, "no memory for the tape of %d blocks", model->blocks);
    }
    *tape = t;
    return NF_OK;
}

void nf_tape_free(nf_tape *tape)
{
    if (!tape)
        return;
    free(tape->block);
    free(tape);
}
