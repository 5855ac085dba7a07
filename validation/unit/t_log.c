/* SPDX-License-Identifier: Apache-2.0 */
/* Who says what at which level. */
#include "nemafit/log.h"
#include "validation/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All four kinds of message, as that rank at that level. */
static bool says(int rank, int ranks, enum nf_log_level level, const char *want)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    nf_log_open(rank, ranks, level, out);
    nf_note("note %d", 1);
    nf_warn("global");
    nf_warn_local("local");
    nf_debug("detail\n");
    nf_log_open(0, 1, NF_LOG_NOTE, NULL);
    fclose(out);
    bool same = strcmp(text, want) == 0;
    if (!same)
        tap_note("said: %s", text);
    free(text);
    return same;
}

int main(void)
{
    tap_open();
    tap_ok(nf_log_rank() == 0, "rank 0 until told otherwise");
    tap_ok(says(0, 4, NF_LOG_QUIET, ""), "quiet");
    tap_ok(says(0, 1, NF_LOG_NOTE, "note 1\nwarning: global\nwarning: local\n"), "rank 0 of 1");
    tap_ok(says(0, 4, NF_LOG_NOTE, "note 1\nwarning: global\nwarning: rank 0: local\n"), "rank 0 of 4");
    tap_ok(says(3, 4, NF_LOG_NOTE, "warning: rank 3: local\n"), "rank 3 speaks for itself alone");
    tap_ok(says(0, 1, NF_LOG_DEBUG, "note 1\nwarning: global\nwarning: local\ndebug: detail\n"),
           "debug; no newline is doubled");
    tap_ok(says(1, 2, NF_LOG_DEBUG, "warning: rank 1: local\n"), "debug is rank 0's too");
    char *text = NULL, *longer = malloc(20000);
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    memset(longer, 'x', 19999);
    longer[19999] = '\0';
    nf_log_open(0, 1, NF_LOG_NOTE, out);
    nf_note("%s", longer);
    nf_log_open(0, 1, NF_LOG_NOTE, NULL);
    fclose(out);
    tap_ok(n < 8192 && n > 8000 && strcmp(text + n - 4, "...\n") == 0, "a long line is cut and stays a line");
    free(text);
    free(longer);
    double a = nf_seconds(), b = nf_seconds();
    tap_ok(a >= 0 && b >= a && b < 60, "time begins at its first use and does not go back");
    return tap_done();
}
