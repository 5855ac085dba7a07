/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns over names ("*.experts.*") and the distance behind "did you mean". Both take names of foreign origin: time is
 * bounded by the product of the lengths, whatever the pattern.
 */
#include "nemafit/str.h"

#include <ctype.h>
#include <string.h>

/* Does c belong to the set that begins after '['? *end: behind its ']'; NULL: there is none, '[' stands for itself. */
static bool in_set(const char *p, char c, const char **end)
{
    bool not = *p == '!', found = false;
    if (not )
        p++;
    for (const char *first = p; *p && (*p != ']' || p == first); p++) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            found |= (unsigned char)p[0] <= (unsigned char)c && (unsigned char)c <= (unsigned char)p[2];
            p += 2;
        } else
            found |= *p == c;
    }
    *end = *p ? p + 1 : NULL;
    return found != not ;
}

/* One byte against one element of the pattern; *next: the element after it. */
static bool fits(const char *p, char c, const char **next)
{
    *next = p + 1;
    if (*p == '?')
        return true;
    if (*p == '[') {
        const char *end;
        bool found = in_set(p + 1, c, &end);
        if (end) {
            *next = end;
            return found;
        }
    }
    return *p == c;
}

/* After a '*' only the last one needs to be tried again: what an earlier one took cannot help. */
bool nf_str_match(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = NULL, *next;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = name;
        } else if (*pattern && fits(pattern, *name, &next)) {
            pattern = next;
            name++;
        } else if (star) {
            pattern = star;
            name = ++retry;
        } else
            return false;
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int lower(char c)
{
    return tolower((unsigned char)c);
}

int nf_str_distance(const char *a, const char *b, int limit)
{
    enum { LONGEST = 255 };
    int row[3][LONGEST + 1]; /* of the table of prefixes: this one and the two before */
    size_t na = strlen(a), nb = strlen(b), gap = na > nb ? na - nb : nb - na;
    if (limit < 0 || na > LONGEST || nb > LONGEST || gap > (size_t)limit)
        return limit + 1;
    for (int j = 0; j <= (int)nb; j++)
        row[0][j] = j;
    for (int i = 1; i <= (int)na; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *older = row[(i + 1) % 3], best = i;
        now[0] = i;
        for (int j = 1; j <= (int)nb; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            int d = least(least(before[j], now[j - 1]) + 1, before[j - 1] + !same);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                d = least(d, older[j - 2] + 1);
            now[j] = d;
            best = least(best, d);
        }
        if (best > limit + 1) /* a swap reaches back two rows, so one above the limit is not yet hopeless */
            return limit + 1;
    }
    return least(row[na % 3][nb], limit + 1);
}
