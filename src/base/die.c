/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only place below main that ends the process. It may be reached from the watchdog's thread and while memory is broken: so
 * no allocation, one write, and a second death while the first is under way leaves at once.
 */
#include "nemafit/base.h"
#include "nemafit/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Atomic(void (*)(int)) hook;
static atomic_flag dying = ATOMIC_FLAG_INIT;

void nf_die_hook(void (*abort_all)(int exit_status))
{
    atomic_store(&hook, abort_all);
}

static void write_all(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t written = write(STDERR_FILENO, text, n);
        if (written <= 0)
            return;
        text += written;
        n -= (size_t)written;
    }
}

void nf_die(nf_status s, const char *fmt, ...)
{
    int status = nf_status_exit(s == NF_OK ? NF_EBUG : s);
    if (!atomic_flag_test_and_set(&dying)) {
        char text[4096];
        enum { ROOM = sizeof text - 1 }; /* the last byte is for the newline */
        int head = snprintf(text, ROOM, "nemafit: rank %d: ", nf_log_rank());
        va_list args;
        va_start(args, fmt);
        vsnprintf(text + head, ROOM - (size_t)head, fmt, args);
        va_end(args);
        size_t n = strlen(text);
        if (text[n - 1] != '\n')
            text[n++] = '\n';
        write_all(text, n);
        void (*abort_all)(int) = atomic_load(&hook);
        if (abort_all)
            abort_all(status);
    }
    _exit(status);
}

void nf_leave(nf_status s)
{
    _exit(nf_status_exit(s));
}
