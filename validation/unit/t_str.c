/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, patterns, distances, paths, and text of foreign origin. */
#include "nemafit/str.h"
#include "validation/tap.h"

#include <stdlib.h>
#include <string.h>

static void growing(void)
{
    nf_str s = {0};
    nf_str_add(&s, "");
    tap_ok(s.text && s.len == 0 && s.text[0] == '\0', "there is a text after the first append, of nothing too");
    for (int i = 0; i < 1000; i++)
        nf_str_addf(&s, "%d,", i);
    nf_str_addn(&s, "a\0b", 3);
    tap_ok(s.len == 3890 + 3 && memcmp(s.text + 3890, "a\0b", 4) == 0 && !s.failed, "it grows, holds NUL and ends in one");
    nf_str_free(&s);
    tap_ok(!s.text && s.len == 0, "free leaves it empty");
    nf_str_addn(&s, "x", SIZE_MAX - 8);
    tap_ok(s.failed && s.text && s.len == 0, "no memory: it says so and there is a text all the same");
    nf_str_add(&s, "y");
    tap_ok(s.len == 0, "and nothing comes behind the gap");
    nf_str_free(&s);
}

static void shown_is(const char *text, size_t n, const char *want)
{
    char out[280];
    nf_str_shown(out, text, n);
    tap_ok(strcmp(out, want) == 0, "shown: %s", want);
}

