/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.h: a reader of untrusted text under random inputs. A target is one reader and what it promises of any bytes; it is
 * driven by driver.c (a fixed number of mutations, in make check) or by libfuzzer.c (scripts/fuzz), both with the mutations of
 * mutate.c.
 *
 * Promised of every reader: no crash, no bad access, no leak; a refusal has the status and the words a user can act on; what is
 * accepted is consistent. Seeds are readable files: validation/fuzz/seeds/NAME, for the namelist the cases of validation/input.
 */
#ifndef NEMAFIT_VALIDATION_FUZZ_TARGET_H
#define NEMAFIT_VALIDATION_FUZZ_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_target {
    const char *name;
    const char *const *seeds; /* folders below validation/, NULL-terminated */
    const char *ending;       /* of the names of seeds */
    const char *const *words; /* what a mutation may put in; NULL-terminated */
    /* NULL, or the promise that is broken by these n bytes (an exact block: a byte too far is seen). */
    const char *(*holds)(const char *text, size_t n, bool *accepted);
};
extern const struct fuzz_target fuzz_target; /* of the one target that is linked */

/* ---- mutate.c ----------------------------------------------------------------------------------------------------------- */

/* Random numbers from *state alone: the same on every machine. */
unsigned fuzz_draw(uint64_t *state, unsigned below);
/* 1 to 6 changes of text[0..n), which has room for `room` bytes. other: a text to borrow from. Returns the new length. */
size_t fuzz_mutate(char *text, size_t n, size_t room, const char *const *words, const char *other, size_t n_other,
                   uint64_t *state);

/* Printable, but for line ends: what a message must be whatever the input was. */
bool fuzz_printable(const char *text);

#endif
