/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lt.c: products by cuBLASLt. One plan a shape (sizes, strides, types, alignment), made when the shape is first met and kept
 * for the process: the same shape always takes the same algorithm, so its bits repeat. Sums stay in fp32: no TF32, and parts of
 * a split sum are added in fp32 and in order.
 *
 * cuBLAS is column-major, where a row-major [r, c] is its [c, r]: d' = op(b)' op(a)'. So its A is our b and its B our a.
 */
#include "lt.h"

#include <string.h>

struct nf_lt nf_lt;

nf_status nf_lt_failed(cublasStatus_t status, const char *op, const char *call)
{
    return nf_cuda_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? NF_ENOMEM : NF_EDEVICE, "%s: %s: %s", op, call,
                        cublasLtGetStatusString(status));
}

/* The power of two that divides address and row length in bytes, at most 16: kernels with wider loads need it. */
static int32_t alignment(const void *p, int64_t ld, nf_dtype type)
{
    const uintptr_t bits = (uintptr_t)p | (uintptr_t)(ld * (type == NF_F32 ? 4 : 2)) | 16;
    return (int32_t)(bits & -bits);
}

static struct nf_lt_shape shape_of(const struct nf_gemm *g)
{
    struct nf_lt_shape s;

    memset(&s, 0, sizeof s);
    s.m = g->plan_m > g->m ? g->plan_m : g->m;
    s.n = g->n;
    s.k = g->plan_k > g->k ? g->plan_k : g->k;
    s.lda = g->lda;
    s.ldb = g->ldb;
    s.ldc = g->c ? g->ldc : g->ldd;
    s.ldd = g->ldd;
    s.batch = g->batch > 1 ? g->batch : 1;
    if (s.batch > 1) {
        s.stride_a = g->stride_a;
        s.stride_b = g->stride_b;
        s.stride_c = g->c ? g->stride_c : g->stride_d;
        s.stride_d = g->stride_d;
    }
    s.type = (int32_t)g->type;
    s.out = (int32_t)g->out;
    s.trans_a = g->trans_a;
    s.trans_b = g->trans_b;
    s.added = g->c != NULL;
    s.align[0] = alignment(g->b, g->ldb | s.stride_b, g->type);
    s.align[1] = alignment(g->a, g->lda | s.stride_a, g->type);
    s.align[2] = alignment(g->c ? g->c : g->d, s.ldc | s.stride_c, g->out);
    s.align[3] = alignment(g->d, g->ldd | s.stride_d, g->out);
    return s;
}

