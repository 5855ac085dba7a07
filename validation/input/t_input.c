/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_input.c: bad/NAME.nml is refused with exactly the report of bad/NAME.expect; good/NAME.nml gives exactly good/NAME.expect
 * as its echo. NAME.args, if there is one, holds overrides, one a line.
 *
 *     t_input FILE [OVERRIDE ...]    prints the report or the echo, to write new cases with
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "nemafit/input.h"
#include "validation/tap.h"

enum { ARGS_MAX = 64 };

/* Parses and gives the text that a user would see; *accepted: whether it was an echo. */
static char *outcome(const char *path, char *const *args, int n_args, bool *accepted)
{
    size_t n;
    char *text = files_read(path, &n), *result;
    nf_input *input = NULL;
    nf_diagnosis_clear();
    nf_status s = text ? nf_input_parse(files_name(path), text, n, args, n_args, &input) : NF_EMISSING;
    *accepted = s == NF_OK;
    if (s == NF_OK) {
        nf_str echo = {0};
        nf_input_echo(input, &echo);
        result = strdup(echo.text ? echo.text : "");
        nf_str_free(&echo);
    } else {
        result = strdup(s == NF_EUSAGE ? nf_diagnosis() : nf_status_name(s));
    }
    nf_input_free(input);
    free(text);
    return result;
}

/* The first line in which two texts differ, as a note. */
static void note_difference(const char *got, const char *want)
{
    int line = 1;
    const char *a = got, *b = want;
    for (; *a && *a == *b; a++, b++)
        if (*a == '\n') {
            line++;
            got = a + 1;
            want = b + 1;
        }
    tap_note("line %d, got:  %.*s", line, (int)strcspn(got, "\n"), got);
    tap_note("line %d, want: %.*s", line, (int)strcspn(want, "\n"), want);
}

static void try_folder(const char *folder, bool good, int at_least)
{
    struct files list = files_list(folder, ".nml");
    tap_ok(list.count >= at_least, "%s: at least %d cases, found %d", folder, at_least, list.count);
    for (int i = 0; i < list.count; i++) {
        char *other = files_other(list.path[i], ".args"), *expect = files_other(list.path[i], ".expect"), *line[ARGS_MAX];
        size_t n;
        bool accepted;
        char *args = files_read(other, &n), *want = files_read(expect, &n);
        char *got = outcome(list.path[i], line, files_lines(args, line, ARGS_MAX), &accepted);
        if (want && n && !good && want[n - 1] == '\n')
            want[n - 1] = 0; /* a report has no line end of its own */
        bool same = got && want && !strcmp(got, want);
        if (!tap_ok(accepted == good && same, "%s/%s", folder, files_name(list.path[i])))
            note_difference(got ? got : "", want ? want : "(no .expect file)");
        free(other);
        free(expect);
        free(args);
        free(want);
        free(got);
    }
    files_free(&list);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        bool accepted;
        char *text = outcome(argv[1], argv + 2, argc - 2, &accepted);
        printf("%s%s", text, accepted ? "" : "\n");
        free(text);
        return accepted ? 0 : 64;
    }
    tap_open();
    try_folder("input/bad", false, 45);
    try_folder("input/good", true, 8);
    return tap_done();
}
