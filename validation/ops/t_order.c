/* SPDX-License-Identifier: Apache-2.0 */
/* Received rows to expert order and back, against definitions written out plainly. Everything but the sums is exact. */
#include "oprig.h"

enum { ROWS = 41, CAP = 50, K = 3, EXPERTS = 5, WIDTH = 300, ROOM = 220 };

struct data {
    int32_t ids[CAP * K], count;
    float side[CAP * K];
    int32_t source[ROOM], slot[ROOM], place[CAP * K], begin[EXPERTS], end[EXPERTS], expert[EXPERTS];
    float weight[ROOM];
    struct nf_order order;
};

/* Row i goes to experts of its own choosing, some to none; expert 3 gets no row. */
static void data_fill(struct data *d, int64_t base, int count)
{
    uint64_t state = 9;
    memset(d, 0xff, sizeof *d);
    for (int i = 0; i < CAP * K; i++)
        d->side[i] = (float)draw(&state);
    for (int i = 0; i < CAP; i++)
        for (int s = 0; s < K; s++) {
            int e = (int)((draw(&state) + 1.0) * 3.5) - 1; /* -1 .. 5 */
            for (int other = 0; other < s; other++)
                if (d->ids[i * K + other] == e)
                    e = -1;
            d->ids[i * K + s] = e == 3 || e >= EXPERTS ? -1 : e;
        }
    d->count = count;
    d->order = (struct nf_order){.row_cap = CAP, .expert_cap = ROOM, .base = base, .k = K, .experts = EXPERTS};
    d->order.source = d->source;
    d->order.slot = d->slot;
    d->order.place = d->place;
    d->order.weight = d->weight;
    d->order.begin = d->begin;
    d->order.end = d->end;
    d->order.expert = d->expert;
}

static void check_build(struct rig *r, int64_t base, int pad)
{
    static struct data d;
    bool groups = true, rows = true, places = true;
    int64_t at = base;

    data_fill(&d, base, ROWS);
    must(nf_order_build(r->q, &d.order, d.ids, d.side, &d.count, pad), "order_build");
    for (int e = 0; e < EXPERTS; e++) {
        int64_t next;
        at = base + (at - base + pad - 1) / pad * pad; /* within the slice, which is a view of its own */
        groups = groups && d.begin[e] == at && d.expert[e] == e;
        next = at - base;
        for (int i = 0; i < ROWS; i++)
            for (int s = 0; s < K; s++)
                if (d.ids[i * K + s] == e) {
                    rows = rows && d.source[next] == i && d.slot[next] == s && d.weight[next] == d.side[i * K + s];
                    next++;
                }
        at = base + next;
        groups = groups && d.end[e] == at;
    }
    for (int i = 0; i < ROWS; i++) {
        int expected = 0, found = 0;
        for (int s = 0; s < K; s++)
            expected += d.ids[i * K + s] >= 0;
        for (int s = 0; s < K; s++) {
            const int32_t p = d.place[i * K + s];
            places = places && (s < expected ? p >= 0 && d.source[p] == i : p == -1);
            places = places && (s == 0 || p == -1 || p > d.place[i * K + s - 1]);
            found += p >= 0;
        }
        places = places && found == expected;
    }
    tap_ok(groups, "pad %d, base %d: groups", pad, (int)base);
    tap_ok(rows, "pad %d, base %d: rows of an expert keep the order of arrival", pad, (int)base);
    tap_ok(places, "pad %d, base %d: places ascend, then -1", pad, (int)base);
}

/* There and back: each received row comes back as many times itself as it has experts, the side band at its slots. */
static void check_round_trip(struct rig *r, nf_dtype type, int count)
{
    static struct data d;
    const int64_t base = 16;
    float *x = grab(CAP * WIDTH, 4), *sides = grab(CAP * K, 4), row_side[ROOM];
    fill_random(x, CAP * WIDTH, 1, 3);
    struct slice received = slice_new(type, CAP, WIDTH, 0, WIDTH, x), rows = slice_new(type, ROOM, WIDTH, 0, WIDTH, NULL);
    struct slice partial = slice_new(type, CAP, WIDTH, 2, WIDTH + 5, NULL);
    bool there = true, back = true, sums = true, beyond = true, beside;
    const char *name = nf_dtype_name(type);

    data_fill(&d, base, count);
    must(nf_order_build(r->q, &d.order, d.ids, d.side, &d.count, 8), "order_build");
    must(nf_expand(r->q, &rows.t, &received.t, &d.order), "expand");
    for (int e = 0; e < EXPERTS; e++)
        for (int64_t p = d.begin[e] - base; p < d.end[e] - base; p++)
            for (int64_t c = 0; c < WIDTH; c++)
                there = there && slice_at(&rows, p, c) == slice_at(&received, d.source[p], c);
    for (int i = 0; i < ROOM; i++)
        row_side[i] = (float)i + 0.5f;
    fill_value(sides, CAP * K, 4.0f);
    must(nf_collapse(r->q, &partial.t, sides, &rows.t, row_side, &d.order, &d.count), "collapse");
    for (int i = 0; i < CAP; i++) {
        float times = 0.0f;
        for (int s = 0; s < K; s++)
            times += d.ids[i * K + s] >= 0 ? 1.0f : 0.0f;
        for (int s = 0; s < K && i < count; s++) {
            float want = 0.0f;
            for (int p = 0; p < K; p++) {
                const int32_t at = d.place[i * K + p];
                if (at >= 0 && d.slot[at] == s)
                    want = row_side[at];
            }
            sums = sums && sides[i * K + s] == want && (want != 0.0f) == (d.ids[i * K + s] >= 0);
        }
        for (int64_t c = 0; c < WIDTH; c++) {
            float want = 0.0f; /* in the order of the sums, rounded once */
            for (int n = 0; n < (int)times; n++)
                want += slice_at(&received, i, c);
            want = type == NF_BF16 ? nf_bf16_to_f32(nf_f32_to_bf16(want)) : want;
            if (i < count)
                back = back && slice_at(&partial, i, c + 2) == want;
            else
                beyond = beyond && slice_at(&partial, i, c + 2) == -7.0f && sides[i * K] == 4.0f;
        }
    }
    beside = slice_guarded(&partial);
    tap_ok(there, "%s, %d rows: expert rows are copies", name, count);
    tap_ok(back, "%s, %d rows: partial rows are sums in expert order", name, count);
    tap_ok(sums, "%s, %d rows: side band at its slot, 0 elsewhere", name, count);
    tap_ok(beyond && beside, "%s, %d rows: rows beyond the count and columns beside are not touched", name, count);
    free(x);
    free(sides);
    slice_free(&received);
    slice_free(&rows);
    slice_free(&partial);
}

