/* SPDX-License-Identifier: Apache-2.0 */
/* The host as a device: memory, copies, counters; events that are pending, their failures, the ring; the dry device. */
#include "nemafit/device.h"
#include "nemafit/log.h"
#include "validation/tap.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Over after `polls` tests, with `status`. wrong: tests after the end, or within a test of the same. */
struct op {
    int polls, tested, wrong;
    nf_status status;
    nf_queue *inside;  /* test() calls progress here */
    nf_device *device; /* test() waits for `first` here */
    nf_event first;
    nf_status waited;
    bool over, nested;
};

static bool test_op(void *obj, nf_status *status)
{
    struct op *o = obj;
    o->tested++;
    o->wrong += o->over || o->nested;
    o->nested = true;
    if (o->inside)
        nf_queue_progress(o->inside);
    if (o->device)
        o->waited = nf_queue_wait(o->inside, o->first);
    o->nested = false;
    o->over = o->tested > o->polls;
    *status = o->over ? o->status : NF_EBUG; /* what is said before the end must not count */
    return o->over;
}

static const struct nf_pending_ops ops = {test_op};

static nf_status count_call(void *ctx)
{
    ++*(int *)ctx;
    return NF_OK;
}

static nf_status lose_call(void *ctx)
{
    return ++*(int *)ctx > 20 ? NF_EPEER : NF_OK;
}

static void pass(double seconds)
{
    for (double begin = nf_seconds(); nf_seconds() - begin < seconds;)
        ;
}

static void memory(nf_device *d)
{
    static const size_t size[] = {0, 1, 4095, 4096, 4097, 2 << 20, (2 << 20) + 1, 9 << 20};
    bool good = true;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        unsigned char *p = NULL;
        good &= nf_device_alloc(d, size[i], "test", (void **)&p) == NF_OK && p && (uintptr_t)p % 4096 == 0;
        for (size_t k = 0; good && k < size[i]; k++)
            good &= p[k] == 0;
        if (good)
            memset(p, 0xff, size[i]);
        nf_device_release(d, p, size[i]);
    }
    tap_ok(good, "memory of all sizes: there, aligned, zeroed, writable");
    void *p = &good, *q = NULL;
    tap_ok(nf_device_alloc(d, SIZE_MAX, "the sky", &p) == NF_ENOMEM && p == &good && strstr(nf_diagnosis(), "the sky"),
           "too much is refused by name");
    nf_diagnosis_clear();
    tap_ok(nf_device_alloc(d, (size_t)1 << 60, "the sea", &p) == NF_ENOMEM && p == &good, "also by the system");
    nf_diagnosis_clear();
    tap_ok(nf_device_alloc_pinned(d, 100, "staging", &q) == NF_OK && q, "pinned memory");
    nf_device_release(d, q, 100);
    nf_device_release(d, NULL, 100);
}

