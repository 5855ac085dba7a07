/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c: see signals.h. The number lives in a variable of the file, since a handler has no argument for it. */
#define _GNU_SOURCE
#include "nemafit/signals.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught, interrupted;

static const struct {
    int number;
    const char *name;
} polite[] = {{SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGTERM, "SIGTERM"},
              {SIGINT, "SIGINT"},   {SIGHUP, "SIGHUP"},   {SIGXCPU, "SIGXCPU"}};
enum { POLITE = sizeof polite / sizeof *polite };

static void keep(int number)
{
    if (number == SIGINT && interrupted) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT); /* delivered when the handler returns */
    }
    interrupted |= number == SIGINT;
    caught = number;
}

void nf_signals_catch(void)
{
    struct sigaction action = {.sa_handler = keep, .sa_flags = SA_RESTART}, before;

    sigemptyset(&action.sa_mask);
    for (int i = 0; i < POLITE; i++)
        if (sigaction(polite[i].number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(polite[i].number, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void nf_signals_release(void)
{
    struct sigaction now;

    for (int i = 0; i < POLITE; i++)
        if (sigaction(polite[i].number, NULL, &now) == 0 && now.sa_handler == keep)
            signal(polite[i].number, SIG_DFL);
    if (caught)
        raise(caught);
}

int nf_signals_caught(void)
{
    return caught;
}

const char *nf_signal_name(int number)
{
    for (int i = 0; i < POLITE; i++)
        if (polite[i].number == number)
            return polite[i].name;
    return "a signal";
}
