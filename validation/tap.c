/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.c: see tap.h. Lines are flushed one by one, so that what a crashing program had said is not lost. Text is printed so that
 * it can hold neither a second line nor a TAP directive.
 */
#include "tap.h"

#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    bool mpi;
    int rank, ranks;
    int points, failed;
    bool last_mine; /* this rank's own verdict on the last point */
} tap = {.ranks = 1, .last_mine = true};

static void print_text(FILE *out, const char *lead, const char *fmt, va_list args)
{
    char text[1000];
    vsnprintf(text, sizeof text, fmt, args);
    fputs(lead, out);
    for (const char *c = text; *c; c++) {
        if (*c == '\n')
            fputs(c[1] ? "\n#   " : "", out);
        else if (*c == '#')
            fputs("\\#", out);
        else
            fputc(*c, out);
    }
    fputc('\n', out);
    fflush(out);
}

static void end_mpi(void)
{
    int ended = 0;
    MPI_Finalized(&ended);
    if (!ended)
        MPI_Finalize();
}

void tap_open(void)
{
    tap.mpi = false;
}

void tap_open_mpi(void)
{
    int begun = 0;
    MPI_Initialized(&begun);
    if (!begun) {
        MPI_Init(NULL, NULL);
        atexit(end_mpi);
    }
    tap.mpi = true;
    MPI_Comm_rank(MPI_COMM_WORLD, &tap.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &tap.ranks);
}

/* How many ranks say no, and which is the first of them. */
static int count_failed(bool passed, int *first)
{
    if (!tap.mpi) {
        *first = 0;
        return !passed;
    }
    int no = !passed, sum = 0, mine = passed ? tap.ranks : tap.rank;
    MPI_Allreduce(&no, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(&mine, first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return sum;
}

bool tap_ok(bool passed, const char *fmt, ...)
{
    int first = 0, failed = count_failed(passed, &first);
    tap.points++;
    tap.failed += failed > 0;
    tap.last_mine = passed;
    if (tap.rank == 0) {
        char lead[40];
        snprintf(lead, sizeof lead, "%s %d - ", failed ? "not ok" : "ok", tap.points);
        va_list args;
        va_start(args, fmt);
        print_text(stdout, lead, fmt, args);
        va_end(args);
        if (failed && tap.mpi) {
            printf("#   failed on %d of %d ranks, first on rank %d\n", failed, tap.ranks, first);
            fflush(stdout);
        }
    }
    return failed == 0;
}

void tap_note(const char *fmt, ...)
{
    if (tap.rank && tap.last_mine)
        return;
    char lead[40] = "# ";
    if (tap.rank)
        snprintf(lead, sizeof lead, "# rank %d: ", tap.rank);
    va_list args;
    va_start(args, fmt);
    print_text(stdout, lead, fmt, args);
    va_end(args);
}

void tap_skip(const char *why_fmt, ...)
{
    tap.points++;
    tap.last_mine = true;
    if (tap.rank)
        return;
    char lead[40];
    snprintf(lead, sizeof lead, "ok %d # SKIP ", tap.points);
    va_list args;
    va_start(args, why_fmt);
    print_text(stdout, lead, why_fmt, args);
    va_end(args);
}

int tap_done(void)
{
    if (tap.rank == 0) {
        printf("1..%d\n", tap.points);
        fflush(stdout);
    }
    if (tap.mpi)
        MPI_Barrier(MPI_COMM_WORLD);
    return tap.failed > 0 || tap.points == 0;
}