static void copies(nf_device *d)
{
    char a[64], b[64], want[64];
    nf_queue *q;
    for (int i = 0; i < 64; i++)
        a[i] = (char)i;
    nf_queue_new(d, "compute", 0, NULL, &q);
    memset(b, -1, 64);
    tap_ok(nf_copy(q, b, a, 64) == NF_OK && memcmp(a, b, 64) == 0, "copy");
    memset(b, -1, 64);
    memset(want, -1, 64);
    for (int r = 0; r < 4; r++)
        memcpy(want + 10 * r, a + 16 * r, 3);
    tap_ok(nf_copy_2d(q, b, 10, a, 16, 3, 4) == NF_OK && memcmp(b, want, 64) == 0, "copy of rows leaves what lies between");
    tap_ok(nf_copy_2d(q, b, 16, a, 16, 16, 4) == NF_OK && memcmp(a, b, 64) == 0, "of whole rows");
    tap_ok(nf_fill_zero(q, b + 1, 62) == NF_OK && b[0] == 0 && b[1] == 0 && b[62] == 0 && b[63] == 63, "zeros");
    tap_ok(nf_copy(q, NULL, NULL, 0) == NF_OK && nf_fill_zero(q, NULL, 0) == NF_OK && nf_copy(q, a, a, 64) == NF_OK,
           "nothing, and onto itself");
    struct nf_work_count c = nf_queue_counted(q);
    tap_ok(c.launches == 4 && c.bytes_moved == 2 * 64 + 2 * 12 + 2 * 64 + 62 && c.flops == 0, "copies are counted");
    tap_ok(nf_copy(q, a + 1, a, 8) == NF_EBUG, "overlap is our mistake");
    nf_diagnosis_clear();
    tap_ok(nf_copy_2d(q, b, 2, a, 16, 3, 4) == NF_EBUG, "rows wider than their pitch too");
    nf_diagnosis_clear();
    nf_queue_count(q, 100, 10);
    nf_queue_count_sent(q, 7);
    c = nf_queue_counted(q);
    tap_ok(c.flops == 100 && c.bytes_sent == 7 && c.launches == 6, "and so is what ops and collectives say");
    nf_queue_free(q);
}

static void events(nf_device *d)
{
    nf_queue *q;
    nf_event e, f;
    nf_queue_new(d, "compute", 0, NULL, &q);
    tap_ok(nf_queue_record(q, &e) == NF_OK && nf_event_done(d, e) && nf_queue_wait(q, e) == NF_OK,
           "what the host was given has happened");
    tap_ok(nf_event_done(d, NF_DONE) && nf_queue_wait(q, NF_DONE) == NF_OK, "{0, 0} has happened");

    struct op o = {.polls = 100};
    nf_event_pending(d, &ops, &o, &e);
    tap_ok(e.gen != 0 && o.tested == 0, "a pending event is not tested when it is made");
    tap_ok(!nf_event_done(d, e) && o.tested > 0, "done? asks it");
    int64_t waits = nf_device_host_waits(d);
    tap_ok(nf_queue_wait(q, e) == NF_OK && o.over && nf_device_host_waits(d) == waits, "a queue's wait ends it, not counted");
    int tested = o.tested;
    nf_queue_progress(q);
    tap_ok(nf_queue_wait(q, e) == NF_OK && nf_event_done(d, e) && o.tested == tested && o.wrong == 0,
           "what is over is never tested again");

    struct op p = {.polls = 3};
    nf_event_pending(d, &ops, &p, &f);
    tap_ok(nf_event_host_wait(d, f) == NF_OK && p.over && nf_device_host_waits(d) == waits + 1,
           "a wait of the host is counted");
    nf_queue_drain(q);
    tap_ok(nf_device_host_waits(d) == waits + 2 && nf_queue_counted(q).host_waits == 1, "so is a drain");

    struct op bad = {.polls = 2, .status = NF_EPEER}, good = {.polls = 5};
    nf_event_pending(d, &ops, &bad, &e);
    nf_event_pending(d, &ops, &good, &f);
    for (int i = 0; i < 10; i++)
        nf_queue_progress(q);
    tap_ok(bad.over && good.over && bad.wrong == 0, "progress alone ends them");
    tap_ok(nf_queue_wait(q, f) == NF_OK && nf_queue_wait(q, e) == NF_EPEER && nf_event_host_wait(d, e) == NF_EPEER,
           "the failure comes with the wait for its event, each time");

    int calls = 0;
    struct op slow = {.polls = 50};
    nf_device_set_progress(d, count_call, &calls);
    nf_event_pending(d, &ops, &slow, &e);
    nf_queue_wait(q, e);
    tap_ok(calls >= 20, "the hook is called between the polls of a wait (%d times; a round polls the event once or twice)",
           calls);
    calls = 0;
    nf_queue_progress(q);
    tap_ok(calls == 1, "and by progress");
    struct op stuck = {.polls = 1000000};
    nf_device_set_progress(d, lose_call, &calls);
    nf_event_pending(d, &ops, &stuck, &e);
    tap_ok(nf_queue_wait(q, e) == NF_EPEER && !stuck.over && calls == 21, "its failure ends the wait for what never happens");
    nf_device_set_progress(d, NULL, NULL);
    stuck.polls = 0;
    tap_ok(nf_queue_wait(q, e) == NF_OK && stuck.over, "... and that wait alone");
    nf_device_set_progress(d, NULL, NULL);
    nf_event future = {e.slot + 1, e.gen};
    tap_ok(nf_queue_wait(q, future) == NF_EBUG && nf_queue_wait(q, (nf_event){5000, 1}) == NF_EBUG,
           "an event that never was is our mistake");
    nf_diagnosis_clear();
    nf_queue_free(q);
}

