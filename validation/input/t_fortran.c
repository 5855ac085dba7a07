/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_fortran.c: where gfortran and nemafit both accept a namelist, they read the same values. reader.f90 reads each file over
 * the echo of our defaults and writes what it got; that text, read by us, must give the same echo as the file itself. Tried on
 * good/ and on random files, in which numbers, strings, lists, blanks, comments and letter case take every spelling that both
 * know.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "nemafit/input.h"
#include "validation/tap.h"

enum { RANDOM_FILES = 400 };

static uint64_t state; /* of the random numbers: fixed, so that a failure comes again */

static unsigned draw(unsigned below)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ (z >> 31)) % below);
}

static const char *one_of(const char *const *words, unsigned n)
{
    return words[draw(n)];
}
#define ONE_OF(...) one_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* i, r: number from 0 to 1; l, s, p: list of strings; others stand for themselves */
static const struct {
    const char *group, *key, *kind;
} keys[] = {
    {"model", "path", "s"},
    {"model", "freeze", "p"},
    {"model", "strict", "l"},
    {"model", "init", "'random'"},
    {"data", "train", "p"},
    {"data", "valid", "p"},
    {"data", "shuffle", "l"},
    {"data", "seed", "i"},
    {"parallel", "chunks", "1*3"},
    {"parallel", "recv_factor", "r"},
    {"train", "eval_batches", "i"},
    {"train", "seed", "i"},
    {"train", "clip", "r"},
    {"train", "max_skipped", "i"},
    {"optim", "beta1", "r"},
    {"optim", "beta2", "r"},
    {"optim", "eps", "r"},
    {"optim", "weight_decay", "r"},
    {"optim", "no_decay", "p"},
    {"optim", "decay_share", "r"},
    {"backend", "deterministic", "l"},
    {"export", "dir", "s"},
    {"export", "shard_gb", "r"},
    {"log", "dir", "s"},
    {"log", "csv", "l"},
    {"log", "sample_prompt", "s"},
    {"log", "sample_temperature", "r"},
    {"log", "progress", "l"},
};

static void add_blanks(nf_str *s, bool needed)
{
    if (needed || draw(2))
        nf_str_add(s, ONE_OF(" ", "  ", "\t", "\n", "\n\n  "));
}

static void add_name(nf_str *s, const char *name)
{
    unsigned how = draw(4);
    for (; *name; name++) {
        bool up = *name >= 'a' && *name <= 'z' && (how == 0 || (how == 1 && draw(2)));
        nf_str_addf(s, "%c", up ? *name - 32 : *name);
    }
}

static void add_string(nf_str *s)
{
    static const char letters[] = "abcXYZ019_-./,;:!&=*()[]{}$%^~#@|\\+<>?` '\"";
    char quote = "'\""[draw(2)];
    nf_str_addf(s, "%cx", quote); /* a letter first and last: Fortran does not tell trailing blanks */
    for (unsigned i = draw(12); i > 0; i--) {
        char c = letters[draw(sizeof letters - 1)];
        nf_str_addf(s, c == quote ? "%c%c" : "%c", c, c);
    }
    nf_str_add(s, draw(4) ? "y" : "\xc3\xb6");
    nf_str_addf(s, "%c", quote);
}

static void add_real(nf_str *s)
{
    nf_str_add(s, ONE_OF("", "", "+", "1*"));
    unsigned digits = draw(1000000);
    switch (draw(7)) {
    case 0: nf_str_addf(s, "0.%06u1", digits); break;
    case 1: nf_str_addf(s, ".%06u1", digits); break;
    case 2: nf_str_addf(s, "%u.%u%s-%u", draw(10), digits + 1, ONE_OF("e", "E", "d", "D"), 1 + draw(30)); break;
    case 3: nf_str_addf(s, "%u.%u-%u", draw(10), digits + 1, 1 + draw(30)); break;
    case 4: nf_str_addf(s, "%u%s-%02u", 1 + draw(9), ONE_OF("e", "d"), 1 + draw(30)); break;
    case 5: nf_str_addf(s, "0.0%06u%06u1%s+01", digits, draw(1000000), ONE_OF("e", "D", "")); break;
    default: nf_str_addf(s, "%u.E-0%u", 1 + draw(9), 1 + draw(9)); break;
    }
}

static void add_value(nf_str *s, const char *kind)
{
    if (!strcmp(kind, "i"))
        nf_str_addf(s, "%s%s%u", ONE_OF("", "", "+", "1*"), ONE_OF("", "0", "000"), draw(1000000000));
    else if (!strcmp(kind, "r"))
        add_real(s);
    else if (!strcmp(kind, "l"))
        nf_str_add(s, ONE_OF("T", "f", ".true.", ".FALSE.", "true", "False", ".t.", ".F.", "1*T"));
    else if (!strcmp(kind, "s"))
        add_string(s);
    else
        nf_str_add(s, kind);
}

