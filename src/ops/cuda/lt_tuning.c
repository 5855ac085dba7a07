/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lt_tuning.c: the algorithm of each shape chosen by timing what the heuristic offers. Other algorithms give other bits, so
 * what was chosen belongs to the run: it leaves the plug-in as bytes and comes back in a later process.
 *
 * The bytes: struct head, then a struct choice for each shape; little-endian, no padding (doc/snapshot.md).
 */
#include "lt.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS = 5 };

struct head {
    char magic[8];
    uint64_t version; /* of cuBLASLt: its algorithms are numbers that only it knows */
    uint64_t count;
    char gpu[104]; /* the kind it was timed on: some algorithms share the work out over all multiprocessors */
};
static const char magic[8] = "nflt  2";

struct choice {
    struct nf_lt_shape shape;
    cublasLtMatmulAlgo_t algo;
};

static int undecided(void)
{
    int n = 0;

    for (int i = 0; i < nf_lt.plans; i++)
        n += !nf_lt.plan[i].chosen && !nf_lt.plan[i].none;
    return n;
}

struct operands {
    void *a, *b, *d, *workspace;
};

/* Of `batch` matrices that lie `apart` elements from one another. */
static size_t bytes_of(int64_t rows, int64_t stride, int64_t batch, int64_t apart, int32_t type)
{
    return (size_t)(rows * stride + (batch - 1) * apart) * (type == NF_F32 ? 4 : 2);
}

/* Operands of a shape on borrowed memory; false: they do not fit. */
static bool lay(const struct nf_lt_shape *s, void *memory, size_t bytes, struct operands *o)
{
    struct nf_carving c = {memory, bytes};

    o->workspace = nf_carve(&c, NF_CUDA_GEMM_WORKSPACE);
    o->a = nf_carve(&c, bytes_of(s->trans_b ? s->n : s->k, s->ldb, s->batch, s->stride_b, s->type));
    o->b = nf_carve(&c, bytes_of(s->trans_a ? s->k : s->m, s->lda, s->batch, s->stride_a, s->type));
    o->d = nf_carve(&c, bytes_of(s->m, s->ldc > s->ldd ? s->ldc : s->ldd, s->batch,
                                 s->stride_c > s->stride_d ? s->stride_c : s->stride_d, s->out));
    return o->workspace && o->a && o->b && o->d;
}

/* Seconds of one algorithm: the least of ROUNDS after one to warm up; < 0: it does not run. */
static nf_status seconds_of(const struct nf_lt_plan *p, const cublasLtMatmulAlgo_t *algo, const struct operands *o,
                            cudaStream_t stream, const cudaEvent_t mark[2], float *best)
{
    *best = -1;
    for (int i = 0; i <= ROUNDS; i++) {
        float ms = 0;
        cudaEventRecord(mark[0], stream);
        if (nf_lt_run(p, algo, o->a, o->b, o->d, o->d, o->workspace, stream) != CUBLAS_STATUS_SUCCESS)
            return NF_OK;
        cudaEventRecord(mark[1], stream);
        cudaError_t e = cudaEventSynchronize(mark[1]);
        if (e == cudaSuccess)
            e = cudaEventElapsedTime(&ms, mark[0], mark[1]);
        if (e != cudaSuccess)
            return nf_cuda_fail(NF_EDEVICE, "timing of products: CUDA: %s", cudaGetErrorString(e));
        if (i && (*best < 0 || ms < *best))
            *best = ms;
    }
    return NF_OK;
}

static nf_status time_one(struct nf_lt_plan *p, const struct operands *o, cudaStream_t stream, const cudaEvent_t mark[2])
{
    cublasLtMatmulHeuristicResult_t offer[NF_LT_OFFERS];
    float least = -1;
    int count;

    NF_TRY(nf_lt_offers("timing of products", p, offer, NF_LT_OFFERS, &count));
    for (int i = 0; i < count; i++) {
        float ms;
        NF_TRY(seconds_of(p, &offer[i].algo, o, stream, mark, &ms));
        if (ms >= 0 && (least < 0 || ms < 0.98f * least)) { /* a tie stays with what the heuristic prefers */
            least = ms;
            p->algo = offer[i].algo;
        }
    }
    p->chosen = true;
    return NF_OK;
}

