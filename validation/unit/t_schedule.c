/* SPDX-License-Identifier: Apache-2.0 */
/* t_schedule.c: the rate of a step: warm-up, the four shapes, their ends, runs of one step and of warm-up alone. */
#include <math.h>

#include "nemafit/optim.h"
#include "tap.h"

static bool is(double a, double b)
{
    return fabs(a - b) <= 1e-15 * (1 + fabs(b)); /* a few roundings in fp64 */
}

int main(void)
{
    struct nf_schedule_arg a = {.lr = 2, .min_lr = 0.5, .warmup = 4, .steps = 15, .decay_share = 0.5};

    tap_open();
    for (a.kind = NF_CONSTANT; a.kind <= NF_WSD; a.kind++) {
        tap_ok(is(nf_schedule_lr(&a, 0), 0.5) && is(nf_schedule_lr(&a, 3), 2), "kind %d: warm-up ends at the rate",
               (int)a.kind);
        tap_ok(is(nf_schedule_lr(&a, 4), 2), "kind %d: starts at the rate", (int)a.kind);
        tap_ok(is(nf_schedule_lr(&a, 14), a.kind == NF_CONSTANT ? 2 : 0.5), "kind %d: ends where it should", (int)a.kind);
        tap_ok(is(nf_schedule_lr(&a, 99), nf_schedule_lr(&a, 14)), "kind %d: stays there", (int)a.kind);
    }
    a.kind = NF_LINEAR;
    tap_ok(is(nf_schedule_lr(&a, 9), 1.25), "linear: the middle");
    a.kind = NF_COSINE;
    tap_ok(is(nf_schedule_lr(&a, 9), 1.25), "cosine: the middle");
    tap_ok(nf_schedule_lr(&a, 6) > 2 - 1.5 * 0.2 && nf_schedule_lr(&a, 12) < 0.5 + 1.5 * 0.2, "cosine: flat at its ends");
    a.kind = NF_WSD;
    tap_ok(is(nf_schedule_lr(&a, 9), 2) && nf_schedule_lr(&a, 10) < 2, "wsd: falls over its last part alone");
    a = (struct nf_schedule_arg){.kind = NF_COSINE, .lr = 1, .min_lr = 0, .warmup = 0, .steps = 1};
    tap_ok(is(nf_schedule_lr(&a, 0), 1), "a run of one step uses the rate");
    a = (struct nf_schedule_arg){.kind = NF_COSINE, .lr = 1, .min_lr = 0, .warmup = 3, .steps = 3};
    tap_ok(is(nf_schedule_lr(&a, 2), 1), "a run of warm-up alone");
    return tap_done();
}