static void add_assignment(nf_str *s, const char *key, const char *kind)
{
    add_name(s, key);
    unsigned values = *kind == 'p' ? 1 + draw(5) : 1;
    bool is_section = *kind == 'p' && draw(4) == 0;
    if (is_section)
        nf_str_addf(s, "(1:%u)", values); /* gfortran refuses blanks within */
    add_blanks(s, false);
    nf_str_add(s, "=");
    add_blanks(s, false);
    for (unsigned i = 0; i < values;) {
        unsigned repeat = *kind == 'p' && i + 2 <= values && draw(3) == 0 ? 2 : 1;
        if (repeat > 1)
            nf_str_addf(s, "%u*", repeat);
        add_value(s, *kind == 'p' ? "s" : kind);
        i += repeat;
        if (i < values)
            nf_str_add(s, ONE_OF(",", ", ", " , ", " ", "\n    ", ",\n  "));
    }
    nf_str_add(s, ONE_OF("\n", " ", ", ", ",\n", " ! it's a remark & not a / group\n", "\n! a line of remarks\n"));
}

static char *random_file(void)
{
    static const char *const needed[] = {"&model path='m'", "&data format='text' seq_len=16 train='t'", "&train steps=7"};
    static const char *const groups[] = {"model", "data", "train", "parallel", "optim", "backend", "export", "log"};
    nf_str s = {0};
    unsigned first = draw(8);
    for (unsigned i = 0; i < 8; i++) {
        unsigned g = (first + i) % 8;
        if (g >= 3 && draw(3) == 0)
            continue;
        nf_str_add(&s, ONE_OF("", "\n", "! remark\n", "  "));
        nf_str_add(&s, "&");
        add_name(&s, groups[g]);
        nf_str_add(&s, ONE_OF(" ", "\n", " ! remark\n"));
        bool has_path = false, has_train = false;
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            if (strcmp(keys[k].group, groups[g]) || draw(2))
                continue;
            has_path |= !strcmp(keys[k].key, "path");
            has_train |= g == 1 && !strcmp(keys[k].key, "train");
            add_assignment(&s, keys[k].key, keys[k].kind);
        }
        if (g == 0 && !has_path)
            nf_str_add(&s, strchr(needed[0], ' '));
        if (g == 1)
            nf_str_add(&s, " format = 'text', seq_len = 16");
        if (g == 1 && !has_train)
            nf_str_add(&s, strstr(needed[1], " train"));
        if (g == 2)
            nf_str_add(&s, strchr(needed[2], ' '));
        nf_str_add(&s, ONE_OF(" /\n", "\n/\n", "\n/ ! the end\n", "/\n"));
    }
    return s.text;
}

/* Our echo of a text; NULL if it is refused, with a note if that is a failure. malloc'd. */
static char *echo_of(const char *name, const char *text, size_t n, bool note)
{
    nf_input *input = NULL;
    nf_str echo = {0};
    nf_diagnosis_clear();
    if (nf_input_parse(name, text, n, NULL, 0, &input) != NF_OK) {
        if (note)
            tap_note("%s", nf_diagnosis());
        return NULL;
    }
    nf_input_echo(input, &echo);
    nf_input_free(input);
    return echo.text;
}

static bool write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    bool good = f && fputs(text, f) >= 0;
    return f && fclose(f) == 0 && good;
}

/* Fortran's part of the output for one file: cut out of `out` in place. *next: the rest. */
static char *section(char *out, char **next)
{
    char *begin = strchr(out, '\n');
    begin = begin ? begin + 1 : out + strlen(out);
    char *end = strstr(begin, "\n=== ");
    *next = end ? end + 1 : NULL;
    if (end)
        end[0] = 0;
    return begin;
}

static void compare(const char *path, const char *fortran, int *same, int *refused, int *differs)
{
    size_t n;
    char *text = files_read(path, &n);
    char *ours = text ? echo_of(files_name(path), text, n, true) : NULL;
    if (strstr(fortran, "refused ")) {
        ++*refused;
    } else {
        char *theirs = echo_of("fortran", fortran, strlen(fortran), true);
        bool equal = ours && theirs && !strcmp(ours, theirs);
        ++*(equal ? same : differs);
        for (char *a = ours, *b = theirs; !equal && a && b; a++, b++)
            if (!*a || *a != *b) {
                while (a > ours && a[-1] != '\n')
                    a--, b--;
                tap_note("%s: ours %.*s", files_name(path), (int)strcspn(a, "\n"), a);
                tap_note("%s: gfortran %.*s", files_name(path), (int)strcspn(b, "\n"), b);
                break;
            }
        free(theirs);
    }
    free(ours);
    free(text);
}

