/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h: memory by lifetime. An arena is one block with two stacks: LOW grows from its start, HIGH from its end.
 *
 *   run     from start-up to the end: tables, windows, staging
 *   state   parameters, optimizer state, gradients that outlive a micro-batch
 *   step    activations (LOW), and what lives into or beyond the backward (HIGH)
 *   work    scratch inside one op; one a queue
 *
 * A counting arena has no block: it hands out addresses that must not be used and records what would have been taken, so
 * the same code sizes memory before any is taken. Names are kept for the report; they must be string literals.
 *
 * A mark may be reset only after the compute queue waited for every event of work that still reads above it.
 */
#ifndef NEMAFIT_ARENA_H
#define NEMAFIT_ARENA_H

#include "nemafit/base.h"

#define NF_ALIGN 256 /* bytes; every allocation starts on it */

typedef struct nf_arena nf_arena;
enum nf_end { NF_LOW, NF_HIGH };
typedef struct nf_mark {
    size_t low, high; /* bytes taken at each end */
} nf_mark;

/* The arena borrows block (NULL: counting). Errors: local NF_ENOMEM. */
nf_status nf_arena_new(const char *name, void *block, size_t bytes, nf_arena **arena);
void nf_arena_free(nf_arena *arena);
bool nf_arena_counting(const nf_arena *arena);
const char *nf_arena_name(const nf_arena *arena);

/*
 * nf_arena_get: bytes (0 allowed: a non-NULL address) at an end, aligned to NF_ALIGN. Contents are undefined.
 * Errors  local NF_ENOMEM with the arena's name, what was asked, what is left. A step never meets it: the dry run sized it.
 */
nf_status nf_arena_get(nf_arena *arena, enum nf_end end, size_t bytes, const char *what, void **out);
nf_mark nf_arena_mark(const nf_arena *arena);
void nf_arena_reset(nf_arena *arena, enum nf_end end, nf_mark mark);
size_t nf_arena_used(const nf_arena *arena);
size_t nf_arena_peak(const nf_arena *arena); /* largest LOW + HIGH so far: what a block must hold */

/* One row a name: its share of the peak moment, largest first; returns the number of rows. `row` may be NULL. */
int nf_arena_report(const nf_arena *arena, void (*row)(void *ctx, const char *what, size_t bytes, int count), void *ctx);

#endif
