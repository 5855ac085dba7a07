/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namelist.c: the input file and the overrides of the command line. Byte 0x1e ends the file; what follows it, up to the next
 * one, is an override. A refusal has a printable report of at most 20 errors; what is accepted has an echo that is accepted too
 * and gives the same echo.
 */
#include "target.h"

#include "nemafit/input.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"&",
                                    "/",
                                    "=",
                                    ",",
                                    "'",
                                    "\"",
                                    "(",
                                    ")",
                                    "(1:3)",
                                    "!",
                                    "*",
                                    "3*",
                                    "9999999999*",
                                    "\n",
                                    "\r",
                                    "\r\n",
                                    "&end",
                                    "$",
                                    "&train",
                                    "steps",
                                    "lr",
                                    " = ",
                                    "1e999",
                                    "-",
                                    ".",
                                    "1.5-3",
                                    "''",
                                    "\t",
                                    "\xe2\x88\x92",
                                    "\xff",
                                    "\x1b[31m",
                                    "\xef\xbb\xbf",
                                    "\xe2\x80\xae",
                                    "(4096)",
                                    "%",
                                    "99999999999999999999",
                                    "nan",
                                    "\x1etrain.steps=3",
                                    "\x1eoptim.lr=",
                                    "\x1e"
                                    "data.valid=a,b",
                                    "\x1e",
                                    NULL};

enum { ARGS_MAX = 4 };

static char *echo_of(const char *text, size_t n, char *const *args, int n_args, nf_status *s)
{
    nf_input *input = NULL;
    nf_str echo = {0};
    nf_diagnosis_clear();
    *s = nf_input_parse("fuzz.nml", text, n, args, n_args, &input);
    if (*s != NF_OK)
        return NULL;
    nf_input_echo(input, &echo);
    nf_input_free(input);
    return echo.text;
}

static const char *refused(nf_status status)
{
    int marks = 0; /* the bar under a line, two an error with a place */
    if (status == NF_ENOMEM)
        return NULL;
    for (const char *at = nf_diagnosis(); (at = strstr(at, "\n      | ")); at++)
        marks++;
    if (status != NF_EUSAGE || !*nf_diagnosis())
        return "refused without a report";
    if (!fuzz_printable(nf_diagnosis()))
        return "the report is not printable";
    return strlen(nf_diagnosis()) < 16000 && marks <= 40 ? NULL : "the report is too long";
}

static const char *holds(const char *text, size_t n, bool *accepted)
{
    char *args[ARGS_MAX];
    int n_args = 0;
    const char *broken = NULL, *end = n ? memchr(text, 0x1e, n) : NULL;
    const size_t file = end ? (size_t)(end - text) : n;
    nf_status s;
    char *exact = malloc(file ? file : 1);
    if (!exact)
        return NULL;
    memcpy(exact, text, file);
    while (end && n_args < ARGS_MAX) {
        const char *begin = end + 1;
        end = begin < text + n ? memchr(begin, 0x1e, (size_t)(text + n - begin)) : NULL;
        args[n_args] = strndup(begin, (size_t)((end ? end : text + n) - begin));
        if (!args[n_args])
            break;
        n_args++;
    }
    char *echo = echo_of(exact, file, args, n_args, &s), *again = NULL;
    *accepted = s == NF_OK;
    if (!echo) {
        broken = refused(s);
    } else {
        again = echo_of(echo, strlen(echo), NULL, 0, &s);
        if (s != NF_ENOMEM && (!again || strcmp(echo, again) != 0))
            broken = "the echo is refused, or gives another one";
    }
    free(echo);
    free(again);
    free(exact);
    for (int i = 0; i < n_args; i++)
        free(args[i]);
    return broken;
}

static const char *const seeds[] = {"input/good", "input/bad", NULL};
const struct fuzz_target fuzz_target = {"namelist", seeds, ".nml", words, holds};