static void shown(void)
{
    shown_is("plain text", 10, "plain text");
    shown_is("a\nb\tc\x1b[31m\x7f", 11, "a\\x0ab\\x09c\\x1b[31m\\x7f");
    shown_is("a\0b", 3, "a\\x00b");
    shown_is("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    shown_is("\xc3", 1, "\\xc3");
    shown_is("\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xff", 10, "\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xff");
    shown_is("\xc2\x9b\xe2\x80\xae", 5, "\\xc2\\x9b\\xe2\\x80\\xae");
    char longer[600], out[280];
    memset(longer, 'x', sizeof longer);
    nf_str_shown(out, longer, 256);
    tap_ok(strlen(out) == 256, "256 bytes are shown whole");
    nf_str_shown(out, longer, 257);
    tap_ok(strlen(out) == 259 && strcmp(out + 256, "...") == 0, "of more the first 256");
    for (int shift = 0; shift < 5; shift++) { /* the cut must not fall into an escape or a character */
        memset(longer, 'x', (size_t)shift);
        for (size_t i = (size_t)shift; i + 4 <= sizeof longer; i += 4)
            memcpy(longer + i, shift % 2 ? "\xf0\x9f\x98\x80" : "\x01\x01\x01\x01", 4);
        nf_str_shown(out, longer, sizeof longer);
        size_t cut = strlen(out) - 3;
        tap_ok(cut <= 256 && cut > 252 && strcmp(out + cut, "...") == 0 && (cut - (size_t)shift) % 4 == 0,
               "cut between characters");
    }
}

static void sizes(void)
{
    static const struct {
        double x;
        const char *bytes, *count;
    } row[] = {{0, "0 B", "0"},
               {1, "1 B", "1"},
               {1023, "1023 B", "1.02 k"},
               {1024, "1.00 KiB", "1.02 k"},
               {12345, "12.1 KiB", "12.3 k"},
               {1536.0 * 1024 * 1024, "1.50 GiB", "1.61 G"},
               {319488, "312 KiB", "319 k"},
               {4.1e9, "3.82 GiB", "4.10 G"},
               {999999, "977 KiB", "1.00 M"},
               {1048575, "1.00 MiB", "1.05 M"},
               {1e30, "867361737988 EiB", "1000000000000 E"},
               {-2048, "-2.00 KiB", "-2.05 k"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char b[32], c[32];
        nf_str_bytes(b, row[i].x);
        nf_str_count(c, row[i].x);
        tap_ok(strcmp(b, row[i].bytes) == 0 && strcmp(c, row[i].count) == 0, "%.0f is %s, %s", row[i].x, b, c);
    }
}

static void patterns(void)
{
    static const struct {
        const char *pattern, *name;
        bool match;
    } row[] = {{"", "", true},
               {"", "a", false},
               {"*", "", true},
               {"*", "a.b/c", true},
               {"a", "a", true},
               {"a", "A", false},
               {"a?c", "abc", true},
               {"a?c", "ac", false},
               {"?", "", false},
               {"*.experts.*", "model.layers.1.mlp.experts.3.w", true},
               {"*.experts.*", "model.experts", false},
               {"*bias", "model.bias.bias", true},
               {"a*b*c", "axxbyybzzc", true},
               {"a*b*c", "axxbyybzz", false},
               {"layers.[012].w", "layers.1.w", true},
               {"layers.[012].w", "layers.3.w", false},
               {"layers.[0-9].w", "layers.7.w", true},
               {"layers.[!0-9].w", "layers.7.w", false},
               {"[]]", "]", true},
               {"[a-]", "-", true},
               {"a[b", "a[b", true},
               {"a[b", "ab", false},
               {"*[", "x[", true},
               {"**", "x", true},
               {"a**", "a", true}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        tap_ok(nf_str_match(row[i].pattern, row[i].name) == row[i].match, "\"%s\" %s \"%s\"", row[i].pattern,
               row[i].match ? "fits" : "does not fit", row[i].name);
    char stars[201], name[2001];
    for (int i = 0; i < 200; i++)
        stars[i] = i % 2 ? 'a' : '*';
    stars[200] = '\0';
    memset(name, 'a', 2000);
    name[2000] = '\0';
    name[1999] = 'b';
    tap_ok(!nf_str_match(stars, name), "a hundred stars against two thousand letters end");
}

static void distances(void)
{
    static const struct {
        const char *a, *b;
        int limit, want;
    } row[] = {{"", "", 3, 0},
               {"steps", "steps", 3, 0},
               {"steps", "Steps", 3, 0},
               {"steps", "step", 3, 1},
               {"steps", "setps", 3, 1},
               {"steps", "stops", 3, 1},
               {"steps", "xsteps", 3, 1},
               {"kitten", "sitting", 5, 3},
               {"ca", "abc", 5, 3},
               {"abcdef", "badcfe", 5, 3},
               {"learning_rate", "lr", 3, 4},
               {"abcd", "wxyz", 2, 3},
               {"ab", "ba", 0, 1},
               {"ab", "ba", 1, 1},
               {"a", "", 0, 1},
               {"abcdefgh", "abcdefgh", 0, 0}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int there = nf_str_distance(row[i].a, row[i].b, row[i].limit), back = nf_str_distance(row[i].b, row[i].a, row[i].limit);
        tap_ok(there == row[i].want && back == there, "\"%s\" and \"%s\" within %d: %d", row[i].a, row[i].b, row[i].limit,
               there);
    }
    char many[400];
    memset(many, 'a', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    tap_ok(nf_str_distance(many, many, 3) == 4, "names beyond all measure are far from everything");
}

static void path_is(char *got, const char *want)
{
    tap_ok(got && strcmp(got, want) == 0, "path \"%s\"", want);
    free(got);
}

static void paths(void)
{
    path_is(nf_path_join("a", "b"), "a/b");
    path_is(nf_path_join("a/", "b/c"), "a/b/c");
    path_is(nf_path_join("", "b"), "b");
    path_is(nf_path_join("/", "b"), "/b");
    path_is(nf_path_join("a", "/b"), "/b");
    path_is(nf_path_dir("a/b/c"), "a/b");
    path_is(nf_path_dir("c"), ".");
    path_is(nf_path_dir(""), ".");
    path_is(nf_path_dir("/c"), "/");
    path_is(nf_path_dir("/"), "/");
    path_is(nf_path_dir("a//b//"), "a");
    tap_ok(strcmp(nf_path_base("a/b/c.txt"), "c.txt") == 0 && strcmp(nf_path_base("c"), "c") == 0, "last part of a path");
}

int main(void)
{
    tap_open();
    growing();
    shown();
    sizes();
    patterns();
    distances();
    paths();
    return tap_done();
}
