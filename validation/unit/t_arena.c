/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas: alignment, the two ends, marks, peak and report; a counting arena foresees what a real one takes. */
#include "nemafit/arena.h"
#include "nemafit/rng.h"
#include "validation/tap.h"

#include <stdlib.h>
#include <string.h>

struct row {
    const char *what;
    size_t bytes;
    int count;
};

struct rows {
    struct row row[8];
    int n;
};

static void keep(void *ctx, const char *what, size_t bytes, int count)
{
    struct rows *r = ctx;
    if (r->n < 8)
        r->row[r->n++] = (struct row){what, bytes, count};
}

static bool row_is(const struct rows *r, int i, const char *what, size_t bytes, int count)
{
    return i < r->n && strcmp(r->row[i].what, what) == 0 && r->row[i].bytes == bytes && r->row[i].count == count;
}

static void ends_and_marks(void)
{
    char *block = aligned_alloc(4096, 65536);
    nf_arena *a;
    void *p, *q, *r, *z;
    tap_ok(nf_arena_new("test", block, 65536, &a) == NF_OK && !nf_arena_counting(a), "an arena over a block");
    tap_ok(nf_arena_get(a, NF_LOW, 100, "low", &p) == NF_OK && p == block, "the first low one lies at the start");
    tap_ok(nf_arena_get(a, NF_LOW, 257, "low", &q) == NF_OK && q == block + 256, "the next one on the next boundary");
    tap_ok(nf_arena_get(a, NF_HIGH, 100, "high", &r) == NF_OK && r == block + 65536 - 256, "the first high one at the end");
    memset(p, 1, 100);
    memset(q, 2, 257);
    memset(r, 3, 100);
    tap_ok(nf_arena_used(a) == 256 + 512 + 256, "used counts padding");
    nf_mark mark = nf_arena_mark(a);
    tap_ok(nf_arena_get(a, NF_LOW, 0, "empty", &z) == NF_OK && z && nf_arena_used(a) == 1024, "0 bytes take none");
    nf_arena_get(a, NF_LOW, 1000, "low", &z);
    nf_arena_get(a, NF_HIGH, 3000, "high", &z);
    size_t full = nf_arena_used(a);
    nf_arena_reset(a, NF_LOW, mark);
    tap_ok(nf_arena_used(a) == 1024 + 3072, "a reset gives back one end only");
    nf_arena_reset(a, NF_HIGH, mark);
    tap_ok(nf_arena_used(a) == 1024 && nf_arena_peak(a) == full, "and the peak stays");
    nf_mark above = {4096, 4096};
    nf_arena_reset(a, NF_LOW, above);
    tap_ok(nf_arena_used(a) == 1024, "a mark above what is taken changes nothing");
    tap_ok(nf_arena_get(a, NF_LOW, 4, "again", &z) == NF_OK && z == block + 768, "the place is taken again");
    nf_arena_free(a);
    nf_arena_free(NULL);
    free(block);
}

static void full(void)
{
    char *block = aligned_alloc(4096, 4096);
    nf_arena *a;
    void *p = NULL, *untouched = block;
    nf_arena_new("small", block, 4096, &a);
    nf_diagnosis_clear();
    tap_ok(nf_arena_get(a, NF_LOW, 4096, "all", &p) == NF_OK && p == block, "all of a block can be taken");
    nf_arena_reset(a, NF_LOW, (nf_mark){0, 0});
    nf_arena_get(a, NF_LOW, 2048, "half", &p);
    tap_ok(nf_arena_get(a, NF_HIGH, 2049, "too much", &untouched) == NF_ENOMEM && untouched == block,
           "one byte too much is refused and the output left alone");
    tap_ok(strstr(nf_diagnosis(), "small") && strstr(nf_diagnosis(), "2049") && strstr(nf_diagnosis(), "too much") &&
               strstr(nf_diagnosis(), "2048 of 4096"),
           "the diagnosis says who, how much, for what, what is left");
    nf_diagnosis_clear();
    tap_ok(nf_arena_get(a, NF_LOW, SIZE_MAX, "all there is", &p) == NF_ENOMEM, "sizes do not overflow");
    nf_diagnosis_clear();
    tap_ok(nf_arena_get(a, NF_HIGH, 2048, "rest", &p) == NF_OK && p == block + 2048, "the ends meet");
    nf_arena_free(a);

    nf_arena_new("crooked", block + 3, 4096 - 3, &a);
    tap_ok(nf_arena_get(a, NF_LOW, 1, "x", &p) == NF_OK && p == block + 256, "a crooked block is used from its first boundary");
    tap_ok(nf_arena_get(a, NF_HIGH, 1, "x", &p) == NF_OK && p == block + 4096 - 256, "and to its last");
    nf_arena_free(a);
    nf_arena_new("tiny", block + 1, 7, &a);
    tap_ok(nf_arena_get(a, NF_LOW, 1, "x", &p) == NF_ENOMEM, "a block without a boundary holds nothing");
    nf_diagnosis_clear();
    nf_arena_free(a);
    free(block);
}