/* test() that calls progress, waits for others, waits for itself. */
static void nesting(nf_device *d)
{
    nf_queue *q;
    nf_event e, f;
    nf_queue_new(d, "compute", 0, NULL, &q);
    struct op a = {.polls = 3, .inside = q}, b = {.polls = 3, .inside = q};
    nf_event_pending(d, &ops, &a, &e);
    nf_event_pending(d, &ops, &b, &f);
    tap_ok(nf_queue_wait(q, f) == NF_OK && nf_queue_wait(q, e) == NF_OK && a.wrong + b.wrong == 0, "a test may make progress");
    struct op first = {.polls = 20, .status = NF_EIO}, second = {.polls = 0, .inside = q, .device = d};
    nf_event_pending(d, &ops, &first, &e);
    second.first = e;
    nf_event_pending(d, &ops, &second, &f);
    tap_ok(nf_queue_wait(q, f) == NF_OK && first.over && second.waited == NF_EIO, "a test may wait for another event");
    struct op later = {.polls = 0, .inside = q, .device = d};
    struct op before = {.polls = 9};
    nf_event_pending(d, &ops, &later, &e); /* waits for one that was made after it */
    nf_event_pending(d, &ops, &before, &f);
    later.first = f;
    for (int i = 0; i < 3; i++)
        nf_queue_progress(q);
    tap_ok(before.over && later.over && nf_queue_wait(q, e) == NF_OK, "also for a younger one, out of progress");
    struct op self = {.polls = 0, .inside = q, .device = d};
    nf_event_pending(d, &ops, &self, &e);
    self.first = e;
    tap_ok(nf_queue_wait(q, e) == NF_OK && self.waited == NF_EBUG, "but not for itself");
    nf_diagnosis_clear();
    nf_queue_free(q);
}

static void ring(nf_device *d)
{
    enum { MANY = 5000 };
    nf_queue *q;
    nf_event first, e;
    struct op *o = calloc(MANY, sizeof *o);
    bool made = true, in_order = true;
    nf_queue_new(d, "compute", 0, NULL, &q);
    for (int i = 0; i < MANY; i++) {
        o[i].polls = 1;
        made &= nf_event_pending(d, &ops, &o[i], &e) == NF_OK;
        if (i == 0)
            first = e;
        if (i >= 1024)
            in_order &= o[i - 1024].over;
    }
    tap_ok(made && in_order, "a full ring waits for its oldest event");
    tap_ok(nf_event_done(d, first) && nf_queue_wait(q, first) == NF_OK, "events older than the ring are over");
    tap_ok(nf_queue_wait(q, e) == NF_OK && o[MANY - 1].over, "the youngest can be waited for");
    for (int i = 0; i < 3; i++)
        nf_queue_progress(q);
    bool all = true;
    for (int i = 0; i < MANY; i++)
        all &= o[i].over && o[i].wrong == 0;
    tap_ok(all, "each was ended once");

    /* the oldest fails and nobody waits: who takes its slot is told, once */
    struct op bad = {.polls = 0, .status = NF_EPEER}, none = {.polls = 0}, stuck = {.polls = 0};
    nf_event_pending(d, &ops, &bad, &first);
    int told = -1, times = 0;
    for (int i = 0; i < 1100; i++) {
        nf_event before = {7, 7};
        e = before;
        nf_status s = nf_event_pending(d, &ops, i % 2 ? &none : &stuck, &e);
        none.over = stuck.over = false;
        if (s == NF_EPEER && e.slot == 7 && e.gen == 7) {
            told = i;
            times++;
        }
        nf_queue_progress(q);
        none.over = stuck.over = false;
    }
    tap_ok(times == 1 && told == 1023, "a failure that nobody waited for is told to who takes its slot (%d)", told);
    nf_event_pending(d, &ops, &bad, &first);
    bad.over = false;
    tap_ok(nf_queue_wait(q, first) == NF_EPEER, "told at the wait");
    times = 0;
    for (int i = 0; i < 1100; i++) {
        times += nf_event_pending(d, &ops, &none, &e) != NF_OK;
        nf_queue_progress(q);
        none.over = false;
    }
    tap_ok(times == 0, "it is not told again");
    tap_ok(nf_queue_wait(q, first) == NF_OK, "and is forgotten with its slot");
    free(o);
    nf_queue_free(q);
}

