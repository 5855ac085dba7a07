/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products on a GPU whose algorithm is chosen by timing: they stay right, the choices leave and come back as bytes, and each of
 * a large shape's gives the same bits a thousand times. Skipped where there is no GPU.
 */
#include "nemafit/gpu.h"
#include "nemafit/log.h"
#include "nemafit/ops.h"
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The in-projection of a 30B hybrid on 4,096 tokens, and what is odd */
static const int64_t shape[][3] = {{4096, 10304, 2688}, {333, 264, 130}};
enum { T = 4096, N = 10304, K = 2688, REPEATS = 1000, CHECKS = 200 };

struct rig {
    nf_device *d;
    nf_queue *q;
    nf_arena *work;
    void *block, *memory;
    size_t work_bytes, memory_bytes;
    uint16_t *x, *w, *dy, *y, *dx; /* on the device */
    float *dw;
};

static nf_status products(struct rig *r, int64_t t, int64_t n, int64_t k)
{
    const nf_tensor x = nf_matrix(r->x, NF_BF16, t, k, k), w = nf_matrix(r->w, NF_BF16, n, k, k),
                    dy = nf_matrix(r->dy, NF_BF16, t, n, n), y = nf_matrix(r->y, NF_BF16, t, n, n),
                    dx = nf_matrix(r->dx, NF_BF16, t, k, k), dw = nf_matrix(r->dw, NF_F32, n, k, k);
    const struct nf_linear_arg none = {0};

    NF_TRY(nf_linear(r->q, &y, NULL, &x, &w, &none));
    NF_TRY(nf_linear_dgrad(r->q, &dx, NULL, &dy, &w, NULL, &none));
    return nf_linear_wgrad(r->q, (nf_grad){dw, false}, (nf_grad){{0}, false}, &dy, &x);
}

static nf_status fetch(struct rig *r, void *to, const void *from, size_t bytes)
{
    NF_TRY(nf_copy(r->q, to, from, bytes));
    return nf_queue_drain(r->q);
}

/* All results as they are now, one after the other */
static nf_status results(struct rig *r, int64_t t, int64_t n, int64_t k, char *to)
{
    NF_TRY(fetch(r, to, r->y, (size_t)(t * n) * 2));
    NF_TRY(fetch(r, to + (size_t)(t * n) * 2, r->dx, (size_t)(t * k) * 2));
    return fetch(r, to + (size_t)(t * (n + k)) * 2, r->dw, (size_t)(n * k) * 4);
}

static size_t result_bytes(int64_t t, int64_t n, int64_t k)
{
    return (size_t)(t * (n + k)) * 2 + (size_t)(n * k) * 4;
}

static void draw(uint16_t *x, size_t n, float spread, uint64_t seed)
{
    uint64_t state = seed;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = nf_f32_to_bf16(spread * ((float)(state >> 40) * 0x1p-23f - 1.0f));
    }
}

/* A few elements of each product against sums in double */
static bool right(const uint16_t *x, const uint16_t *w, const uint16_t *dy, const char *got, int64_t t, int64_t n, int64_t k)
{
    const uint16_t *y = (const uint16_t *)(const void *)got, *dx = y + t * n;
    const float *dw = (const float *)(const void *)(dx + t * k);
    uint64_t state = 5;
    for (int c = 0; c < CHECKS; c++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const int64_t a = (int64_t)((state >> 33) % (uint64_t)t), b = (int64_t)((state >> 21) % (uint64_t)n),
                      e = (int64_t)((state >> 11) % (uint64_t)k);
        double fwd = 0, dgrad = 0, wgrad = 0;
        for (int64_t i = 0; i < k; i++)
            fwd += (double)nf_bf16_to_f32(x[a * k + i]) * (double)nf_bf16_to_f32(w[b * k + i]);
        for (int64_t i = 0; i < n; i++)
            dgrad += (double)nf_bf16_to_f32(dy[a * n + i]) * (double)nf_bf16_to_f32(w[i * k + e]);
        for (int64_t i = 0; i < t; i++)
            wgrad += (double)nf_bf16_to_f32(dy[i * n + b]) * (double)nf_bf16_to_f32(x[i * k + e]);
        /* a rounding of the result, and of sums of terms of size 1 / 3 */
        if (fabs((double)nf_bf16_to_f32(y[a * n + b]) - fwd) > fabs(fwd) * 0x1p-8 + 1e-4 ||
            fabs((double)nf_bf16_to_f32(dx[a * k + e]) - dgrad) > fabs(dgrad) * 0x1p-8 + 1e-4 ||
            fabs((double)dw[b * k + e] - wgrad) > fabs(wgrad) * 1e-6 + 1e-3)
            return false;
    }
    return true;
}

