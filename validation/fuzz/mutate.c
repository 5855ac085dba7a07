/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mutate.c: changes that a text may suffer: bytes, bits, runs taken out or doubled, words of the format put in between or in
 * the place of a number, a piece of another text, an end too early.
 */
#include "target.h"

#include <string.h>

unsigned fuzz_draw(uint64_t *state, unsigned below)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = (*state ^ (*state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ (z >> 31)) % below);
}

struct text {
    char *at;
    size_t n, room;
};

/* text[at, at + gone) becomes the n bytes of `put`, if there is room. */
static void replace(struct text *t, size_t at, size_t gone, const char *put, size_t n)
{
    if (t->n - gone + n > t->room)
        return;
    memmove(t->at + at + n, t->at + at + gone, t->n - at - gone);
    memcpy(t->at + at, put, n);
    t->n += n - gone;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The next number behind `from` becomes the word. */
static void replace_number(struct text *t, size_t from, const char *word)
{
    size_t at = from, end;
    while (at < t->n && !is_digit(t->at[at]))
        at++;
    for (end = at; end < t->n && is_digit(t->at[end]);)
        end++;
    replace(t, at, end - at, word, strlen(word));
}

static void change(struct text *t, const char *const *words, int n_words, const char *other, size_t n_other, uint64_t *state)
{
    const size_t at = fuzz_draw(state, (unsigned)t->n + 1), rest = t->n - at;
    const char *word = words[fuzz_draw(state, (unsigned)n_words)];
    char byte = (char)fuzz_draw(state, 256), run[80];
    size_t length = fuzz_draw(state, 40);
    length = length < rest ? length : rest;
    switch (fuzz_draw(state, 9)) {
    case 0: replace(t, at, rest ? 1 : 0, &byte, 1); break;
    case 1: replace(t, at, 0, word, strlen(word)); break;
    case 2: replace_number(t, at, word); break;
    case 3: replace(t, at, length, "", 0); break;
    case 4:
        memcpy(run, t->at + at, length);
        replace(t, at, 0, run, length);
        break;
    case 5:
        if (rest)
            t->at[at] = (char)(t->at[at] ^ (1 << fuzz_draw(state, 8)));
        break;
    case 6:
        if (n_other) {
            const size_t from = fuzz_draw(state, (unsigned)n_other), most = n_other - from < 80 ? n_other - from : 80;
            replace(t, at, 0, other + from, fuzz_draw(state, (unsigned)most + 1));
        }
        break;
    case 7: replace(t, at, length, word, strlen(word)); break;
    default:
        if (fuzz_draw(state, 8) == 0)
            t->n = at;
    }
}

size_t fuzz_mutate(char *text, size_t n, size_t room, const char *const *words, const char *other, size_t n_other,
                   uint64_t *state)
{
    struct text t = {text, n, room};
    int n_words = 0;
    while (words[n_words])
        n_words++;
    int times = 0;
    do /* few are enough for most faults, and leave most of the text as it should be */
        change(&t, words, n_words, other, n_other, state);
    while (++times < 6 && fuzz_draw(state, 2));
    return t.n;
}

bool fuzz_printable(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < ' ' && *c != '\n') || *c == 0x7f)
            return false;
    return true;
}
