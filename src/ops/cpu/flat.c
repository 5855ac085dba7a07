/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flat.c: element by element: cast, add, fill, and the sum of squares. Tensors without gaps are one run; others go row by row.
 * Sums of squares are in fp64, per piece of SQUARES elements and then over the pieces in order.
 */
#include "cpu.h"
#include "half.h"
#include "parts.h"
#include "scratch.h"

#include <string.h>

enum { CHUNK = 16384, SQUARES = 65536 };

/* A tensor of up to three dimensions as rows of contiguous elements. */
struct flat {
    const nf_tensor *t[3];
    int64_t rows, cols;
    float value;
};

static int64_t row_offset(const nf_tensor *t, int64_t row, bool whole)
{
    if (whole || t->nd == 1)
        return 0;
    return t->nd == 2 ? row * t->stride[0] : row / t->dim[1] * t->stride[0] + row % t->dim[1] * t->stride[1];
}

static void *at(const struct flat *s, int which, int64_t row, int64_t col)
{
    const nf_tensor *t = s->t[which];

    return (char *)t->data + (size_t)(row_offset(t, row, s->rows == 1) + col) * nf_dtype_size(t->dtype);
}

static struct flat flat_of(const nf_tensor *y, const nf_tensor *a, const nf_tensor *b)
{
    struct flat s = {.t = {y, a, b}};
    int64_t count = nf_tensor_count(y);
    bool dense = nf_tensor_dense(y) && (!a || nf_tensor_dense(a)) && (!b || nf_tensor_dense(b));

    s.cols = dense ? count : y->dim[y->nd - 1];
    s.rows = dense ? 1 : s.cols ? count / s.cols : 0;
    return s;
}

/* Tiles: pieces of CHUNK columns of each row. */
static int64_t tiles(const struct flat *s)
{
    return s->rows * ((s->cols + CHUNK - 1) / CHUNK);
}

static int64_t place(const struct flat *s, int64_t tile, int64_t *row, int64_t *col)
{
    int64_t across = (s->cols + CHUNK - 1) / CHUNK;

    *row = tile / across;
    *col = tile % across * CHUNK;
    return s->cols - *col < CHUNK ? s->cols - *col : CHUNK;
}

NF_CLONES static void widen_bf16(float *y, const uint16_t *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = nf_vfrom_bf16(x[i]);
}

NF_CLONES static void narrow_bf16(uint16_t *y, const float *x, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = nf_vto_bf16(x[i]);
}

static float load(const void *x, nf_dtype type, int64_t i)
{
    if (type == NF_F32)
        return ((const float *)x)[i];
    return type == NF_BF16 ? nf_bf16_to_f32(((const uint16_t *)x)[i]) : nf_f16_to_f32(((const uint16_t *)x)[i]);
}

static void cast_tile(void *ctx, int64_t tile)
{
    const struct flat *s = ctx;
    int64_t row, col, n = place(s, tile, &row, &col);
    nf_dtype to = s->t[0]->dtype, from = s->t[1]->dtype;
    void *y = at(s, 0, row, col);
    const void *x = at(s, 1, row, col);

    if (to == from) {
        memcpy(y, x, (size_t)n * nf_dtype_size(to));
    } else if (to == NF_F32 && from == NF_BF16) {
        widen_bf16(y, x, n);
    } else if (to == NF_BF16 && from == NF_F32) {
        narrow_bf16(y, x, n);
    } else {
        for (int64_t i = 0; i < n; i++) {
            float v = load(x, from, i);
            if (to == NF_F32)
                ((float *)y)[i] = v;
            else
                ((uint16_t *)y)[i] = to == NF_BF16 ? nf_f32_to_bf16(v) : nf_f32_to_f16(v);
        }
    }
}

nf_status nf_cpu_cast(nf_queue *q, nf_out y, nf_in x)
{
    struct flat s = flat_of(y, x, NULL);

    nf_cpu_tiles(q, tiles(&s), cast_tile, &s);
    return NF_OK;
}