static void check_combine(struct rig *r, nf_dtype type, bool add, bool in_place)
{
    enum { TOKENS = 37, RETURNED = 60, R = 4 };
    float *x = grab(RETURNED * WIDTH, 4), *a = grab(TOKENS * WIDTH, 4), *side = grab(RETURNED * K, 4), *w = grab(TOKENS * K, 4);
    int32_t where[TOKENS * R];
    uint64_t state = 4;
    bool ok = true, weights = true;

    fill_random(x, RETURNED * WIDTH, 1, 5);
    fill_random(a, TOKENS * WIDTH, 1, 6);
    fill_random(side, RETURNED * K, 1, 7);
    fill_value(w, TOKENS * K, 8.0f);
    for (int i = 0; i < TOKENS * R; i++)
        where[i] = draw(&state) < -0.3 ? -1 : (int32_t)((draw(&state) + 1.0) * RETURNED / 2);
    struct slice rows = slice_new(type, RETURNED, WIDTH, 1, WIDTH + 2, x), other = slice_new(type, TOKENS, WIDTH, 0, WIDTH, a);
    struct slice y = slice_new(type, TOKENS, WIDTH, 3, WIDTH + 4, in_place ? a : NULL);
    must(nf_combine(r->q, &y.t, w, &rows.t, side, where, R, K, !add ? NULL : in_place ? &y.t : &other.t), "combine");
    for (int t = 0; t < TOKENS; t++) {
        for (int64_t c = 0; c < WIDTH; c++) {
            float want = 0.0f;
            for (int i = 0; i < R; i++)
                want += where[t * R + i] >= 0 ? slice_at(&rows, where[t * R + i], c + 1) : 0.0f;
            want += add ? slice_at(&other, t, c) : 0.0f;
            want = type == NF_BF16 ? nf_bf16_to_f32(nf_f32_to_bf16(want)) : want;
            ok = ok && slice_at(&y, t, c + 3) == want;
        }
        for (int s = 0; s < K; s++) {
            float want = 0.0f;
            for (int i = 0; i < R; i++)
                want += where[t * R + i] >= 0 ? side[where[t * R + i] * K + s] : 0.0f;
            weights = weights && w[t * K + s] == want;
        }
    }
    tap_ok(ok && slice_guarded(&y), "combine %s%s%s", nf_dtype_name(type), add ? ", added" : "", in_place ? " in place" : "");
    tap_ok(weights, "combine: weights are sums of the side bands");
    void *all[] = {x, a, side, w};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    slice_free(&rows);
    slice_free(&other);
    slice_free(&y);
}

static void check_refusals(struct rig *r)
{
    static struct data d;
    data_fill(&d, 0, CAP + 1);
    tap_ok(nf_order_build(r->q, &d.order, d.ids, d.side, &d.count, 1) == NF_EBUG, "more rows than the window holds");
    nf_diagnosis_clear();
    data_fill(&d, 0, ROWS);
    d.ids[7] = EXPERTS;
    tap_ok(nf_order_build(r->q, &d.order, d.ids, d.side, &d.count, 1) == NF_EBUG && strstr(nf_diagnosis(), "expert 5 of 5"),
           "an expert that is not there");
    nf_diagnosis_clear();
    data_fill(&d, 0, ROWS);
    d.order.expert_cap = 20;
    tap_ok(nf_order_build(r->q, &d.order, d.ids, d.side, &d.count, 1) == NF_EBUG, "more expert rows than there is room for");
    nf_diagnosis_clear();
}

int main(void)
{
    tap_open();
    for (int threads = 1; threads <= 2; threads++) {
        struct rig r = rig_open(threads);
        check_build(&r, 0, 1);
        check_build(&r, 33, 16);
        check_round_trip(&r, NF_F32, ROWS);
        check_round_trip(&r, NF_BF16, ROWS);
        check_round_trip(&r, NF_F32, 0);
        check_combine(&r, NF_F32, false, false);
        check_combine(&r, NF_F32, true, false);
        check_combine(&r, NF_F32, true, true);
        check_combine(&r, NF_BF16, true, false);
        check_refusals(&r);
        tap_ok(rig_within(&r), "scratch is as large as it was said to be");
        rig_close(&r);
    }
    return tap_done();
}
