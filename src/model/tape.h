/* SPDX-License-Identifier: Apache-2.0 */
/* tape.h: what the forward of one micro-batch left for its backward. */
#ifndef NEMAFIT_MODEL_TAPE_H
#define NEMAFIT_MODEL_TAPE_H

#include "nemafit/model.h"

struct kept {
    nf_mark before;   /* of the step arena, when the block began */
    nf_tensor stream; /* what the block's norm read */
    nf_tensor normed; /* what its mixer read; made again under recompute */
    float *rstd;
    union nf_keep keep;
};

struct nf_tape {
    struct kept *block;
    nf_tensor branch[2];               /* a block's result waits here for the next norm */
    nf_tensor stream, hidden, dhidden; /* the last stream, after the final norm, its gradient */
    float *rstd;
};

#endif
