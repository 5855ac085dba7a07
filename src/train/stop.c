/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c: signals and the wall clock. See stop.h. */
#include "stop.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "nemafit/log.h"
#include "nemafit/signals.h"

/* Seconds until the scheduler ends the job; HUGE_VAL: nobody told. */
static double scheduler_seconds(void)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    char *end = NULL;
    double when = text ? strtod(text, &end) : 0;

    return text && end != text && *end == '\0' && when > 0 ? when - (double)time(NULL) : HUGE_VAL;
}

void nf_stop_new(const struct nf_params *p, struct stop *s)
{
    const double most_margin = 10, share = 0.1; /* of a short limit a tenth: else nothing of it would be left */
    double left = p->snapshot.dir ? scheduler_seconds() : HUGE_VAL;

    *s = (struct stop){.active = p->snapshot.dir != NULL, .deadline = HUGE_VAL};
    if (!s->active)
        return;
    if (left < HUGE_VAL) {
        s->deadline = nf_seconds() + left;
        s->margin = most_margin;
    }
    if (p->train.max_wall > 0 && p->train.max_wall < s->deadline) { /* nf_seconds() counts from the start of the process */
        s->deadline = p->train.max_wall;
        s->margin = fmin(most_margin, share * p->train.max_wall);
        s->own_limit = true;
    }
}

void nf_stop_vote(const struct stop *s, int64_t votes[STOP_VOTES])
{
    const double safety = 1.5; /* disks and steps are not always as fast as last time */

    votes[STOP_SIGNAL] = s->active && nf_signals_caught() != 0;
    /* what is voted here takes effect one step later, and that step is run to its end */
    votes[STOP_WALL] =
        s->active && nf_seconds() + safety * (2 * s->step + s->snapshot + s->evaluation) + s->margin >= s->deadline;
}

nf_status nf_stop_ask(const struct stop *s, const nf_mesh *mesh, bool *stop)
{
    int64_t votes[STOP_VOTES];

    nf_stop_vote(s, votes);
    NF_TRY(nf_reduce_i64(nf_mesh_group(mesh, NF_WORLD), votes, STOP_VOTES, NF_SUM));
    *stop = votes[STOP_SIGNAL] + votes[STOP_WALL] > 0;
    return NF_OK;
}

nf_status nf_stop_status(const struct stop *s, const nf_mesh *mesh, bool progress, const char *what)
{
    int64_t number = nf_signals_caught();

    NF_TRY(nf_reduce_i64(nf_mesh_group(mesh, NF_WORLD), &number, 1, NF_MAX));
    if (number)
        return nf_fail(NF_EPREEMPTED, "%s came: %s", nf_signal_name((int)number), what);
    if (s->own_limit && !progress)
        return nf_fail(NF_EUSAGE, "train.max_wall = %g s leaves no time for a step and a snapshot\n  Hint: raise it",
                       s->deadline);
    return nf_fail(NF_EPREEMPTED, "the limit of %.0f s is near: %s", s->deadline, what);
}
