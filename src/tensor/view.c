/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: shapes over memory that somebody else owns. They are plain values; a view without memory (data NULL, a gradient that
 * is not wanted) stays without when it is cut.
 */
#include "nemafit/tensor.h"

#include <stdio.h>

nf_tensor nf_vector(void *data, nf_dtype t, int64_t n)
{
    return (nf_tensor){.data = data, .dtype = t, .nd = 1, .dim = {n, 1, 1}, .stride = {1, 1}};
}

nf_tensor nf_matrix(void *data, nf_dtype t, int64_t rows, int64_t cols, int64_t stride)
{
    return (nf_tensor){.data = data, .dtype = t, .nd = 2, .dim = {rows, cols, 1}, .stride = {stride, 1}};
}

nf_tensor nf_cube(void *data, nf_dtype t, int64_t n, int64_t rows, int64_t cols)
{
    return (nf_tensor){.data = data, .dtype = t, .nd = 3, .dim = {n, rows, cols}, .stride = {rows * cols, cols}};
}

static void *moved(const nf_tensor *a, int64_t elements)
{
    return a->data ? (char *)a->data + elements * (int64_t)nf_dtype_size(a->dtype) : NULL;
}

nf_tensor nf_columns(nf_tensor a, int64_t first, int64_t count)
{
    a.data = moved(&a, first);
    a.dim[1] = count;
    return a;
}

nf_tensor nf_rows(nf_tensor a, int64_t first, int64_t count)
{
    a.data = moved(&a, first * a.stride[0]);
    a.dim[0] = count;
    return a;
}

int64_t nf_tensor_count(const nf_tensor *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->nd; i++)
        n *= a->dim[i];
    return n;
}

/* Strides of dimensions with one element, and of tensors with none, say nothing. */
bool nf_tensor_dense(const nf_tensor *a)
{
    if (a->nd == 0 || nf_tensor_count(a) == 0)
        return true;
    int64_t run = a->dim[a->nd - 1];
    for (int i = a->nd - 2; i >= 0; i--) {
        if (a->dim[i] > 1 && a->stride[i] != run)
            return false;
        run *= a->dim[i];
    }
    return true;
}

const char *nf_tensor_show(char out[96], const nf_tensor *a)
{
    enum { SIZE = 96 };
    size_t n = (size_t)snprintf(out, SIZE, "%s [", nf_dtype_name(a->dtype));
    for (int i = 0; i < a->nd && n < SIZE; i++)
        n += (size_t)snprintf(out + n, SIZE - n, i ? ", %lld" : "%lld", (long long)a->dim[i]);
    if (n < SIZE)
        n += (size_t)snprintf(out + n, SIZE - n, "]");
    if (nf_tensor_dense(a))
        return out;
    for (int i = 0; i < a->nd - 1 && n < SIZE; i++)
        n += (size_t)snprintf(out + n, SIZE - n, i ? ", %lld" : " stride %lld", (long long)a->stride[i]);
    return out;
}
