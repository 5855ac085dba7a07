/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.h: test points in the Test Anything Protocol, for programs of one rank and of many.
 *
 *     int main(void)
 *     {
 *         tap_open();                      under MPI: tap_open_mpi()
 *         tap_ok(1 + 1 == 2, "sum of %d", 2);
 *         return tap_done();
 *     }
 *
 * Under MPI every function but tap_note is collective over MPI_COMM_WORLD: a point is passed if it is on every rank, and rank 0
 * alone prints it. A program that ends before tap_done(), on any rank, is a failed test.
 */
#ifndef NEMAFIT_VALIDATION_TAP_H
#define NEMAFIT_VALIDATION_TAP_H

#include <stdbool.h>

#if defined(__GNUC__)
#define TAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define TAP_PRINTF(fmt, args)
#endif

void tap_open(void);
/* Calls MPI_Init if that has not been done; what it began, it ends. */
void tap_open_mpi(void);
/* One point. The verdict returned is that of all ranks together, so that ranks may branch on it. */
bool tap_ok(bool passed, const char *fmt, ...) TAP_PRINTF(2, 3);
/* A diagnostic line. Other ranks than 0 are heard only if their own last verdict was "failed". */
void tap_note(const char *fmt, ...) TAP_PRINTF(1, 2);
/* One point that cannot be tried here, and why. */
void tap_skip(const char *why_fmt, ...) TAP_PRINTF(1, 2);
/* The plan. Returns the exit status for main: 0 if no point failed and there was at least one. */
int tap_done(void);

#endif
