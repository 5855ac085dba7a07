/* SPDX-License-Identifier: Apache-2.0 */
/* A GPU as a device: memory, copies, queues that wait for each other, events, the ring, graphs. Skipped where there is none. */
#include "nemafit/gpu.h"
#include "nemafit/ops.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1 << 22, SLOW = 1 << 29 };

struct rig {
    nf_device *d;
    nf_queue *q, *p;
    unsigned char *a, *b, *host; /* two blocks of the device, one pinned */
};

static bool all(const unsigned char *x, size_t n, unsigned char value)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] != value)
            return false;
    return true;
}

static void memory(struct rig *r)
{
    void *p = &r;
    memset(r->host, 0xee, N);
    tap_ok(!nf_copy(r->q, r->host, r->a, N) && !nf_queue_drain(r->q) && all(r->host, N, 0), "device memory comes zeroed");
    tap_ok(nf_device_alloc(r->d, (size_t)1 << 50, "the sea", &p) == NF_ENOMEM && p == &r && strstr(nf_diagnosis(), "the sea") &&
               strstr(nf_diagnosis(), "are free"),
           "too much is refused by name, with what is free: %s", nf_diagnosis());
    nf_diagnosis_clear();
    tap_ok(!nf_device_alloc(r->d, 0, "nothing", &p) && p, "no bytes are an address");
    nf_device_release(r->d, p, 0);
}

static void copies(struct rig *r)
{
    unsigned char *plain = calloc(N, 1);
    bool good = plain != NULL;

    for (size_t i = 0; i < N; i++)
        r->host[i] = (unsigned char)(i * 7 + i / 256);
    good = good && !nf_copy(r->q, r->a, r->host, N) && !nf_copy(r->q, r->b, r->a, N) && !nf_copy(r->q, plain, r->b, N) &&
           !nf_queue_drain(r->q);
    tap_ok(good && memcmp(plain, r->host, N) == 0, "pinned to device to device to plain memory");
    good = !nf_fill_zero(r->q, r->b, N) && !nf_copy_2d(r->q, r->b + 3, 100, r->a + 5, 64, 33, 50) &&
           !nf_copy(r->q, plain, r->b, N) && !nf_queue_drain(r->q);
    bool right = good;
    for (size_t i = 0; right && i < 50 * 100 + 200; i++) {
        const size_t row = i >= 3 ? (i - 3) / 100 : 0, col = i >= 3 ? (i - 3) % 100 : 99;
        right = plain[i] == (row < 50 && col < 33 ? r->host[5 + row * 64 + col] : 0);
    }
    tap_ok(right, "rows of other pitches");
    free(plain);
}

/* A queue fills a block slowly, another waits for it and copies: nothing but the event orders them. */
static void order(struct rig *r)
{
    bool good = true;
    int64_t waits = nf_device_host_waits(r->d);

    for (int k = 0; k < 100 && good; k++) {
        nf_tensor t = nf_vector(r->a, NF_F32, N / 4);
        nf_event filled, taken;
        for (int i = 0; i < 4; i++)
            good = good && !nf_fill(r->q, &t, (float)(k * 10 + i));
        good = good && !nf_queue_record(r->q, &filled) && !nf_queue_wait(r->p, filled) && !nf_copy(r->p, r->b, r->a, N) &&
               !nf_queue_record(r->p, &taken) && !nf_queue_wait(r->q, taken);
        if (k % 25 == 24) {
            good = good && !nf_copy(r->p, r->host, r->b, N) && !nf_queue_drain(r->p);
            for (size_t i = 0; i < N / 4 && good; i++)
                good = ((float *)(void *)r->host)[i] == (float)(k * 10 + 3);
        }
    }
    tap_ok(good, "queues wait for each other's records: %s", nf_diagnosis());
    tap_ok(nf_device_host_waits(r->d) == waits + 4, "and the host for none of them, only for its own 4 drains");
}

static void events(struct rig *r)
{
    nf_event first, last = NF_DONE;
    bool good = nf_event_done(r->d, NF_DONE) && !nf_fill_zero(r->q, r->a, N) && !nf_queue_record(r->q, &first);
    int64_t waits = nf_device_host_waits(r->d);

    good = good && !nf_event_host_wait(r->d, first) && nf_event_done(r->d, first);
    tap_ok(good && nf_device_host_waits(r->d) == waits + 1, "the host waits for an event, counted");
    for (int i = 0; i < 3000 && good; i++)
        good = !nf_fill_zero(r->q, r->a, 1024) && !nf_queue_record(r->q, &last);
    good = good && !nf_event_host_wait(r->d, last) && !nf_queue_wait(r->p, first);
    tap_ok(good && nf_event_done(r->d, first) && nf_event_done(r->d, last), "more events than the ring has slots");
}

