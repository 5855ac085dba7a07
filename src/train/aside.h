/* SPDX-License-Identifier: Apache-2.0 */
/* aside.h: what else lies in a directory of snapshots `dir`. Not collective: rank 0 works. */
#ifndef NEMAFIT_TRAIN_ASIDE_H
#define NEMAFIT_TRAIN_ASIDE_H

#include "nemafit/base.h"

/* Move all snapshots behind step `last` (-1: all) to dir/earlier-1, -2, ..., and forget the exports behind it. */
nf_status nf_put_aside(const char *dir, int64_t last);

/*
 * resume = 'DIR' begins there; the same command started again goes on from its own snapshots. dir/origin remembers the DIR that
 * the run in `dir` began at. nf_origin_is: is it `from`? nf_origin_note: from NULL: it began anew, or from its own.
 */
nf_status nf_origin_is(const char *dir, const char *from, bool *same);
nf_status nf_origin_note(const char *dir, const char *from);

#endif