static void report(void)
{
    nf_arena *a;
    void *p;
    struct rows r = {.n = 0};
    char once[] = "gradients", twice[] = "gradients"; /* one name at two addresses */
    nf_arena_new("counting", NULL, 0, &a);
    nf_arena_get(a, NF_LOW, 1024, "kept", &p);
    nf_mark mark = nf_arena_mark(a);
    nf_arena_get(a, NF_LOW, 256, once, &p);
    nf_arena_get(a, NF_HIGH, 512, twice, &p);
    nf_arena_get(a, NF_HIGH, 256, "loss", &p);
    tap_ok(nf_arena_report(a, keep, &r) == 3 && row_is(&r, 0, "kept", 1024, 1) && row_is(&r, 1, "gradients", 768, 2) &&
               row_is(&r, 2, "loss", 256, 1),
           "a report of now: equal names together, largest first");
    nf_arena_reset(a, NF_LOW, mark);
    nf_arena_reset(a, NF_HIGH, mark);
    nf_arena_get(a, NF_LOW, 512, "other", &p);
    r.n = 0;
    tap_ok(nf_arena_report(a, keep, &r) == 3 && row_is(&r, 1, "gradients", 768, 2), "later it is still that of the peak");
    nf_arena_get(a, NF_HIGH, 4096, "other", &p);
    nf_arena_reset(a, NF_HIGH, mark);
    r.n = 0;
    tap_ok(nf_arena_report(a, keep, &r) == 2 && row_is(&r, 0, "other", 4608, 2) && row_is(&r, 1, "kept", 1024, 1),
           "a new peak has new shares");
    tap_ok(nf_arena_report(a, NULL, NULL) == 2, "rows can be counted without a look at them");
    nf_arena_free(a);
}

/* The same calls on a counting and a real arena of the size it found. */
static void random_walk(void)
{
    enum { STEPS = 4000, DEEP = 64 };
    nf_rng_key key = {1, 0, NF_RNG_TEST, 0};
    nf_arena *a = NULL;
    char *block = NULL;
    size_t peak = 0;
    bool same = true, fits = true, tight = false;
    for (int real = 0; real < 2; real++) {
        nf_mark mark[DEEP];
        int depth = 0;
        if (real)
            block = aligned_alloc(4096, (peak + 4095) / 4096 * 4096);
        nf_arena_new("walk", block, peak, &a);
        for (int i = 0; i < STEPS; i++) {
            uint32_t what = nf_rng_u32(key, (uint64_t)i, 0), bytes = nf_rng_u32(key, (uint64_t)i, 1) % 5000;
            void *p;
            if (what % 3 != 0 && depth < DEEP) {
                mark[depth++] = nf_arena_mark(a);
                fits &= nf_arena_get(a, what % 2 ? NF_LOW : NF_HIGH, bytes, "walk", &p) == NF_OK;
                if (real && fits)
                    memset(p, 0x5a, bytes);
            } else if (depth > 0) {
                depth--;
                nf_arena_reset(a, NF_LOW, mark[depth]);
                nf_arena_reset(a, NF_HIGH, mark[depth]);
            }
        }
        if (real)
            same = nf_arena_peak(a) == peak;
        peak = nf_arena_peak(a);
        nf_arena_free(a);
    }
    tap_ok(fits && same, "a block of the counted peak (%zu) holds the same calls", peak);
    nf_diagnosis_clear();
    nf_arena_new("walk", block, peak - NF_ALIGN, &a);
    for (int i = 0; i < 2; i++) {
        void *p;
        tight |= nf_arena_get(a, NF_LOW, i ? peak - NF_ALIGN : NF_ALIGN, "x", &p) != NF_OK;
    }
    tap_ok(tight, "a smaller one would not");
    nf_diagnosis_clear();
    nf_arena_free(a);
    free(block);
}

int main(void)
{
    tap_open();
    ends_and_marks();
    full();
    report();
    random_walk();
    return tap_done();
}
