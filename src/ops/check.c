/* SPDX-License-Identifier: Apache-2.0 */
/* check.c: conditions on the tensors of an op (check.h). */
#include "check.h"

#include <stdio.h>

static bool fits(int64_t have, int64_t want)
{
    return want == NF_ANY || have == want;
}

static const char *extent(char out[24], int64_t n)
{
    if (n == NF_ANY)
        return "any";
    snprintf(out, 24, "%lld", (long long)n);
    return out;
}

static nf_status mismatch(const char *op, const char *name, nf_in t, nf_dtype type, int nd, const int64_t *want)
{
    char have[96], e[3][24], shape[96];

    snprintf(shape, sizeof shape, "[%s%s%s%s%s]", extent(e[0], want[0]), nd > 1 ? ", " : "",
             nd > 1 ? extent(e[1], want[1]) : "", nd > 2 ? ", " : "", nd > 2 ? extent(e[2], want[2]) : "");
    return nf_fail(NF_EBUG, "%s: %s is %s, wanted %s %s", op, name, t ? nf_tensor_show(have, t) : "missing",
                   nf_dtype_name(type), shape);
}

static nf_status check(const char *op, const char *name, nf_in t, nf_dtype type, int nd, const int64_t *want)
{
    bool ok = t && t->nd == nd && t->dtype == type;

    for (int i = 0; ok && i < nd; i++)
        ok = t->dim[i] >= 0 && fits(t->dim[i], want[i]);
    for (int i = 0; ok && i + 1 < nd; i++) /* rows may lie apart, but not on one another */
        ok = t->dim[i] <= 1 ||
             t->stride[i] >=
                 (i + 2 < nd ? (t->dim[i + 1] > 1 ? t->stride[i + 1] * t->dim[i + 1] : t->dim[i + 2]) : t->dim[i + 1]);
    return ok ? NF_OK : mismatch(op, name, t, type, nd, want);
}

nf_status nf_check_vector(const char *op, const char *name, nf_in t, nf_dtype type, int64_t n)
{
    return check(op, name, t, type, 1, (const int64_t[]){n});
}

nf_status nf_check_matrix(const char *op, const char *name, nf_in t, nf_dtype type, int64_t rows, int64_t cols)
{
    return check(op, name, t, type, 2, (const int64_t[]){rows, cols});
}

nf_status nf_check_cube(const char *op, const char *name, nf_in t, nf_dtype type, int64_t n, int64_t rows, int64_t cols)
{
    return check(op, name, t, type, 3, (const int64_t[]){n, rows, cols});
}

nf_status nf_check_real(const char *op, const char *name, nf_in t)
{
    char have[96];

    if (t && (t->dtype == NF_F32 || t->dtype == NF_BF16))
        return NF_OK;
    return nf_fail(NF_EBUG, "%s: %s is %s, wanted fp32 or bf16", op, name, t ? nf_tensor_show(have, t) : "missing");
}

nf_status nf_check_grad1(const char *op, const char *name, nf_grad g, int64_t n)
{
    if (!g.t.data)
        return NF_OK;
    NF_TRY(nf_check_real(op, name, &g.t));
    return nf_check_vector(op, name, &g.t, g.t.dtype, n);
}

nf_status nf_check_grad2(const char *op, const char *name, nf_grad g, int64_t rows, int64_t cols)
{
    if (!g.t.data)
        return NF_OK;
    NF_TRY(nf_check_real(op, name, &g.t));
    return nf_check_matrix(op, name, &g.t, g.t.dtype, rows, cols);
}

nf_status nf_check_grad3(const char *op, const char *name, nf_grad g, int64_t n, int64_t rows, int64_t cols)
{
    if (!g.t.data)
        return NF_OK;
    NF_TRY(nf_check_real(op, name, &g.t));
    return nf_check_cube(op, name, &g.t, g.t.dtype, n, rows, cols);
}
