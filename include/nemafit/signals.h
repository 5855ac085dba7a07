/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h: polite requests to end. A handler keeps the number of the signal and does nothing else; whoever runs the steps
 * looks at it where all ranks can act together.
 */
#ifndef NEMAFIT_SIGNALS_H
#define NEMAFIT_SIGNALS_H

/*
 * nf_signals_catch: from now on USR1, USR2, TERM, INT, HUP and XCPU are kept for nf_signals_caught(), unless the process was
 * started with them ignored (nohup, a shell's background job). A second INT ends the process at once: who presses Ctrl-C twice
 * means it. PIPE and XFSZ are ignored: writing then fails with an errno, which is told like any other.
 */
void nf_signals_catch(void);
/* Back to what they do by default; one that was caught is raised again, and so ends the process. */
void nf_signals_release(void);
/* Number of the last signal that was caught, 0: none yet. */
int nf_signals_caught(void);
/* "SIGTERM"; "a signal" for one that is not caught here. */
const char *nf_signal_name(int number);

#endif
