/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages. Each is written as whole lines with one fwrite and flushed, so that lines of several ranks on one terminal do not
 * tear, and a log is complete when the process is killed.
 */
#include "nemafit/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct {
    int rank, ranks;
    enum nf_log_level level;
    FILE *out; /* NULL: stdout */
} the = {0, 1, NF_LOG_NOTE, NULL};

void nf_log_open(int rank, int ranks, enum nf_log_level level, void *out_FILE)
{
    the.rank = rank;
    the.ranks = ranks;
    the.level = level;
    the.out = out_FILE;
}

int nf_log_rank(void)
{
    return the.rank;
}

static void say(const char *prefix, const char *fmt, va_list args)
{
    char text[8192];
    enum { ROOM = sizeof text - 5 }; /* "...\n" */
    int head = snprintf(text, ROOM, "%s", prefix);
    int wanted = vsnprintf(text + head, ROOM - (size_t)head, fmt, args);
    size_t n = strlen(text);
    if (wanted >= ROOM - head) {
        memcpy(text + n, "...", 3);
        n += 3;
    }
    if (n == 0 || text[n - 1] != '\n')
        text[n++] = '\n';
    FILE *out = the.out ? the.out : stdout;
    fwrite(text, 1, n, out);
    fflush(out);
}

#define SAY(prefix)                                                                                                            \
    do {                                                                                                                       \
        va_list args;                                                                                                          \
        va_start(args, fmt);                                                                                                   \
        say(prefix, fmt, args);                                                                                                \
        va_end(args);                                                                                                          \
    } while (0)

void nf_note(const char *fmt, ...)
{
    if (the.rank == 0 && the.level >= NF_LOG_NOTE)
        SAY("");
}

void nf_warn(const char *fmt, ...)
{
    if (the.rank == 0 && the.level >= NF_LOG_NOTE)
        SAY("warning: ");
}

void nf_warn_local(const char *fmt, ...)
{
    if (the.level < NF_LOG_NOTE)
        return;
    char prefix[64] = "warning: ";
    if (the.ranks > 1)
        snprintf(prefix, sizeof prefix, "warning: rank %d: ", the.rank);
    SAY(prefix);
}

void nf_debug(const char *fmt, ...)
{
    if (the.rank == 0 && the.level >= NF_LOG_DEBUG)
        SAY("debug: ");
}

double nf_seconds(void)
{
    static _Atomic(int64_t) begin; /* ns; 0: not yet */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec, none = 0;
    atomic_compare_exchange_strong(&begin, &none, ns);
    return (double)(ns - begin) * 1e-9;
}