static cudaDataType_t type_of(int32_t type)
{
    return type == NF_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

static nf_status layout(const char *op, cublasLtMatrixLayout_t *out, int32_t type, int64_t rows, int64_t cols, int64_t ld,
                        int64_t batch, int64_t stride)
{
    const int32_t count = (int32_t)batch;

    NF_LT_TRY(op, cublasLtMatrixLayoutCreate(out, type_of(type), (uint64_t)rows, (uint64_t)cols, ld > rows ? ld : rows));
    if (batch == 1)
        return NF_OK;
    NF_LT_TRY(op, cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
    NF_LT_TRY(op, cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    return NF_OK;
}

static nf_status describe(const char *op, struct nf_lt_plan *p)
{
    const struct nf_lt_shape *s = &p->shape;
    const cublasOperation_t ta = s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, tb = s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;

    NF_LT_TRY(op, cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    NF_LT_TRY(op, cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
    NF_LT_TRY(op, cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
    NF_TRY(layout(op, &p->a, s->type, s->trans_b ? s->k : s->n, s->trans_b ? s->n : s->k, s->ldb, s->batch, s->stride_b));
    NF_TRY(layout(op, &p->b, s->type, s->trans_a ? s->m : s->k, s->trans_a ? s->k : s->m, s->lda, s->batch, s->stride_a));
    NF_TRY(layout(op, &p->c, s->out, s->n, s->m, s->ldc, s->batch, s->stride_c));
    return layout(op, &p->d, s->out, s->n, s->m, s->ldd, s->batch, s->stride_d);
}

nf_status nf_lt_offers(const char *op, const struct nf_lt_plan *p, cublasLtMatmulHeuristicResult_t *offer, int most, int *count)
{
    static const cublasLtMatmulPreferenceAttributes_t which[4] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint32_t sums = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const size_t workspace = NF_CUDA_GEMM_WORKSPACE;
    cublasLtMatmulPreference_t pref;

    *count = 0;
    NF_LT_TRY(op, cublasLtMatmulPreferenceCreate(&pref));
    cublasStatus_t s =
        cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &sums, sizeof sums);
    for (int i = 0; i < 4 && s == CUBLAS_STATUS_SUCCESS; i++) {
        const uint32_t align = (uint32_t)p->shape.align[i];
        s = cublasLtMatmulPreferenceSetAttribute(pref, which[i], &align, sizeof align);
    }
    if (s == CUBLAS_STATUS_SUCCESS) {
        s = cublasLtMatmulAlgoGetHeuristic(nf_lt.handle, p->desc, p->a, p->b, p->c, p->d, pref, most, offer, count);
        if (s == CUBLAS_STATUS_NOT_SUPPORTED) { /* another way to say none */
            *count = 0;
            s = CUBLAS_STATUS_SUCCESS;
        }
    }
    cublasLtMatmulPreferenceDestroy(pref);
    return s == CUBLAS_STATUS_SUCCESS ? NF_OK : nf_lt_failed(s, op, "cublasLtMatmulAlgoGetHeuristic");
}

/* Where a new plan goes: samples meet a shape a token, so the oldest that was not timed makes room; it is made again alike. */
static nf_status place_of(const char *op, struct nf_lt_plan **at)
{
    for (int i = 0; nf_lt.plans == NF_LT_PLANS && i < NF_LT_PLANS; i++) {
        struct nf_lt_plan *p = &nf_lt.plan[nf_lt.oldest];
        nf_lt.oldest = (nf_lt.oldest + 1) % NF_LT_PLANS;
        if (p->chosen)
            continue;
        cublasLtMatmulDescDestroy(p->desc);
        cublasLtMatrixLayoutDestroy(p->a);
        cublasLtMatrixLayoutDestroy(p->b);
        cublasLtMatrixLayoutDestroy(p->c);
        cublasLtMatrixLayoutDestroy(p->d);
        *at = p;
        return NF_OK;
    }
    if (nf_lt.plans == NF_LT_PLANS)
        return nf_cuda_fail(NF_EBUG, "%s: more than %d shapes of products", op, NF_LT_PLANS);
    *at = &nf_lt.plan[nf_lt.plans++];
    return NF_OK;
}

nf_status nf_lt_find(const char *op, const struct nf_lt_shape *shape, struct nf_lt_plan **plan)
{
    cublasLtMatmulHeuristicResult_t first;
    int count;

    for (int i = 0; i < nf_lt.plans; i++)
        if (memcmp(&nf_lt.plan[i].shape, shape, sizeof *shape) == 0) {
            *plan = &nf_lt.plan[i];
            return NF_OK;
        }
    if (!nf_lt.handle)
        NF_LT_TRY(op, cublasLtCreate(&nf_lt.handle));
    struct nf_lt_plan p = {.shape = *shape};
    struct nf_lt_plan *at = NULL;
    NF_TRY(describe(op, &p));
    NF_TRY(nf_lt_offers(op, &p, &first, 1, &count));
    p.none = count == 0;
    if (count)
        p.algo = first.algo;
    NF_TRY(place_of(op, &at));
    *at = p;
    *plan = at;
    return NF_OK;
}

cublasStatus_t nf_lt_run(const struct nf_lt_plan *p, const cublasLtMatmulAlgo_t *algo, const void *a, const void *b,
                         const void *c, void *d, void *workspace, cudaStream_t stream)
{
    const float one = 1.0f, beta = p->shape.added ? 1.0f : 0.0f;

    return cublasLtMatmul(nf_lt.handle, p->desc, &one, a, p->a, b, p->b, &beta, c, p->c, d, p->d, algo, workspace,
                          NF_CUDA_GEMM_WORKSPACE, stream);
}

/* A plan with layouts of its own, cut to the columns (with cuBLAS) that a call has: m of our a, c and d, or with trans_a k of a
 * and b. */
struct cut_plan {
    struct nf_lt_plan plan;
    cublasLtMatrixLayoutOpaque_t a, b, c, d;
};

static cublasStatus_t cut_to(const struct nf_lt_plan *p, int64_t m, int64_t k, struct cut_plan *cut)
{
    const bool sum = p->shape.trans_a;
    const uint64_t cols = (uint64_t)(sum ? k : m);

    *cut = (struct cut_plan){*p, *p->a, *p->b, *p->c, *p->d};
    cut->plan.a = &cut->a;
    cut->plan.b = &cut->b;
    cut->plan.c = &cut->c;
    cut->plan.d = &cut->d;
    cublasLtMatrixLayout_t which[3] = {&cut->b, sum ? &cut->a : &cut->c, sum ? &cut->a : &cut->d};
    for (int i = 0; i < 3; i++) {
        const cublasStatus_t s = cublasLtMatrixLayoutSetAttribute(which[i], CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof cols);
        if (s != CUBLAS_STATUS_SUCCESS)
            return s;
    }
    return CUBLAS_STATUS_SUCCESS;
}

nf_status nf_cuda_lt_expect(const char *op, const struct nf_gemm *g, bool *made)
{
    const struct nf_lt_shape shape = shape_of(g);
    const int before = nf_lt.plans;
    struct nf_lt_plan *p;

    NF_TRY(nf_lt_find(op, &shape, &p));
    *made = nf_lt.plans > before;
    return NF_OK;
}

nf_status nf_cuda_lt(void *stream, const char *op, const struct nf_gemm *g, void *workspace, bool *done)
{
    const struct nf_lt_shape shape = shape_of(g);
    const bool cut = shape.m != g->m || shape.k != g->k;
    struct nf_lt_plan *p;

    if (cut && (g->trans_a ? g->trans_b || shape.m != g->m : shape.k != g->k))
        return nf_cuda_fail(NF_EBUG, "%s: a plan for another size of what may not vary", op);
    NF_TRY(nf_lt_find(op, &shape, &p));
    *done = !p->none;
    if (p->none)
        return NF_OK;
    struct cut_plan part = {.plan = *p};
    if (cut)
        NF_LT_TRY(op, cut_to(p, g->m, g->k, &part));
    NF_LT_TRY(op, nf_lt_run(&part.plan, &p->algo, g->b, g->a, g->c ? g->c : g->d, g->d, workspace, stream));
    return NF_OK;
}