static void dry(enum nf_device_kind kind)
{
    nf_device *d;
    nf_queue *q;
    nf_arena *work;
    void *p = &p;
    bool replayed = true;
    tap_ok(nf_device_dry(kind, &d) == NF_OK && nf_device_is_dry(d) && nf_device_kind(d) == kind, "a dry device");
    tap_ok(nf_device_alloc(d, SIZE_MAX, "all", &p) == NF_OK && p == NULL, "hands out nothing, of any size");
    nf_arena_new("work", p, 0, &work);
    tap_ok(nf_queue_new(d, "dry", 0, work, &q) == NF_OK && nf_queue_is_dry(q) && nf_queue_work(q) == work &&
               nf_queue_device(q) == d && nf_arena_counting(work),
           "a dry queue");
    void *x, *y;
    nf_arena_get(work, NF_LOW, 1 << 20, "x", &x);
    nf_arena_get(work, NF_HIGH, 1 << 20, "y", &y);
    tap_ok(nf_copy(q, x, y, 1 << 20) == NF_OK && nf_copy_2d(q, x, 8, y, 16, 4, 10) == NF_OK && nf_fill_zero(q, y, 100) == NF_OK,
           "copies look at no address");
    struct nf_work_count c = nf_queue_counted(q);
    tap_ok(c.launches == 3 && c.bytes_moved == 2 * (1 << 20) + 80 + 100, "but count");
    nf_event e;
    tap_ok(nf_queue_record(q, &e) == NF_OK && nf_queue_wait(q, e) == NF_OK && nf_queue_drain(q) == NF_OK &&
               nf_queue_counted(q).host_waits == 1,
           "events and drains");
    tap_ok(nf_graph_begin(q, 1, &replayed) == NF_OK && !replayed && nf_graph_end(q, 1) == NF_OK, "no graphs");
    nf_queue_free(q);
    nf_arena_free(work);
    nf_device_free(d);
}

