/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_trial.c: the arguments of a trial (cudarig.h): tensors on both sides, what they hold before a call, bounds. */
#include "cudarig.h"

#include <stdarg.h>

struct cuda_trial cuda_trial_new(struct cuda_rig *rig, cuda_call *call, const void *opt, const char *fmt, ...)
{
    struct cuda_trial t = {.rig = rig, .call = call, .opt = opt};
    va_list args;

    va_start(args, fmt);
    vsnprintf(t.what, sizeof t.what, fmt, args);
    va_end(args);
    return t;
}

static double draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / (double)(1ull << 52) - 1.0;
}

void cuda_put(void *data, nf_dtype type, int64_t i, double x)
{
    switch (type) {
    case NF_F32: ((float *)data)[i] = (float)x; break;
    case NF_BF16: ((uint16_t *)data)[i] = nf_f32_to_bf16((float)x); break;
    case NF_F16: ((uint16_t *)data)[i] = nf_f32_to_f16((float)x); break;
    case NF_F64: ((double *)data)[i] = x; break;
    default: cuda_must(NF_EBUG, "a type that is not drawn");
    }
}

double cuda_get(const void *data, nf_dtype type, int64_t i)
{
    switch (type) {
    case NF_F32: return (double)((const float *)data)[i];
    case NF_BF16: return (double)nf_bf16_to_f32(((const uint16_t *)data)[i]);
    case NF_F16: return (double)nf_f16_to_f32(((const uint16_t *)data)[i]);
    case NF_F64: return ((const double *)data)[i];
    case NF_I32: return (double)((const int32_t *)data)[i];
    case NF_I64: return (double)((const int64_t *)data)[i];
    case NF_I16: return (double)((const int16_t *)data)[i];
    default: return (double)((const unsigned char *)data)[i];
    }
}

void cuda_same_types(struct cuda_trial *t)
{
    cuda_must(t->args ? NF_EBUG : NF_OK, "types chosen after an argument");
    t->same_types = true;
}

/* The tensor of a new argument; `elements` are those of its whole allocation. */
static int add(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_tensor shape, int64_t elements)
{
    struct cuda_arg *a = &t->arg[t->args];

    cuda_must(t->args < CUDA_ARGS ? NF_OK : NF_EBUG, "too many arguments");
    *a = (struct cuda_arg){.name = name, .use = use, .noise = noise};
    a->bytes = a->wide_bytes = (size_t)elements * nf_dtype_size(shape.dtype);
    a->init = a->wide = cuda_grab(a->bytes);
    memset(a->init, 0xff, a->bytes); /* NaN, or -1 */
    a->side[0] = a->side[1] = shape;
    if (shape.dtype == NF_BF16 && !t->same_types && !t->rig->large) {
        a->side[0].dtype = NF_F32;
        a->wide_bytes = (size_t)elements * sizeof(float);
        a->wide = cuda_grab(a->wide_bytes);
    }
    if (!t->rig->large)
        cuda_must(nf_device_alloc(t->rig->device[0], a->wide_bytes, name, &a->side[0].data), "argument");
    cuda_must(nf_device_alloc(t->rig->device[1], a->bytes, name, &a->side[1].data), "argument");
    return t->args++;
}

int64_t cuda_offset(const nf_tensor *x, int64_t i)
{
    if (x->nd == 1)
        return i;
    if (x->nd == 2)
        return i / x->dim[1] * x->stride[0] + i % x->dim[1];
    const int64_t col = i % x->dim[2], row = i / x->dim[2];
    return row / x->dim[1] * x->stride[0] + row % x->dim[1] * x->stride[1] + col;
}

static int drawn(struct cuda_trial *t, int k, double spread)
{
    struct cuda_arg *a = &t->arg[k];
    uint64_t state = (uint64_t)(k + 1) * 2654435761u + (uint64_t)a->bytes;

    if (a->use != CUDA_OUT && t->rig->large) {
        const size_t size = nf_dtype_size(a->side[1].dtype),
                     some = (size_t)1 << 20 < a->bytes / size ? (size_t)1 << 20 : a->bytes / size;
        for (size_t i = 0; i < some; i++)
            cuda_put(a->init, a->side[1].dtype, (int64_t)i, spread * draw(&state));
        for (size_t i = some * size; i < a->bytes; i += some * size) /* again and again */
            memcpy((char *)a->init + i, a->init, a->bytes - i < some * size ? a->bytes - i : some * size);
    } else if (a->use != CUDA_OUT)
        for (int64_t i = 0, n = nf_tensor_count(&a->side[0]); i < n; i++)
            cuda_put(a->init, a->side[1].dtype, cuda_offset(&a->side[1], i), spread * draw(&state));
    return k;
}

int cuda_real(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t rows,
              int64_t cols, int64_t stride, double spread)
{
    stride = stride ? stride : cols;
    return drawn(t, add(t, name, use, noise, nf_matrix(NULL, type, rows, cols, stride), rows * stride), spread);
}

int cuda_cube(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t n, int64_t rows,
              int64_t cols, double spread)
{
    return drawn(t, add(t, name, use, noise, nf_cube(NULL, type, n, rows, cols), n * rows * cols), spread);
}

int cuda_flat(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t n,
              const void *contents)
{
    int k = add(t, name, use, noise, nf_vector(NULL, type, n), n);

    if (contents)
        memcpy(t->arg[k].init, contents, t->arg[k].bytes);
    else if (use != CUDA_OUT)
        memset(t->arg[k].init, 0, t->arg[k].bytes);
    return k;
}

float *cuda_initial(const struct cuda_trial *t, int arg, int64_t *n)
{
    const struct cuda_arg *a = &t->arg[arg];
    *n = nf_tensor_count(&a->side[1]);
    float *x = cuda_grab((size_t)*n * sizeof *x);
    for (int64_t i = 0; i < *n; i++)
        x[i] = (float)cuda_get(a->init, a->side[1].dtype, cuda_offset(&a->side[1], i));
    return x;
}

void cuda_as_vector(struct cuda_trial *t, int arg)
{
    for (int s = 0; s < 2; s++) {
        nf_tensor *x = &t->arg[arg].side[s];
        *x = nf_vector(x->data, x->dtype, nf_tensor_count(x));
    }
}

void cuda_rounded(struct cuda_trial *t, int arg, double worst, double square, double beside)
{
    t->arg[arg].worst = worst;
    t->arg[arg].square = square;
    t->arg[arg].beside = beside;
}

void cuda_joined(struct cuda_trial *t, int low, int w)
{
    t->arg[low].joined = 1 + w;
}
