/* SPDX-License-Identifier: Apache-2.0 */
/* Views and fresh tensors. */
#include "nemafit/tensor.h"
#include "validation/tap.h"

#include <stdlib.h>
#include <string.h>

static void views(void)
{
    float x[4 * 8];
    nf_tensor m = nf_matrix(x, NF_F32, 4, 6, 8), c = nf_columns(m, 2, 3), r = nf_rows(m, 1, 2);
    tap_ok(c.data == x + 2 && c.dim[0] == 4 && c.dim[1] == 3 && c.stride[0] == 8, "columns of a matrix");
    tap_ok(r.data == x + 8 && r.dim[0] == 2 && r.dim[1] == 6, "rows of a matrix");
    nf_tensor k = nf_cube(x, NF_F32, 2, 4, 4), kr = nf_rows(k, 1, 1), v = nf_rows(nf_vector(x, NF_F32, 32), 5, 7);
    tap_ok(kr.data == x + 16 && kr.dim[0] == 1 && kr.nd == 3, "elements of a cube");
    tap_ok(v.data == x + 5 && v.dim[0] == 7 && v.nd == 1, "a piece of a vector");
    tap_ok(nf_tensor_count(&m) == 24 && nf_tensor_count(&k) == 32 && nf_tensor_count(&v) == 7, "counts");
    nf_tensor none = nf_rows(nf_matrix(NULL, NF_BF16, 4, 4, 4), 1, 2);
    tap_ok(none.data == NULL, "no memory stays no memory");
    nf_tensor one = nf_rows(m, 3, 1), empty = nf_rows(m, 0, 0), flat = nf_matrix(x, NF_F32, 4, 8, 8);
    tap_ok(!nf_tensor_dense(&m) && nf_tensor_dense(&flat) && nf_tensor_dense(&one) && nf_tensor_dense(&empty) &&
               nf_tensor_dense(&v) && nf_tensor_dense(&k),
           "dense or not");
    k.stride[0] = 20;
    nf_tensor first = nf_rows(k, 0, 1);
    tap_ok(!nf_tensor_dense(&k) && nf_tensor_dense(&first), "a cube with gaps between its matrices");
    k = nf_cube(x, NF_F32, 2, 1, 4);
    k.stride[1] = 99;
    tap_ok(nf_tensor_dense(&k), "the stride of one row says nothing");
}

static void show(void)
{
    char out[96];
    nf_tensor m = nf_matrix(NULL, NF_F32, 4, 128, 256), d = nf_matrix(NULL, NF_BF16, 4, 128, 128),
              v = nf_vector(NULL, NF_I32, 7);
    tap_ok(strcmp(nf_tensor_show(out, &m), "fp32 [4, 128] stride 256") == 0, "%s", out);
    tap_ok(strcmp(nf_tensor_show(out, &d), "bf16 [4, 128]") == 0, "%s", out);
    tap_ok(strcmp(nf_tensor_show(out, &v), "int32 [7]") == 0, "%s", out);
    nf_tensor k = nf_cube(NULL, NF_F64, 1, 2, 3);
    tap_ok(strcmp(nf_tensor_show(out, &k), "fp64 [1, 2, 3]") == 0, "%s", out);
    k.stride[0] = INT64_MAX, k.stride[1] = INT64_MIN;
    k.dim[0] = k.dim[1] = 2;
    tap_ok(strcmp(nf_tensor_show(out, &k), "fp64 [2, 2, 3] stride 9223372036854775807, -9223372036854775808") == 0, "%s", out);
}

static void fresh(void)
{
    nf_arena *a;
    nf_tensor t = {0};
    char *block = aligned_alloc(4096, 4096);
    nf_arena_new("fresh", block, 4096, &a);
    tap_ok(nf_tensor_new(a, NF_LOW, "m", NF_BF16, 3, 5, &t) == NF_OK && (char *)t.data == block && t.nd == 2 &&
               nf_tensor_count(&t) == 15 && nf_tensor_dense(&t) && nf_arena_used(a) == 256,
           "a fresh matrix");
    tap_ok(nf_tensor_new3(a, NF_HIGH, "k", NF_F32, 2, 3, 32, &t) == NF_OK && (char *)t.data == block + 4096 - 768 && t.nd == 3,
           "a fresh cube");
    tap_ok(nf_tensor_new(a, NF_LOW, "z", NF_F32, 0, 5, &t) == NF_OK && t.data && nf_tensor_count(&t) == 0, "of no rows");
    nf_tensor kept = t;
    tap_ok(nf_tensor_new(a, NF_LOW, "big", NF_F32, 1000, 1000, &t) == NF_ENOMEM && memcmp(&t, &kept, sizeof t) == 0,
           "too large: refused, the output left alone");
    nf_diagnosis_clear();
    tap_ok(nf_tensor_new3(a, NF_LOW, "huge", NF_F32, INT64_MAX / 4, 2, 2, &t) == NF_ENOMEM && strstr(nf_diagnosis(), "huge"),
           "a product beyond 64 bits is refused by name");
    nf_diagnosis_clear();
    tap_ok(nf_tensor_new(a, NF_LOW, "negative", NF_F32, -1, 5, &t) == NF_EBUG, "negative sizes are our own mistake");
    nf_diagnosis_clear();
    nf_arena_free(a);
    free(block);
}

int main(void)
{
    tap_open();
    views();
    show();
    fresh();
    return tap_done();
}