/* y = x + x under a key: the replay reads what x is by then. */
static void graphs(struct rig *r)
{
    nf_tensor x = nf_vector(r->a, NF_F32, 1000), y = nf_vector(r->b, NF_F32, 1000);
    bool good = true, replays = true;

    for (int k = 0; k < 5; k++) {
        bool replayed = false;
        good = good && !nf_fill(r->q, &x, (float)k) && !nf_graph_begin(r->q, 42, &replayed);
        if (good && !replayed)
            good = !nf_add(r->q, &y, &x, &x) && !nf_add(r->q, &y, &y, &x) && !nf_graph_end(r->q, 42);
        replays = replays && replayed == (k > 0);
        good = good && !nf_copy(r->q, r->host, r->b, 4000) && !nf_queue_drain(r->q);
        for (size_t i = 0; i < 1000 && good; i++)
            good = ((float *)(void *)r->host)[i] == 3.0f * (float)k;
    }
    tap_ok(good && replays, "captured once, replayed four times: %s", nf_diagnosis());
}

static bool slow(nf_queue *q, void *block, int times)
{
    bool good = true;
    for (int i = 0; i < times && good; i++)
        good = !nf_fill_zero(q, block, SLOW);
    return good;
}

/* Laps of 10 and 40 equal pieces of work, then a wait for another queue's 20, which begin with the wait since the two share the
 * memory: the device's times, read when they are over. */
static void times(struct rig *r)
{
    double t[NF_LAP_PHASES][NF_LAP_PARTS];
    nf_stopwatch *w = NULL;
    void *block = NULL, *other = NULL;
    nf_event here, elsewhere, over;
    const int64_t waits = nf_device_host_waits(r->d);

    bool good = !nf_device_alloc(r->d, SLOW, "slow", &block) && !nf_device_alloc(r->d, SLOW, "other", &other) &&
                !nf_stopwatch_new(r->q, true, true, &w);
    good = good && !nf_stopwatch_start(w, 0, 1, 1) && slow(r->q, block, 10) && !nf_lap(r->q, 2) && slow(r->q, block, 40) &&
           !nf_queue_record(r->q, &here) && !nf_queue_wait(r->p, here) && slow(r->p, other, 20) &&
           !nf_queue_record(r->p, &elsewhere) && !nf_queue_wait(r->q, elsewhere) && !nf_stopwatch_phase(w, 2, 3) &&
           slow(r->q, block, 10) && !nf_stopwatch_stop(w) && !nf_queue_record(r->q, &over);
    tap_ok(good && nf_stopwatch_read(w, 0, t) == NF_EBUG, "what is not over has no time");
    nf_diagnosis_clear();
    tap_ok(nf_device_host_waits(r->d) == waits, "the host waits for no time");
    good = good && !nf_event_host_wait(r->d, over) && !nf_stopwatch_read(w, 0, t);
    tap_ok(good && t[1][2] > 3 * t[1][1] && t[1][2] < 5 * t[1][1] && t[1][NF_LAP_STILL] > 1.5 * t[1][1] &&
               t[1][NF_LAP_STILL] < 3 * t[1][1] && t[2][3] > 0.5 * t[1][1] && t[2][3] < 2 * t[1][1],
           "laps as long as their work: %.3f, %.3f, still %.3f, then %.3f ms", 1e3 * t[1][1], 1e3 * t[1][2],
           1e3 * t[1][NF_LAP_STILL], 1e3 * t[2][3]);
    nf_stopwatch_free(w);
    nf_device_release(r->d, block, SLOW);
    nf_device_release(r->d, other, SLOW);
}

int main(void)
{
    struct rig r = {0};

    if (nf_device_cuda(0, 1, &r.d)) {
        const char *why = nf_diagnosis();
        printf("1..0 # SKIP %.*s\n", (int)strcspn(why, "\n"), why);
        return 0;
    }
    tap_open();
    const struct nf_gpu_info *info = nf_device_gpu_info(r.d);
    tap_ok(nf_device_kind(r.d) == NF_CUDA && !nf_device_is_dry(r.d) && *nf_device_name(r.d) && info->bytes > info->free_bytes &&
               info->processors > 0,
           "a GPU: %s, %s", nf_device_name(r.d), info->about);
    bool made = !nf_device_alloc(r.d, N, "a", (void **)&r.a) && !nf_device_alloc(r.d, N, "b", (void **)&r.b) &&
                !nf_device_alloc_pinned(r.d, N, "host", (void **)&r.host) && !nf_queue_new(r.d, "one", 0, NULL, &r.q) &&
                !nf_queue_new(r.d, "two", 1, NULL, &r.p);
    tap_ok(made, "memory and queues: %s", nf_diagnosis());
    if (made) {
        memory(&r);
        copies(&r);
        order(&r);
        events(&r);
        graphs(&r);
        times(&r);
    }
    nf_queue_free(r.q);
    nf_queue_free(r.p);
    nf_device_release(r.d, r.a, N);
    nf_device_release(r.d, r.b, N);
    nf_device_release(r.d, r.host, N);
    nf_device_free(r.d);
    return tap_done();
}
