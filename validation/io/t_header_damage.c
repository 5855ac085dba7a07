/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many thousand damaged headers, always the same ones: none may crash the reader, those refused have a code, those accepted are
 * consistent.
 */
#include "tap.h"

#include "nemafit/io/safetensors.h"

#include <stdlib.h>
#include <string.h>

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

enum { ROOM = 4096 };

/* One change of text[0..n): a byte, a run taken out or doubled, a telling word put in. */
static size_t mutate(char *text, size_t n, uint64_t *state)
{
    static const char *const word[] = {"18446744073709551615",
                                       "9223372036854775807",
                                       "-1",
                                       "-0",
                                       "00",
                                       "1e999",
                                       "0.5",
                                       "null",
                                       "{",
                                       "}",
                                       "[",
                                       "]",
                                       "\"",
                                       "\\u0000",
                                       "\\ud800",
                                       ",",
                                       ":",
                                       "\xff",
                                       "__metadata__",
                                       "\"dtype\":",
                                       "4294967296",
                                       "0",
                                       "BF16",
                                       "F4"};
    const size_t at = n ? next_random(state) % n : 0;
    size_t length = 1 + next_random(state) % 12;
    switch (next_random(state) % 5) {
    case 0:
        if (n)
            text[at] = (char)next_random(state);
        return n;
    case 1:
        length = length > n - at ? n - at : length;
        memmove(text + at, text + at + length, n - at - length);
        return n - length;
    case 2:
        length = length > n - at ? n - at : length;
        if (n + length > ROOM)
            return n;
        memmove(text + at + length, text + at, n - at);
        return n + length;
    case 3:
        if (n)
            text[at] = (char)(text[at] ^ (1 << next_random(state) % 8));
        return n;
    default: break;
    }
    const char *w = word[next_random(state) % (sizeof word / sizeof *word)];
    length = strlen(w);
    if (n + length > ROOM)
        return n;
    if (next_random(state) % 2) { /* over a digit run rather than between bytes */
        size_t digit = at;
        while (digit < n && (text[digit] < '0' || text[digit] > '9'))
            digit++;
        size_t end = digit;
        while (end < n && text[end] >= '0' && text[end] <= '9')
            end++;
        memmove(text + digit + length, text + end, n - end);
        memcpy(text + digit, w, length);
        return n - (end - digit) + length;
    }
    memmove(text + at + length, text + at, n - at);
    memcpy(text + at, w, length);
    return n + length;
}

/* What the reader promises of anything it accepts. */
static bool consistent(const struct nf_st_entry *e, int64_t count, size_t header, uint64_t file_size)
{
    uint64_t at = 8 + header;
    for (int64_t i = 0; i < count; i++) {
        if (e[i].begin != at || e[i].nd < 0 || e[i].nd > 8 || strlen(e[i].name) == 0 || strlen(e[i].name) > 1024)
            return false;
        for (int d = 0; d < e[i].nd; d++)
            if (e[i].dim[d] < 0)
                return false;
        at += e[i].bytes;
        if (at > file_size)
            return false;
    }
    return at == file_size;
}

static void damaged(void)
{
    static const char *const seed[] = {
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
        ",\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]}}",
        "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\u00e9\"},\"model.w\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":"
        "[0,16]}}  ",
        "{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},\"z\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_"
        "offsets\":[8,8]},\"q\":{\"dtype\":\"F4\",\"shape\":[4,4],\"data_offsets\":[8,16]}}"};
    uint64_t state = 20240607;
    int64_t accepted = 0, wrong = 0, silent = 0;
    for (int i = 0; i < 50000; i++) {
        char text[ROOM + 64];
        const char *from = seed[i % 3];
        size_t n = strlen(from);
        memcpy(text, from, n);
        for (uint64_t k = 1 + next_random(&state) % 3; k > 0; k--)
            n = mutate(text, n, &state);
        char *exact = malloc(n ? n : 1); /* so that a byte too far is seen */
        if (!exact)
            break;
        memcpy(exact, text, n);
        struct nf_st_entry *entries = NULL;
        int64_t count = 0;
        const uint64_t size = 8 + n + 16;
        const nf_status status = nf_st_header_parse("f", exact, n, size, &entries, &count);
        if (status == NF_OK) {
            accepted++;
            wrong += !consistent(entries, count, n, size);
            nf_st_entries_free(entries, count);
        } else {
            silent += status != NF_EDATA || strncmp(nf_diagnosis(), "f: ST-0", 7) != 0;
            nf_diagnosis_clear();
        }
        free(exact);
    }
    tap_ok(wrong == 0, "50,000 damaged headers: what is accepted is consistent");
    tap_ok(silent == 0, "50,000 damaged headers: what is refused has a code");
    tap_ok(accepted > 500 && accepted < 40000, "50,000 damaged headers: some are accepted, most are not");
    tap_note("%lld accepted", (long long)accepted);
}

int main(void)
{
    tap_open();
    damaged();
    return tap_done();
}
