/* SPDX-License-Identifier: Apache-2.0 */
/* flat.c: conditions of cast, add, fill, mismatch and sumsq (ops.h). */
#include "call.h"
#include "check.h"
#include "scratch.h"

static nf_status check_like(const char *op, const char *name, nf_in t, nf_in like)
{
    char a[96], b[96];
    bool same = t->nd == like->nd;

    for (int i = 0; same && i < t->nd; i++)
        same = t->dim[i] == like->dim[i];
    if (same)
        return NF_OK;
    return nf_fail(NF_EBUG, "%s: %s is %s, the output is %s", op, name, nf_tensor_show(a, t), nf_tensor_show(b, like));
}

static bool castable(nf_in t)
{
    return t->dtype == NF_F32 || t->dtype == NF_BF16 || t->dtype == NF_F16;
}

nf_status nf_cast(nf_queue *q, nf_out y, nf_in x)
{
    struct nf_call c;

    NF_TRY(check_like("cast", "x", x, y));
    if (y->dtype != x->dtype && !(castable(y) && castable(x)))
        return nf_fail(NF_EBUG, "cast: from %s to %s", nf_dtype_name(x->dtype), nf_dtype_name(y->dtype));
    NF_TRY(nf_call_begin(q, "cast", 0.0, nf_call_bytes(x) + nf_call_bytes(y), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->cast(q, y, x) : NF_OK);
}

nf_status nf_add(nf_queue *q, nf_out y, nf_in a, nf_in b)
{
    struct nf_call c;

    NF_TRY(nf_check_real("add", "y", y));
    NF_TRY(check_like("add", "a", a, y));
    NF_TRY(check_like("add", "b", b, y));
    if (a->dtype != y->dtype || b->dtype != y->dtype)
        return nf_fail(NF_EBUG, "add: %s + %s -> %s, wanted one type", nf_dtype_name(a->dtype), nf_dtype_name(b->dtype),
                       nf_dtype_name(y->dtype));
    NF_TRY(nf_call_begin(q, "add", (double)nf_tensor_count(y), nf_call_bytes(y) * 3, 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->add(q, y, a, b) : NF_OK);
}

nf_status nf_fill(nf_queue *q, nf_out y, float value)
{
    struct nf_call c;

    NF_TRY(nf_check_real("fill", "y", y));
    NF_TRY(nf_call_begin(q, "fill", 0.0, nf_call_bytes(y), 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->fill(q, y, value) : NF_OK);
}

nf_status nf_mismatch(nf_queue *q, int64_t *count, nf_in a, nf_in b)
{
    struct nf_call c;

    NF_TRY(nf_check_vector("mismatch", "a", a, a->dtype, NF_ANY));
    NF_TRY(nf_check_vector("mismatch", "b", b, a->dtype, a->dim[0]));
    NF_TRY(nf_call_begin(q, "mismatch", 0.0, nf_call_bytes(a) * 2, 0, &c));
    return nf_call_end(&c, c.ops ? c.ops->mismatch(q, count, a, b) : NF_OK);
}

nf_status nf_sumsq(nf_queue *q, double *sum, nf_in x)
{
    struct nf_call c;

    NF_TRY(nf_check_real("sumsq", "x", x));
    NF_TRY(nf_check_vector("sumsq", "x", x, x->dtype, NF_ANY));
    NF_TRY(nf_call_begin(q, "sumsq", 2 * (double)nf_tensor_count(x), nf_call_bytes(x), NF_SCRATCH(q, sumsq, x), &c));
    return nf_call_end(&c, c.ops ? c.ops->sumsq(q, sum, x, c.scratch) : NF_OK);
}
