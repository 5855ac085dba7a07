/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.h: faults on demand. shim.c stands between a program and the system's calls on files below one directory, counts them
 * and makes one of them, or one and all that follow, fail, lie, or end the process. As a library in LD_PRELOAD it takes its
 * orders from the environment:
 *
 *   NF_FAULT_DIR     the directory: absolute, without symbolic links. Without it nothing is counted
 *   NF_FAULT         RANK:CALLS:K:HOW[:always]    ('*' is every rank; K from 1; without it calls are only counted)
 *                    CALLS: write (what changes the disk), data (write, pwrite), read (open, read, pread), or one call's name
 *                    HOW: an errno's name, or a word of the list below
 *   NF_FAULT_LEDGER  file that gets one line for each call: time, rank, number, call, path, what was done to it (-: nothing)
 *
 * A program that is linked with it calls fault_arm() instead.
 */
#ifndef NEMAFIT_VALIDATION_FAULTS_SHIM_H
#define NEMAFIT_VALIDATION_FAULTS_SHIM_H

#include <stdbool.h>
#include <stdint.h>

/* Beside errnos, which are positive. */
enum fault_how {
    FAULT_NONE = 0,
    FAULT_SHORT = -1,      /* short: half of the bytes are written, and that is said */
    FAULT_TORN = -2,       /* torn: half of the bytes are written, all are said to be */
    FAULT_FLIP = -3,       /* flip: one bit is written wrong */
    FAULT_KILL = -4,       /* kill: SIGKILL instead of the call */
    FAULT_KILL_HALF = -5,  /* kill-half: SIGKILL behind half of the bytes */
    FAULT_KILL_AFTER = -6, /* kill-after: SIGKILL behind the call */
    FAULT_STOP = -7,       /* stop: SIGSTOP in front of the call */
    FAULT_SEGV = -8,       /* segv: SIGSEGV in front of the call */
    FAULT_ABORT = -9,      /* abrt: SIGABRT in front of the call */
    FAULT_STALL = -10      /* stall: the call comes three seconds later */
};

struct fault {
    const char *calls; /* as in NF_FAULT */
    int64_t at;        /* the how many-th of them, from 1; 0: none, they are only counted */
    int how;
    bool always; /* and all that follow */
};

/* Count from 0 again, below `dir` (copied); NULL: leave all calls alone. */
void fault_arm(const char *dir, const struct fault *fault);
int64_t fault_counted(void); /* calls since it was armed */
int64_t fault_done(void);    /* of them, calls that something was done to */
const char *fault_name(int how);

#endif
