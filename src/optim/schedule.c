/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c: the learning rate of a step. */
#include <math.h>

#include "nemafit/optim.h"

double nf_schedule_lr(const struct nf_schedule_arg *a, int64_t step)
{
    const double pi = 3.14159265358979323846;
    int64_t span = a->steps - a->warmup;
    double x;

    if (step < a->warmup)
        return a->lr * (double)(step + 1) / (double)a->warmup;
    x = span > 1 ? (double)(step - a->warmup) / (double)(span - 1) : 0;
    if (x > 1)
        x = 1;
    switch (a->kind) {
    case NF_LINEAR: return a->lr + (a->min_lr - a->lr) * x;
    case NF_COSINE: return a->min_lr + (a->lr - a->min_lr) * 0.5 * (1 + cos(pi * x));
    case NF_WSD: {
        double start = 1 - a->decay_share, y = a->decay_share > 0 ? (x - start) / a->decay_share : 0;
        return y > 0 ? a->lr + (a->min_lr - a->lr) * y : a->lr;
    }
    default: return a->lr;
    }
}