/* The files that the Fortran program is to read: defaults, good/ (without overrides), random ones. */
static bool write_files(const char *dir, struct files *good, char *const *random)
{
    char path[4200];
    nf_input *input = NULL;
    nf_str list = {0}, echo = {0};
    bool done = nf_input_defaults(NULL, 0, &input) == NF_OK;
    if (done)
        nf_input_echo(input, &echo);
    nf_input_free(input);
    snprintf(path, sizeof path, "%s/defaults.nml", dir);
    done = done && write_text(path, echo.text);
    nf_str_addf(&list, "%s\n", path);
    for (int i = 0; i < good->count; i++)
        nf_str_addf(&list, "%s\n", good->path[i]);
    for (int i = 0; i < RANDOM_FILES; i++) {
        snprintf(path, sizeof path, "%s/random-%03d.nml", dir, i);
        done = done && write_text(path, random[i]);
        nf_str_addf(&list, "%s\n", path);
    }
    snprintf(path, sizeof path, "%s/list", dir);
    done = done && write_text(path, list.text);
    nf_str_free(&list);
    nf_str_free(&echo);
    return done;
}

static bool command(const char *fmt, const char *a, const char *b)
{
    nf_str s = {0};
    for (; *fmt; fmt++) /* "A" and "B" stand for the two words, in shell quotes */
        if (*fmt == 'A' || *fmt == 'B')
            nf_str_addf(&s, "'%s'", *fmt == 'A' ? a : b);
        else
            nf_str_addn(&s, fmt, 1);
    bool good = system(s.text) == 0;
    nf_str_free(&s);
    return good;
}

int main(void)
{
    const char *srcdir = getenv("srcdir"), *builddir = getenv("builddir");
    char dir[4096], source[4200], *random[RANDOM_FILES], *next;
    tap_open();
    if (!command("gfortran --version >/dev/null 2>&1", "", "")) {
        tap_skip("gfortran is not installed");
        return tap_done();
    }
    snprintf(dir, sizeof dir, "%s/validation/input/fortran.tmp", builddir ? builddir : ".");
    snprintf(source, sizeof source, "%s/validation/input/reader.f90", srcdir ? srcdir : ".");
    bool built = command("rm -rf A && mkdir -p A && cd A && gfortran -o reader B", dir, source);
    if (!tap_ok(built, "the Fortran reader compiles"))
        return tap_done();
    state = 20;
    for (int i = 0; i < RANDOM_FILES; i++)
        random[i] = random_file();
    struct files good = files_list("input/good", ".nml");
    size_t n;
    tap_ok(write_files(dir, &good, random), "files for the Fortran reader written");
    if (!tap_ok(command("cd A && ./reader list out >messages 2>&1", dir, ""), "the Fortran reader ran"))
        return tap_done();
    snprintf(source, sizeof source, "%s/out", dir);
    char *out = files_read(source, &n);
    tap_ok(out && n, "the Fortran reader wrote its values");
    int same = 0, refused = 0, differs = 0, given = 0;
    next = out;
    for (int i = 0; i < good.count && next; i++) {
        char *args = files_other(good.path[i], ".args"), *part = section(next, &next);
        if (access(args, F_OK) == 0) { /* its overrides are not Fortran's */
            free(args);
            continue;
        }
        free(args);
        given++;
        int before = differs;
        compare(good.path[i], part, &same, &refused, &differs);
        tap_ok(differs == before, "good/%s: the same values", files_name(good.path[i]));
    }
    tap_ok(same >= given - 3, "good: %d of %d files were read by both", same, given);
    same = refused = differs = 0;
    for (int i = 0; i < RANDOM_FILES && next; i++) {
        snprintf(source, sizeof source, "%s/random-%03d.nml", dir, i);
        compare(source, section(next, &next), &same, &refused, &differs);
    }
    tap_note("random files: %d the same, %d refused by gfortran, %d differ", same, refused, differs);
    tap_ok(!differs, "random files: no value differs");
    tap_ok(same >= RANDOM_FILES * 99 / 100, "random files: at least 99 of 100 were read by both");
    for (int i = 0; i < RANDOM_FILES; i++)
        free(random[i]);
    files_free(&good);
    free(out);
    if (!differs)
        tap_ok(command("rm -rf A", dir, ""), "the files are removed");
    return tap_done();
}