/* TFLOP/s of the three products of the large shape together */
static double rate(struct rig *r)
{
    enum { ROUNDS = 20 };
    if (products(r, T, N, K) || nf_queue_drain(r->q))
        return 0;
    const double begin = nf_seconds();
    for (int i = 0; i < ROUNDS; i++)
        if (products(r, T, N, K))
            return 0;
    if (nf_queue_drain(r->q))
        return 0;
    return ROUNDS * 6.0 * T * N * K / (nf_seconds() - begin) / 1e12;
}

static void choices(struct rig *r)
{
    void *bytes = NULL, *again = NULL;
    char why[320] = "";
    size_t n = 0, m = 0;
    bool taken = false, other = true;

    tap_ok(nf_ops_undecided(r->d) == 6, "six shapes met, none decided: %d", nf_ops_undecided(r->d));
    const double before = rate(r);
    tap_ok(!nf_ops_choose(r->q, r->memory, r->memory_bytes) && nf_ops_undecided(r->d) == 0, "timed: %s", nf_diagnosis());
    tap_note("in-projection forward, dgrad and wgrad: %.0f TFLOP/s by the heuristic, %.0f by timing", before, rate(r));
    bool good = !nf_ops_choices(r->d, &bytes, &n) && !nf_ops_take_choices(r->d, bytes, n, &taken) && taken &&
                !nf_ops_choices(r->d, &again, &m) && m == n && memcmp(bytes, again, n) == 0;
    tap_ok(good, "%zu bytes of choices come back as they left", n);
    tap_ok(good && nf_ops_choices_fit(r->d, bytes, n, why), "they fit this library and this GPU");
    if (bytes)
        ((char *)bytes)[24] ^= 1; /* the GPU's name */
    tap_ok(good && !nf_ops_choices_fit(r->d, bytes, n, why) && strstr(why, "they are of cuBLASLt "), "another GPU's: %s", why);
    if (bytes)
        ((char *)bytes)[8] ^= 1; /* the version */
    tap_ok(good && !nf_ops_choices_fit(r->d, bytes, n, why) && strstr(why, "this is cuBLASLt "), "another version's: %s", why);
    tap_ok(good && !nf_ops_choices_fit(r->d, bytes, n - 1, why) && strstr(why, "form"), "cut short: %s", why);
    tap_ok(good && !nf_ops_take_choices(r->d, bytes, n, &other) && !other, "those of another version are not taken");
    tap_ok(!nf_ops_take_choices(r->d, "nothing", 7, &other) && !other, "nor what are none");
    free(bytes);
    free(again);
}

static void repeat(struct rig *r, char *first, char *now)
{
    const size_t bytes = result_bytes(T, N, K);
    int different = 0;
    bool good = !products(r, T, N, K) && !results(r, T, N, K, first);

    for (int i = 1; i < REPEATS && good; i++) {
        good = !products(r, T, N, K);
        if (i % 100 == 99 || i < 3) { /* a difference would most often stay: what is written is not read */
            good = good && !results(r, T, N, K, now);
            different += good && memcmp(first, now, bytes) != 0;
        }
    }
    tap_ok(good && !different, "the same bits in %d repetitions: %s", REPEATS, nf_diagnosis());
}

