/* SPDX-License-Identifier: Apache-2.0 */
/* Fresh tensors on an arena. Sizes are checked before they are multiplied: they may come from a file. */
#include "nemafit/tensor.h"

static nf_status bytes_of(nf_arena *arena, const char *what, nf_dtype t, const int64_t dim[3], size_t *bytes)
{
    int64_t n = (int64_t)nf_dtype_size(t);
    NF_CHECK(n > 0);
    for (int i = 0; i < 3; i++) {
        NF_CHECK(dim[i] >= 0);
        if (__builtin_mul_overflow(n, dim[i], &n))
            return nf_fail(NF_ENOMEM, "arena %s: %s: %s [%lld, %lld, %lld] is larger than any memory", nf_arena_name(arena),
                           what, nf_dtype_name(t), (long long)dim[0], (long long)dim[1], (long long)dim[2]);
    }
    *bytes = (size_t)n;
    return NF_OK;
}

nf_status nf_tensor_new(nf_arena *arena, enum nf_end end, const char *what, nf_dtype t, int64_t rows, int64_t cols,
                        nf_tensor *out)
{
    size_t bytes;
    void *data;
    NF_TRY(bytes_of(arena, what, t, (int64_t[3]){1, rows, cols}, &bytes));
    NF_TRY(nf_arena_get(arena, end, bytes, what, &data));
    *out = nf_matrix(data, t, rows, cols, cols);
    return NF_OK;
}

nf_status nf_tensor_new3(nf_arena *arena, enum nf_end end, const char *what, nf_dtype t, int64_t n, int64_t rows, int64_t cols,
                         nf_tensor *out)
{
    size_t bytes;
    void *data;
    NF_TRY(bytes_of(arena, what, t, (int64_t[3]){n, rows, cols}, &bytes));
    NF_TRY(nf_arena_get(arena, end, bytes, what, &data));
    *out = nf_cube(data, t, n, rows, cols);
    return NF_OK;
}