NF_CLONES static void add_f32(float *y, const float *a, const float *b, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

NF_CLONES static void add_bf16(uint16_t *y, const uint16_t *a, const uint16_t *b, int64_t n)
{
    NF_SIMD
    for (int64_t i = 0; i < n; i++)
        y[i] = nf_vto_bf16(nf_vfrom_bf16(a[i]) + nf_vfrom_bf16(b[i]));
}

static void add_tile(void *ctx, int64_t tile)
{
    const struct flat *s = ctx;
    int64_t row, col, n = place(s, tile, &row, &col);

    if (s->t[0]->dtype == NF_F32)
        add_f32(at(s, 0, row, col), at(s, 1, row, col), at(s, 2, row, col), n);
    else
        add_bf16(at(s, 0, row, col), at(s, 1, row, col), at(s, 2, row, col), n);
}

nf_status nf_cpu_add(nf_queue *q, nf_out y, nf_in a, nf_in b)
{
    struct flat s = flat_of(y, a, b);

    nf_cpu_tiles(q, tiles(&s), add_tile, &s);
    return NF_OK;
}

static void fill_tile(void *ctx, int64_t tile)
{
    const struct flat *s = ctx;
    int64_t row, col, n = place(s, tile, &row, &col);
    void *y = at(s, 0, row, col);

    if (s->t[0]->dtype == NF_F32) {
        float *f = y;
        for (int64_t i = 0; i < n; i++)
            f[i] = s->value;
    } else {
        uint16_t *h = y, bits = nf_f32_to_bf16(s->value);
        for (int64_t i = 0; i < n; i++)
            h[i] = bits;
    }
}

nf_status nf_cpu_fill(nf_queue *q, nf_out y, float value)
{
    struct flat s = flat_of(y, NULL, NULL);

    s.value = value;
    nf_cpu_tiles(q, tiles(&s), fill_tile, &s);
    return NF_OK;
}

struct squares {
    nf_tensor x;
    double *part;
};

NF_CLONES static double squares_f32(const float *x, int64_t n)
{
    double sum = 0.0;

    NF_SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

NF_CLONES static double squares_bf16(const uint16_t *x, int64_t n)
{
    double sum = 0.0;

    NF_SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++) {
        double v = (double)nf_vfrom_bf16(x[i]);
        sum += v * v;
    }
    return sum;
}

static void squares_tile(void *ctx, int64_t tile)
{
    const struct squares *s = ctx;
    int64_t from = tile * SQUARES, n = s->x.dim[0] - from < SQUARES ? s->x.dim[0] - from : SQUARES;

    s->part[tile] = s->x.dtype == NF_F32 ? squares_f32((const float *)s->x.data + from, n)
                                         : squares_bf16((const uint16_t *)s->x.data + from, n);
}

size_t nf_cpu_sumsq_scratch(nf_in x)
{
    return (size_t)((x->dim[0] + SQUARES - 1) / SQUARES) * sizeof(double);
}

nf_status nf_cpu_sumsq(nf_queue *q, double *sum, nf_in x, void *scratch)
{
    struct squares s = {*x, scratch};
    int64_t pieces = (x->dim[0] + SQUARES - 1) / SQUARES;

    nf_cpu_tiles(q, pieces, squares_tile, &s);
    for (int64_t i = 0; i < pieces; i++)
        *sum += s.part[i];
    return NF_OK;
}

/* Serial: it is for tests here */
nf_status nf_cpu_mismatch(nf_queue *q, int64_t *count, nf_in a, nf_in b)
{
    const size_t size = nf_dtype_size(a->dtype);
    const char *x = a->data, *y = b->data;

    (void)q;
    for (int64_t i = 0; i < a->dim[0]; i++)
        *count += memcmp(x + (size_t)i * size, y + (size_t)i * size, size) != 0;
    return NF_OK;
}