/* Laps of a queue on the host: what passes between two moments goes to the phase and part of the first. */
static void times(nf_device *d)
{
    double t[NF_LAP_PHASES][NF_LAP_PARTS], sum = 0, begin;
    nf_stopwatch *w = NULL, *second = NULL;
    nf_queue *q;
    nf_event e;
    struct op late = {.polls = 200};

    nf_queue_new(d, "compute", 0, NULL, &q);
    tap_ok(nf_stopwatch_new(q, true, true, &w) == NF_OK && w, "a stopwatch");
    tap_ok(nf_stopwatch_new(q, true, true, &second) == NF_EBUG, "one a device");
    nf_diagnosis_clear();
    begin = nf_seconds();
    bool good = nf_stopwatch_start(w, 1, 3, 2) == NF_OK;
    pass(0.02);
    good &= nf_stopwatch_phase(w, 1, 2) == NF_OK && nf_lap(q, 5) == NF_OK;
    pass(0.03);
    late.device = NULL;
    good &= nf_event_pending(d, &ops, &late, &e) == NF_OK && nf_queue_wait(q, e) == NF_OK;
    pass(0.01);
    good &= nf_stopwatch_stop(w) == NF_OK;
    const double all = nf_seconds() - begin;
    pass(0.01);
    good &= nf_lap(q, 7) == NF_OK && nf_stopwatch_read(w, 1, t) == NF_OK;
    for (int i = 0; i < NF_LAP_PHASES; i++)
        for (int k = 0; k < NF_LAP_PARTS; k++)
            sum += t[i][k];
    tap_ok(good && sum <= all && sum >= 0.06, "laps from start to stop are the whole time");
    tap_ok(t[3][2] >= 0.02 && t[1][5] >= 0.04 && t[1][NF_LAP_STILL] > 0 && t[1][7] == 0 && t[1][2] < t[1][5],
           "each with its phase and part; a wait apart, then the part goes on");
    good = nf_stopwatch_start(w, 0, 0, 1) == NF_OK && nf_stopwatch_read(w, 0, t) == NF_EBUG;
    nf_diagnosis_clear();
    for (int i = 0; i < 1000; i++)
        good &= nf_lap(q, 1 + (i & 1)) == NF_OK;
    good &= nf_stopwatch_stop(w) == NF_OK && nf_stopwatch_read(w, 0, t) == NF_OK && t[0][1] > 0 && t[0][2] > 0 && t[1][5] == 0;
    good &= nf_stopwatch_read(w, 1, t) == NF_OK && t[1][5] >= 0.04;
    tap_ok(good, "many laps; what runs is not read; the other bank stays");
    nf_stopwatch_free(w);
    good = nf_stopwatch_new(q, false, false, &w) == NF_OK && nf_stopwatch_start(w, 0, 0, 1) == NF_OK && nf_lap(q, 5) == NF_OK;
    late = (struct op){.polls = 200};
    good &= nf_event_pending(d, &ops, &late, &e) == NF_OK && nf_queue_wait(q, e) == NF_OK && nf_stopwatch_stop(w) == NF_OK;
    good &= nf_stopwatch_read(w, 0, t) == NF_OK && t[0][1] > 0 && t[0][5] == 0 && t[0][NF_LAP_STILL] == 0;
    tap_ok(good, "phases alone, if asked for no more");
    nf_stopwatch_free(w);
    nf_queue_free(q);
}

/* Linux says how much there is; what this process holds is not free. */
static void room(const nf_device *d)
{
    uint64_t all = 0, left = 0;
    const long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);

    tap_ok(nf_device_room(d, &all, &left) == NF_OK && left > 0 && left < all && all <= (uint64_t)page * (uint64_t)pages,
           "memory: %llu MiB, %llu free", (unsigned long long)(all >> 20), (unsigned long long)(left >> 20));
}

int main(void)
{
    nf_device *d = NULL;
    int table;
    tap_open();
    tap_ok(nf_device_host(0, &d) == NF_EBUG && !d, "no threads are our mistake");
    nf_diagnosis_clear();
    tap_ok(nf_device_host(3, &d) == NF_OK && nf_device_threads(d) == 3 && nf_device_kind(d) == NF_HOST &&
               !nf_device_is_dry(d) && nf_device_name(d)[0],
           "the host: %s", d ? nf_device_name(d) : "");
    nf_device_set_ops(d, &table);
    tap_ok(nf_device_ops(d) == &table, "keeps its ops");
    memory(d);
    room(d);
    copies(d);
    events(d);
    nesting(d);
    ring(d);
    times(d);
    nf_device_free(d);
    nf_device_free(NULL);
    dry(NF_HOST);
    dry(NF_CUDA);
    return tap_done();
}
