/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_fuzz.c: 20,000 mutations of the good and bad files and of overrides, from fixed seeds. Whatever the bytes: no crash (under
 * the sanitizers: no bad access, no leak), a refusal has a printable report of at most 20 errors, and an accepted input has an
 * echo that is accepted too and gives the same echo.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "nemafit/input.h"
#include "validation/tap.h"

enum { TRIALS = 20000, ROOM = 64 * 1024 };

static uint64_t state;

static unsigned draw(unsigned below)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ (z >> 31)) % below);
}

/* text[at, at + gone) becomes the n bytes of `put`. */
static void replace(char *text, size_t *len, size_t at, size_t gone, const char *put, size_t n)
{
    if (*len - gone + n >= ROOM)
        return;
    memmove(text + at + n, text + at + gone, *len - at - gone);
    memcpy(text + at, put, n);
    *len += n - gone;
}

static void mutate(char *text, size_t *len, const char *other, size_t n_other)
{
    static const char *const pieces[] = {"&",
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
                                         "(",
                                         "%",
                                         "99999999999999999999",
                                         "nan"};
    for (unsigned times = 1 + draw(6); times > 0; times--) {
        size_t at = *len ? draw((unsigned)*len + 1) : 0, rest = *len - at;
        char byte = (char)draw(256);
        const char *piece = pieces[draw(sizeof pieces / sizeof *pieces)];
        switch (draw(6)) {
        case 0: replace(text, len, at, rest ? 1 : 0, &byte, 1); break;
        case 1: replace(text, len, at, 0, piece, strlen(piece)); break;
        case 2: replace(text, len, at, rest ? draw((unsigned)(rest < 40 ? rest : 40)) : 0, "", 0); break;
        case 3: replace(text, len, at, 0, text, 0); break;
        case 4:
            if (n_other) {
                size_t from = draw((unsigned)n_other), most = n_other - from < 80 ? n_other - from : 80;
                replace(text, len, at, 0, other + from, draw((unsigned)most + 1));
            }
            break;
        default: *len = draw(20) ? *len : at; break;
        }
    }
}

static bool is_printable(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < ' ' && *c != '\n') || *c == 0x7f)
            return false;
    return true;
}

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

/* One input tried; false: a promise is broken. */
static bool holds(const char *text, size_t n, char *const *args, int n_args, int *accepted)
{
    nf_status s;
    char *echo = echo_of(text, n, args, n_args, &s);
    if (!echo) {
        int marks = 0; /* the arrow under a line, one an error with a place */
        for (const char *at = nf_diagnosis(); (at = strstr(at, "\n      | ")); at++)
            marks++;
        return s == NF_EUSAGE && *nf_diagnosis() && strlen(nf_diagnosis()) < 16000 && is_printable(nf_diagnosis()) &&
               marks <= 40;
    }
    char *again = echo_of(echo, strlen(echo), NULL, 0, &s);
    bool same = again && !strcmp(echo, again);
    if (!same)
        tap_note("echo refused or changed: %s", nf_diagnosis());
    ++*accepted;
    free(echo);
    free(again);
    return same;
}

int main(void)
{
    tap_open();
    struct files good = files_list("good", ".nml"), bad = files_list("bad", ".nml");
    int accepted = 0, broken = 0, both = good.count + bad.count;
    static char text[ROOM], word[4][256];
    tap_ok(good.count > 0 && bad.count > 0, "%d good and %d bad files to start from", good.count, bad.count);
    for (int trial = 0; both && trial < TRIALS; trial++) {
        state = (uint64_t)trial * 1000003u;
        int from = draw(4) ? (int)draw((unsigned)good.count) : (int)draw((unsigned)both), with = (int)draw((unsigned)both);
        size_t n, n_other;
        char *first = files_read(from < good.count ? good.path[from] : bad.path[from - good.count], &n);
        char *other = files_read(with < good.count ? good.path[with] : bad.path[with - good.count], &n_other);
        char *args[4];
        int n_args = 0;
        n = n < ROOM / 2 ? n : ROOM / 2;
        memcpy(text, first, n);
        if (draw(8))
            mutate(text, &n, other, n_other);
        for (; n_args < 4 && draw(3) == 0; n_args++) { /* a line of a file makes a good start of an override */
            size_t at = n_other ? draw((unsigned)n_other) : 0, len = strcspn(other + at, "\n");
            snprintf(word[n_args], sizeof word[n_args], "%s%.*s",
                     draw(2) ? "train." : "optim.lr=", (int)(len < 200 ? len : 200), other + at);
            args[n_args] = word[n_args];
        }
        if (!holds(text, n, args, n_args, &accepted) && broken++ < 5)
            tap_note("trial %d of %s: a promise is broken; report:\n%s", trial, files_name(good.path[from % good.count]),
                     nf_diagnosis());
        free(first);
        free(other);
    }
    tap_note("%d inputs of %d were accepted", accepted, TRIALS);
    tap_ok(!broken, "%d mutated inputs: no crash, a printable report or an echo that gives itself", TRIALS);
    tap_ok(accepted > TRIALS / 50 && accepted < TRIALS, "some were accepted, some refused");
    files_free(&good);
    files_free(&bad);
    return tap_done();
}
