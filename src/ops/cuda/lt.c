/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lt.c: products by cuBLASLt. One plan a shape (sizes, strides, types, alignment), made when the shape is first met and kept
 * for the process: the same shape always takes the same algorithm, so its bits repeat. Sums stay in fp32: no TF32, and parts of
 * a split sum are added in fp32 and in order.
 *
 * cuBLAS is column-major, where a row-major [r, c] is its [c, r]: d' = op(b)' op(a)'. So its A is our b and its B our a.
 */
#include "gemm.h"
#include "nemafit/gpu.h"

#include <cublasLt.h>
#include <string.h>

struct shape { /* compared byte by byte: no padding inside */
    int64_t m, n, k, lda, ldb, ldc, ldd;
    int32_t type, out, trans_a, trans_b, added, align[4];
    int32_t zero;
};

struct plan {
    struct shape shape;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algo;
    bool none; /* nothing is offered */
};

enum { PLANS = 1024 };

/* What the plug-in keeps for a process: one GPU, one thread. */
static struct {
    cublasLtHandle_t handle;
    struct plan plan[PLANS];
    int plans;
} lt;

static nf_status failed(cublasStatus_t status, const char *op, const char *call)
{
    return nf_cuda_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? NF_ENOMEM : NF_EDEVICE, "%s: %s: %s", op, call,
                        cublasLtGetStatusString(status));
}

#define LT(op, call)                                                                                                           \
    do {                                                                                                                       \
        cublasStatus_t lt_status = (call);                                                                                     \
        if (lt_status != CUBLAS_STATUS_SUCCESS)                                                                                \
            return failed(lt_status, op, #call);                                                                               \
    } while (0)

/* The power of two that divides address and row length in bytes, at most 16: kernels with wider loads need it. */
static int32_t alignment(const void *p, int64_t ld, nf_dtype type)
{
    const uintptr_t bits = (uintptr_t)p | (uintptr_t)(ld * (type == NF_F32 ? 4 : 2)) | 16;
    return (int32_t)(bits & -bits);
}

static struct shape shape_of(const struct nf_gemm *g)
{
    struct shape s;

    memset(&s, 0, sizeof s);
    s.m = g->m;
    s.n = g->n;
    s.k = g->k;
    s.lda = g->lda;
    s.ldb = g->ldb;
    s.ldc = g->c ? g->ldc : g->ldd;
    s.ldd = g->ldd;
    s.type = (int32_t)g->type;
    s.out = (int32_t)g->out;
    s.trans_a = g->trans_a;
    s.trans_b = g->trans_b;
    s.added = g->c != NULL;
    s.align[0] = alignment(g->b, g->ldb, g->type);
    s.align[1] = alignment(g->a, g->lda, g->type);
    s.align[2] = alignment(g->c ? g->c : g->d, s.ldc, g->out);
    s.align[3] = alignment(g->d, g->ldd, g->out);
    return s;
}

static cudaDataType_t type_of(int32_t type)
{
    return type == NF_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

static nf_status layout(const char *op, cublasLtMatrixLayout_t *out, int32_t type, int64_t rows, int64_t cols, int64_t ld)
{
    LT(op, cublasLtMatrixLayoutCreate(out, type_of(type), (uint64_t)rows, (uint64_t)cols, ld > rows ? ld : rows));
    return NF_OK;
}

static nf_status describe(const char *op, struct plan *p)
{
    const struct shape *s = &p->shape;
    const cublasOperation_t ta = s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, tb = s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;

    LT(op, cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT(op, cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
    LT(op, cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
    NF_TRY(layout(op, &p->a, s->type, s->trans_b ? s->k : s->n, s->trans_b ? s->n : s->k, s->ldb));
    NF_TRY(layout(op, &p->b, s->type, s->trans_a ? s->m : s->k, s->trans_a ? s->k : s->m, s->lda));
    NF_TRY(layout(op, &p->c, s->out, s->n, s->m, s->ldc));
    return layout(op, &p->d, s->out, s->n, s->m, s->ldd);
}

/* The first of what the heuristic offers. */
static nf_status choose(const char *op, struct plan *p)
{
    static const cublasLtMatmulPreferenceAttributes_t which[4] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint32_t sums = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const size_t workspace = NF_CUDA_GEMM_WORKSPACE;
    cublasLtMatmulHeuristicResult_t found;
    cublasLtMatmulPreference_t pref;
    int count = 0;

    LT(op, cublasLtMatmulPreferenceCreate(&pref));
    cublasStatus_t s =
        cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &sums, sizeof sums);
    for (int i = 0; i < 4 && s == CUBLAS_STATUS_SUCCESS; i++) {
        const uint32_t align = (uint32_t)p->shape.align[i];
        s = cublasLtMatmulPreferenceSetAttribute(pref, which[i], &align, sizeof align);
    }
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulAlgoGetHeuristic(lt.handle, p->desc, p->a, p->b, p->c, p->d, pref, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(pref);
    if (s != CUBLAS_STATUS_SUCCESS && s != CUBLAS_STATUS_NOT_SUPPORTED)
        return failed(s, op, "cublasLtMatmulAlgoGetHeuristic");
    p->none = count == 0 || s != CUBLAS_STATUS_SUCCESS;
    if (!p->none)
        p->algo = found.algo;
    return NF_OK;
}

static nf_status find(const char *op, const struct nf_gemm *g, const struct plan **plan)
{
    const struct shape s = shape_of(g);

    for (int i = 0; i < lt.plans; i++)
        if (memcmp(&lt.plan[i].shape, &s, sizeof s) == 0) {
            *plan = &lt.plan[i];
            return NF_OK;
        }
    if (lt.plans == PLANS)
        return nf_cuda_fail(NF_EBUG, "%s: more than %d shapes of products", op, PLANS);
    if (!lt.handle)
        LT(op, cublasLtCreate(&lt.handle));
    struct plan p = {.shape = s};
    NF_TRY(describe(op, &p));
    NF_TRY(choose(op, &p));
    lt.plan[lt.plans] = p;
    *plan = &lt.plan[lt.plans++];
    return NF_OK;
}

nf_status nf_cuda_lt(void *stream, const char *op, const struct nf_gemm *g, void *workspace, bool *done)
{
    const float one = 1.0f, beta = g->c ? 1.0f : 0.0f;
    const struct plan *p;

    NF_TRY(find(op, g, &p));
    *done = !p->none;
    if (p->none)
        return NF_OK;
    LT(op, cublasLtMatmul(lt.handle, p->desc, &one, g->b, p->a, g->a, p->b, &beta, g->c ? g->c : g->d, p->c, g->d, p->d,
                          &p->algo, workspace, NF_CUDA_GEMM_WORKSPACE, (cudaStream_t)stream));
    return NF_OK;
}
