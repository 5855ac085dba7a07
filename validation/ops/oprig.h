/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oprig.h: what the tests of large ops share: a host device with a queue and a work arena, the same ops on a dry device,
 * numbers drawn from a fixed sequence, and comparison with references in fp64. Errors are relative to the largest reference
 * value.
 */
#ifndef NEMAFIT_VALIDATION_OPRIG_H
#define NEMAFIT_VALIDATION_OPRIG_H

#include "nemafit/ops.h"
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rig {
    nf_device *device;
    nf_arena *work;
    nf_queue *q;
    void *block;
    size_t bytes;
};

static inline void must(nf_status s, const char *what)
{
    if (s == NF_OK)
        return;
    printf("Bail out! %s: %s: %s\n", what, nf_status_name(s), nf_diagnosis());
    exit(1);
}

static inline struct rig rig_open(int threads)
{
    struct rig r = {.bytes = (size_t)32 << 20};
    must(nf_device_host(threads, &r.device), "device");
    must(nf_ops_attach(r.device), "ops");
    must(nf_device_alloc(r.device, r.bytes, "work", &r.block), "work memory");
    memset(r.block, 0xff, r.bytes); /* NaN: scratch that is read before it is written shows */
    must(nf_arena_new("work", r.block, r.bytes, &r.work), "work arena");
    must(nf_queue_new(r.device, "compute", 0, r.work, &r.q), "queue");
    return r;
}

/* Nothing was written beyond the scratch that the ops took. The sanitizer holds that memory for forbidden; its own checks cover
 * the same ground. */
#ifdef __SANITIZE_ADDRESS__
static inline bool rig_within(const struct rig *r)
{
    return r->block != NULL;
}
#else
static inline bool rig_within(const struct rig *r)
{
    const unsigned char *p = (const unsigned char *)r->block + nf_arena_peak(r->work);
    const size_t n = r->bytes - nf_arena_peak(r->work);
    return n == 0 || (p[0] == 0xff && memcmp(p, p + 1, n - 1) == 0);
}
#endif

/* No memory, nothing launched; its arena counts. */
static inline struct rig rig_dry(void)
{
    struct rig r = {0};
    must(nf_device_dry(NF_HOST, &r.device), "dry device");
    must(nf_arena_new("work", NULL, 0, &r.work), "counting arena");
    must(nf_queue_new(r.device, "compute", 0, r.work, &r.q), "queue");
    return r;
}

static inline void rig_close(struct rig *r)
{
    nf_queue_free(r->q);
    nf_arena_free(r->work);
    if (r->block)
        nf_device_release(r->device, r->block, r->bytes);
    nf_device_free(r->device);
}

static inline void *grab(int64_t count, size_t size)
{
    void *p = calloc((size_t)(count > 0 ? count : 1), size);
    if (!p)
        must(NF_ENOMEM, "test memory");
    return p;
}

/* Numbers in [-1, 1) */
static inline double draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / (double)(1ull << 52) - 1.0;
}

static inline void fill_random(float *x, int64_t n, double spread, uint64_t seed)
{
    uint64_t state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(spread * draw(&state));
}

static inline void fill_value(float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = value;
}

static inline double *widen(const float *x, int64_t n)
{
    double *y = grab(n, sizeof *y);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

/* A matrix as columns [first, first + cols) of one with `wide` columns, filled from a dense one, in fp32 or bf16; the rest is a
 * guard value. */
struct slice {
    nf_tensor t, all;
    int64_t first;
};
static inline struct slice slice_new(nf_dtype type, int64_t rows, int64_t cols, int64_t first, int64_t wide, const float *from)
{
    struct slice s = {.first = first};
    void *data = grab(rows * wide, nf_dtype_size(type));
    s.all = nf_matrix(data, type, rows, wide, wide);
    s.t = nf_columns(s.all, first, cols);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < wide; j++) {
            const bool in = j >= first && j < first + cols;
            const float x = in ? (from ? from[i * cols + j - first] : -7.0f) : 13.0f;
            if (type == NF_F32)
                ((float *)data)[i * wide + j] = x;
            else
                ((uint16_t *)data)[i * wide + j] = nf_f32_to_bf16(x);
        }
    return s;
}
static inline float slice_at(const struct slice *s, int64_t i, int64_t j)
{
    const int64_t at = i * s->all.stride[0] + j;
    return s->all.dtype == NF_F32 ? ((const float *)s->all.data)[at] : nf_bf16_to_f32(((const uint16_t *)s->all.data)[at]);
}
/* Dense copy of the slice. */
static inline float *slice_get(const struct slice *s)
{
    const int64_t rows = s->t.dim[0], cols = s->t.dim[1];
    float *x = grab(rows * cols, sizeof *x);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            x[i * cols + j] = slice_at(s, i, s->first + j);
    return x;
}
/* Nothing was written beside the slice. */
static inline bool slice_guarded(const struct slice *s)
{
    for (int64_t i = 0; i < s->all.dim[0]; i++)
        for (int64_t j = 0; j < s->all.dim[1]; j++)
            if ((j < s->first || j >= s->first + s->t.dim[1]) && slice_at(s, i, j) != 13.0f)
                return false;
    return true;
}
static inline void slice_free(struct slice *s)
{
    free(s->all.data);
}

/* Largest difference over the largest reference value, or over `size` if that is larger: the size of the terms where the value
 * itself may vanish by cancellation. Not finite counts as infinite. */
static inline double error_of(const float *got, const double *want, int64_t n, double size)
{
    double top = size > 1e-30 ? size : 1e-30, worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - want[i]);
        top = fabs(want[i]) > top ? fabs(want[i]) : top;
        if (!(d <= worst))
            worst = isfinite(d) ? d : INFINITY;
    }
    return worst / top;
}

static inline bool near(const float *got, const double *want, int64_t n, double size, double bound, const char *what,
                        const char *name)
{
    const double e = error_of(got, want, n, size);
    const bool ok = tap_ok(e <= bound, "%s: %s", what, name);
    if (!ok || getenv("NF_TEST_VERBOSE"))
        tap_note("error %.3g, bound %.3g", e, bound);
    return ok;
}

static inline bool same_bits(const float *a, const float *b, int64_t n)
{
    return n == 0 || memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

#endif