/* A sample has a shape of each product for each of its tokens: more than are kept. Those that were timed stay. */
static void many(struct rig *r, const uint16_t *x, const uint16_t *w)
{
    enum { SHAPES = 1100, WIDE = 64, COLS = 8 };
    const nf_tensor weight = nf_matrix(r->w, NF_BF16, COLS, WIDE, WIDE);
    const struct nf_linear_arg none = {0};
    uint16_t y[SHAPES * COLS];
    double worst = 0;
    bool good = true;

    for (int t = 1; t <= SHAPES && good; t++) {
        const nf_tensor in = nf_matrix(r->x, NF_BF16, t, WIDE, WIDE), out = nf_matrix(r->y, NF_BF16, t, COLS, COLS);
        good = !nf_linear(r->q, &out, NULL, &in, &weight, &none);
    }
    good = good && !fetch(r, y, r->y, sizeof y);
    for (int i = 0; i < SHAPES * COLS && good; i++) {
        double sum = 0;
        for (int k = 0; k < WIDE; k++)
            sum += (double)nf_bf16_to_f32(x[i / COLS * WIDE + k]) * (double)nf_bf16_to_f32(w[i % COLS * WIDE + k]);
        worst = fmax(worst, fabs((double)nf_bf16_to_f32(y[i]) - sum) - 0x1p-8 * fabs(sum));
    }
    tap_ok(good && worst < 1e-5, "%d shapes more: %g beyond a rounding: %s", SHAPES, worst, nf_diagnosis());
}

static bool take(struct rig *r)
{
    r->work_bytes = (size_t)64 << 20;
    r->memory_bytes = (size_t)1 << 30;
    return !nf_device_alloc(r->d, r->work_bytes, "work", &r->block) &&
           !nf_arena_new("work", r->block, r->work_bytes, &r->work) && !nf_queue_new(r->d, "compute", 0, r->work, &r->q) &&
           !nf_device_alloc(r->d, r->memory_bytes, "memory", &r->memory) &&
           !nf_device_alloc(r->d, (size_t)T * K * 2, "x", (void **)&r->x) &&
           !nf_device_alloc(r->d, (size_t)N * K * 2, "w", (void **)&r->w) &&
           !nf_device_alloc(r->d, (size_t)T * N * 2, "dy", (void **)&r->dy) &&
           !nf_device_alloc(r->d, (size_t)T * N * 2, "y", (void **)&r->y) &&
           !nf_device_alloc(r->d, (size_t)T * K * 2, "dx", (void **)&r->dx) &&
           !nf_device_alloc(r->d, (size_t)N * K * 4, "dw", (void **)&r->dw);
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
    uint16_t *x = malloc((size_t)T * K * 2), *w = malloc((size_t)N * K * 2), *dy = malloc((size_t)T * N * 2);
    char *first = malloc(result_bytes(T, N, K)), *now = malloc(result_bytes(T, N, K));
    if (tap_ok(x && w && dy && first && now && take(&r), "memory: %s", nf_diagnosis())) {
        draw(x, (size_t)T * K, 1, 1);
        draw(w, (size_t)N * K, 0.1f, 2);
        draw(dy, (size_t)T * N, 0.1f, 3);
        bool sent = !nf_copy(r.q, r.x, x, (size_t)T * K * 2) && !nf_copy(r.q, r.w, w, (size_t)N * K * 2) &&
                    !nf_copy(r.q, r.dy, dy, (size_t)T * N * 2) && !nf_queue_drain(r.q);
        for (int pass = 0; pass < 2; pass++) {
            for (int i = 1; i >= 0; i--) {
                const int64_t t = shape[i][0], n = shape[i][1], k = shape[i][2];
                tap_ok(sent && !products(&r, t, n, k) && !results(&r, t, n, k, first) && right(x, w, dy, first, t, n, k),
                       "products of [%lld, %lld, %lld] %s: %s", (long long)t, (long long)n, (long long)k,
                       pass ? "as timed" : "by the heuristic", nf_diagnosis());
            }
            if (!pass)
                choices(&r);
        }
        many(&r, x, w);
        repeat(&r, first, now);
    }
    nf_queue_free(r.q);
    nf_device_free(r.d); /* the process gives the GPU's memory back */
    return tap_done();
}