static nf_status choose(nf_gpu_queue *queue, void *memory, size_t bytes)
{
    const cudaStream_t stream = *(const cudaStream_t *)(const void *)queue; /* its first member: gpu.h */
    cudaEvent_t mark[2];
    nf_status s = NF_OK;

    if (!undecided())
        return NF_OK;
    /* numbers of middling size: zeros would take less power and run faster than a step does */
    if (cudaMemsetAsync(memory, 0x3c, bytes, stream) != cudaSuccess || cudaEventCreate(&mark[0]) != cudaSuccess ||
        cudaEventCreate(&mark[1]) != cudaSuccess)
        return nf_cuda_fail(NF_EDEVICE, "timing of products: CUDA: %s", cudaGetErrorString(cudaGetLastError()));
    for (int i = 0; i < nf_lt.plans && !s; i++) {
        struct nf_lt_plan *p = &nf_lt.plan[i];
        struct operands o;
        if (!p->chosen && !p->none && lay(&p->shape, memory, bytes, &o))
            s = time_one(p, &o, stream, mark);
    }
    cudaEventDestroy(mark[0]);
    cudaEventDestroy(mark[1]);
    return s;
}

static size_t size(void)
{
    size_t n = 0;

    for (int i = 0; i < nf_lt.plans; i++)
        n += !nf_lt.plan[i].none;
    return sizeof(struct head) + n * sizeof(struct choice);
}

/* This process's GPU, as the head names it. */
static void name_gpu(char out[sizeof((struct head *)0)->gpu])
{
    struct cudaDeviceProp p;
    int ordinal;

    memset(out, 0, sizeof((struct head *)0)->gpu);
    if (cudaGetDevice(&ordinal) == cudaSuccess && cudaGetDeviceProperties(&p, ordinal) == cudaSuccess)
        snprintf(out, sizeof((struct head *)0)->gpu, "%.64s, %d multiprocessors", p.name, p.multiProcessorCount);
    cudaGetLastError();
}

static void save(void *out)
{
    struct head head = {.version = cublasLtGetVersion(), .count = (size() - sizeof head) / sizeof(struct choice)};
    char *at = (char *)out + sizeof head;

    memcpy(head.magic, magic, sizeof magic);
    name_gpu(head.gpu);
    memcpy(out, &head, sizeof head);
    for (int i = 0; i < nf_lt.plans; i++) {
        struct choice c = {.shape = nf_lt.plan[i].shape, .algo = nf_lt.plan[i].algo};
        if (nf_lt.plan[i].none)
            continue;
        memcpy(at, &c, sizeof c);
        at += sizeof c;
    }
}

/* Are these choices at all? Then *head is theirs. */
static bool read_head(const void *bytes, size_t n, struct head *head)
{
    if (n < sizeof *head)
        return false;
    memcpy(head, bytes, sizeof *head);
    return memcmp(head->magic, magic, sizeof magic) == 0 && head->count <= NF_LT_PLANS &&
           n == sizeof *head + head->count * sizeof(struct choice) && head->gpu[sizeof head->gpu - 1] == 0;
}

/* "cuBLASLt 13.0.2", which counts as 130002 */
static int name_version(char *out, size_t size, uint64_t v)
{
    return snprintf(out, size, "cuBLASLt %d.%d.%d", (int)(v / 10000), (int)(v / 100 % 100), (int)(v % 100));
}

static bool fits(const void *bytes, size_t n, char *why, size_t size)
{
    char then[40], now[40], gpu[sizeof((struct head *)0)->gpu];
    struct head head;

    name_gpu(gpu);
    if (!read_head(bytes, n, &head)) {
        snprintf(why, size, "they are not in this program's form");
        return false;
    }
    name_version(then, sizeof then, head.version);
    name_version(now, sizeof now, cublasLtGetVersion());
    if (head.version == cublasLtGetVersion() && strcmp(head.gpu, gpu) == 0)
        return true;
    snprintf(why, size, "they are of %s on %s, this is %s on %s", then, head.gpu, now, gpu);
    return false;
}

static nf_status restore(const void *bytes, size_t n, bool *taken)
{
    const char *at = (const char *)bytes + sizeof(struct head);
    struct head head;

    *taken = false;
    if (!read_head(bytes, n, &head) || head.version != cublasLtGetVersion())
        return NF_OK;
    for (uint64_t i = 0; i < head.count; i++, at += sizeof(struct choice)) {
        cublasLtMatmulHeuristicResult_t checked;
        struct nf_lt_plan *p;
        struct choice c;
        memcpy(&c, at, sizeof c);
        NF_TRY(nf_lt_find("choices of products", &c.shape, &p));
        if (cublasLtMatmulAlgoCheck(nf_lt.handle, p->desc, p->a, p->b, p->c, p->d, &c.algo, &checked) !=
                CUBLAS_STATUS_SUCCESS ||
            checked.workspaceSize > NF_CUDA_GEMM_WORKSPACE)
            continue; /* another kind of GPU: its own heuristic's choice stays */
        p->algo = c.algo;
        p->chosen = true;
    }
    *taken = true;
    return NF_OK;
}

extern const struct nf_gpu_tuning nf_cuda_tuning_table;
const struct nf_gpu_tuning nf_cuda_tuning_table = {
    .undecided = undecided, .choose = choose, .bytes = size, .save = save, .fits = fits, .restore = restore};
