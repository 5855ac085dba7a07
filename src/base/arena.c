/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas: two stacks in one block, and who took what at the fullest moment. An arena never touches its block (it may be device
 * memory): the books are kept beside it. Addresses of a counting arena are not canonical, so that using one faults at once.
 *
 * Under AddressSanitizer everything that is not handed out is poisoned, the padding behind each allocation too.
 */
#include "nemafit/arena.h"

#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

struct share {
    const char *what;
    size_t now, at_peak;
    int count_now, count_at_peak;
};

struct taken {
    size_t begin; /* bytes taken at this end before it */
    size_t bytes; /* padded */
    int share;
};

struct side {
    struct taken *item;
    int count, cap;
    size_t used;
};

struct nf_arena {
    const char *name;
    unsigned char *first; /* aligned */
    size_t size;
    bool counting;
    bool peak_is_new; /* the shares of the peak have not been written down: they are those of now */
    size_t peak;
    struct side side[2];
    struct share *share;
    int shares, shares_cap;
};

static const uintptr_t nowhere = (uintptr_t)1 << 62;
static const size_t boundless = (size_t)1 << 60;

nf_status nf_arena_new(const char *name, void *block, size_t bytes, nf_arena **arena)
{
    nf_arena *a = calloc(1, sizeof *a);
    if (!a)
        return nf_fail(NF_ENOMEM, "arena %s: no memory for its books", name);
    a->name = name;
    a->counting = !block;
    if (block) {
        size_t skip = (size_t)(-(uintptr_t)block & (NF_ALIGN - 1));
        a->first = (unsigned char *)block + (skip < bytes ? skip : 0);
        a->size = skip < bytes ? (bytes - skip) / NF_ALIGN * NF_ALIGN : 0;
        POISON(a->first, a->size);
    } else {
        a->first = (unsigned char *)nowhere;
        a->size = boundless;
    }
    *arena = a;
    return NF_OK;
}

void nf_arena_free(nf_arena *a)
{
    if (!a)
        return;
    if (!a->counting)
        UNPOISON(a->first, a->size);
    free(a->side[NF_LOW].item);
    free(a->side[NF_HIGH].item);
    free(a->share);
    free(a);
}

bool nf_arena_counting(const nf_arena *a)
{
    return a->counting;
}

const char *nf_arena_name(const nf_arena *a)
{
    return a->name;
}

size_t nf_arena_used(const nf_arena *a)
{
    return a->side[NF_LOW].used + a->side[NF_HIGH].used;
}

size_t nf_arena_peak(const nf_arena *a)
{
    return a->peak;
}

nf_mark nf_arena_mark(const nf_arena *a)
{
    return (nf_mark){a->side[NF_LOW].used, a->side[NF_HIGH].used};
}

/* Room for one more element, doubling. */
static bool grown(void **items, int count, int *cap, size_t each)
{
    if (count < *cap)
        return true;
    int more = *cap ? 2 * *cap : 64;
    void *moved = realloc(*items, (size_t)more * each);
    if (!moved)
        return false;
    *items = moved;
    *cap = more;
    return true;
}

/* The share of that name; -1: no memory. Equal literals may have several addresses, so the text decides. */
static int share_of(nf_arena *a, const char *what)
{
    for (int i = 0; i < a->shares; i++)
        if (a->share[i].what == what)
            return i;
    for (int i = 0; i < a->shares; i++)
        if (strcmp(a->share[i].what, what) == 0)
            return i;
    if (!grown((void **)&a->share, a->shares, &a->shares_cap, sizeof *a->share))
        return -1;
    a->share[a->shares] = (struct share){.what = what};
    return a->shares++;
}

static nf_status written_down(nf_arena *a, struct side *side, size_t bytes, const char *what)
{
    int share = share_of(a, what);
    if (share < 0 || !grown((void **)&side->item, side->count, &side->cap, sizeof *side->item))
        return nf_fail(NF_ENOMEM, "arena %s: no memory for its books", a->name);
    side->item[side->count++] = (struct taken){side->used, bytes, share};
    a->share[share].now += bytes;
    a->share[share].count_now++;
    return NF_OK;
}

nf_status nf_arena_get(nf_arena *a, enum nf_end end, size_t bytes, const char *what, void **out)
{
    struct side *side = &a->side[end];
    size_t left = a->size - nf_arena_used(a);
    if (bytes > left) /* before padding: the sum cannot overflow; sizes are multiples of NF_ALIGN, so padding fits as well */
        return nf_fail(NF_ENOMEM, "arena %s: %zu bytes asked for %s, %zu of %zu left", a->name, bytes, what, left, a->size);
    size_t padded = (bytes + NF_ALIGN - 1) / NF_ALIGN * NF_ALIGN;
    if (padded > 0)
        NF_TRY(written_down(a, side, padded, what));
    side->used += padded;
    if (nf_arena_used(a) > a->peak) {
        a->peak = nf_arena_used(a);
        a->peak_is_new = true;
    }
    unsigned char *p = end == NF_LOW ? a->first + (side->used - padded) : a->first + (a->size - side->used);
    if (!a->counting)
        UNPOISON(p, bytes);
    *out = p;
    return NF_OK;
}

static void write_down_peak(nf_arena *a)
{
    for (int i = 0; i < a->shares; i++) {
        a->share[i].at_peak = a->share[i].now;
        a->share[i].count_at_peak = a->share[i].count_now;
    }
    a->peak_is_new = false;
}

/* What lies above the mark is given back; a mark above what is taken changes nothing. */
void nf_arena_reset(nf_arena *a, enum nf_end end, nf_mark mark)
{
    struct side *side = &a->side[end];
    size_t keep = end == NF_LOW ? mark.low : mark.high;
    if (keep >= side->used)
        return;
    if (a->peak_is_new)
        write_down_peak(a);
    while (side->count > 0 && side->item[side->count - 1].begin >= keep) {
        struct taken *last = &side->item[--side->count];
        a->share[last->share].now -= last->bytes;
        a->share[last->share].count_now--;
    }
    if (!a->counting)
        POISON(end == NF_LOW ? a->first + keep : a->first + (a->size - side->used), side->used - keep);
    side->used = keep;
}

static int larger_first(const void *x, const void *y)
{
    const struct share *a = x, *b = y;
    if (a->at_peak != b->at_peak)
        return a->at_peak < b->at_peak ? 1 : -1;
    return strcmp(a->what, b->what);
}

int nf_arena_report(const nf_arena *a, void (*row)(void *ctx, const char *what, size_t bytes, int count), void *ctx)
{
    int rows = 0;
    struct share *sorted = malloc((size_t)(a->shares + 1) * sizeof *sorted);
    if (!sorted)
        return 0;
    for (int i = 0; i < a->shares; i++) {
        struct share s = a->share[i];
        if (a->peak_is_new) {
            s.at_peak = s.now;
            s.count_at_peak = s.count_now;
        }
        if (s.at_peak > 0)
            sorted[rows++] = s;
    }
    qsort(sorted, (size_t)rows, sizeof *sorted, larger_first);
    for (int i = 0; row && i < rows; i++)
        row(ctx, sorted[i].what, sorted[i].at_peak, sorted[i].count_at_peak);
    free(sorted);
    return rows;
}
