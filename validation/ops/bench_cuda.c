/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_cuda.c: speed of the matrix kernels at the published models' shapes, random data: ms and TFLOP/s a call, the median of
 * several bursts. Causal attention counts the half of its products that is not masked; the backward 2.5 times the forward,
 * whatever the kernels compute twice. `bench_cuda [experts|attention]`. Not a test; whether bits repeat: repeat_cuda.
 */
#include "nemafit/gpu.h"
#include "nemafit/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BURSTS = 7, MOST_GROUPS = 128 };
static const size_t spare_bytes = (size_t)2 << 30;

static void must(nf_status s, const char *what)
{
    if (s == NF_OK)
        return;
    fprintf(stderr, "bench_cuda: %s: %s: %s\n", what, nf_status_name(s), nf_diagnosis());
    exit(1);
}

struct bench {
    nf_device *device;
    nf_queue *q;
    nf_arena *work, *data;
    void *spare; /* where products are timed, to choose their algorithms as a run does */
};

static void *take(struct bench *b, size_t bytes, const char *what)
{
    void *p;
    must(nf_arena_get(b->data, NF_LOW, bytes, what, &p), what);
    return p;
}

/* bf16 in [-1, 1) */
static nf_tensor random_matrix(struct bench *b, int64_t rows, int64_t cols)
{
    const int64_t n = rows * cols;
    uint16_t *host = malloc((size_t)n * 2);
    uint64_t state = (uint64_t)n;
    void *p = take(b, (size_t)n * 2, "operand");

    if (!host)
        must(NF_ENOMEM, "operand");
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        host[i] = nf_f32_to_bf16((float)((double)(state >> 11) / (double)(1ull << 52) - 1.0));
    }
    must(nf_copy(b->q, p, host, (size_t)n * 2), "copy");
    must(nf_queue_drain(b->q), "copy");
    free(host);
    return nf_matrix(p, NF_BF16, rows, cols, cols);
}

static nf_tensor cube(nf_tensor m, int64_t n)
{
    return nf_cube(m.data, m.dtype, n, m.dim[0] / n, m.dim[1]);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef nf_status work(struct bench *b, const void *ctx);
static void measure(struct bench *b, const char *what, double flops, work *f, const void *ctx)
{
    double ms[BURSTS];
    int calls = 3;

    must(f(b, ctx), what);
    must(nf_ops_choose(b->q, b->spare, spare_bytes), what);
    must(nf_queue_drain(b->q), what);
    for (int r = -1; r < BURSTS; r++) { /* the first one sets how many calls fill 20 ms */
        const double t = now();
        for (int i = 0; i < calls; i++)
            must(f(b, ctx), what);
        must(nf_queue_drain(b->q), what);
        const double each = (now() - t) * 1e3 / calls;
        if (r < 0)
            calls = (int)(20 / each) + 1;
        else
            ms[r] = each;
    }
    qsort(ms, BURSTS, sizeof *ms, by_value);
    printf("%-64s %8.3f ms %7.1f TFLOP/s\n", what, ms[BURSTS / 2], flops / ms[BURSTS / 2] * 1e-9);
    fflush(stdout);
}

/* ---- experts ------------------------------------------------------------------------------------------------------------ */

struct experts {
    nf_tensor x, w, y, pre, dw;
    struct nf_groups groups;
    struct nf_grouped_arg arg;
    const float *weights;
    float *dot;
};

static nf_status forward(struct bench *b, const void *ctx)
{
    const struct experts *e = ctx;
    return nf_grouped_linear(b->q, &e->y, e->arg.act.kind != NF_ACT_NONE ? &e->pre : NULL, &e->x, &e->w, &e->groups, &e->arg);
}
static nf_status dgrad(struct bench *b, const void *ctx)
{
    const struct experts *e = ctx;
    return nf_grouped_dgrad(b->q, &e->x, NULL, NULL, &e->y, &e->w, NULL, &e->groups, &e->arg);
}
/* Of the layer that ends an expert: with the activation below, its value again and the gradient of the row weights. */
static nf_status dgrad_down(struct bench *b, const void *ctx)
{
    const struct experts *e = ctx;
    return nf_grouped_dgrad(b->q, &e->pre, &e->x, e->dot, &e->y, &e->w, &e->pre, &e->groups, &e->arg);
}
static nf_status wgrad(struct bench *b, const void *ctx)
{
    const struct experts *e = ctx;
    return nf_grouped_wgrad(b->q, (nf_grad){e->dw, false}, (nf_grad){0}, &e->y, &e->x, &e->groups, &e->arg);
}

static void experts(struct bench *b, enum nf_experts backend, const char *shape, int count, const int *rows, int each,
                    int64_t K, int64_t N)
{
    static const char *const backends[] = {
        [NF_EXPERTS_EAGER] = "eager", [NF_EXPERTS_BATCHED] = "batched", [NF_EXPERTS_GROUPED] = "grouped"};
    const nf_mark mark = nf_arena_mark(b->data);
    int32_t begin[MOST_GROUPS], end[MOST_GROUPS], expert[MOST_GROUPS], at = 0;
    int32_t *where = take(b, sizeof begin * 3, "groups");
    struct experts e = {.arg = {.backend = backend}};
    char name[64], what[128];

    snprintf(name, sizeof name, "%s, %s", shape, backends[backend]);

    for (int g = 0; g < count; g++) {
        begin[g] = at;
        at += rows ? rows[g] : each;
        end[g] = at;
        expert[g] = g;
    }
    must(nf_copy(b->q, where, begin, sizeof begin), "groups");
    must(nf_copy(b->q, where + MOST_GROUPS, end, sizeof end), "groups");
    must(nf_copy(b->q, where + 2 * MOST_GROUPS, expert, sizeof expert), "groups");
    must(nf_queue_drain(b->q), "groups");
    e.groups = (struct nf_groups){count, where, where + MOST_GROUPS, where + 2 * MOST_GROUPS, 0};
    e.x = random_matrix(b, at, K);
    e.w = cube(random_matrix(b, count * N, K), count);
    e.y = random_matrix(b, at, N);
    e.pre = random_matrix(b, at, N > K ? N : K);
    e.dw = cube(random_matrix(b, count * N, K), count);
    e.dot = take(b, (size_t)at * sizeof(float), "dot");
    const double flops = 2.0 * at * (double)N * (double)K;

    snprintf(what, sizeof what, "%s forward", name);
    measure(b, what, flops, forward, &e);
    snprintf(what, sizeof what, "%s dgrad", name);
    measure(b, what, flops, dgrad, &e);
    snprintf(what, sizeof what, "%s wgrad bf16", name);
    measure(b, what, flops, wgrad, &e);
    struct experts act = e;
    act.arg.act.kind = NF_ACT_RELU2;
    act.pre = nf_matrix(e.pre.data, NF_BF16, at, N, N);
    snprintf(what, sizeof what, "%s forward, relu2 and pre", name);
    measure(b, what, flops, forward, &act);
    if (N % 2 == 0) {
        act.arg.act.kind = NF_ACT_SWIGLU;
        act.y = nf_columns(e.y, 0, N / 2);
        snprintf(what, sizeof what, "%s forward, swiglu and pre", name);
        measure(b, what, flops, forward, &act);
    }
    act.arg.act.kind = NF_ACT_RELU2;
    act.y = e.y;
    act.pre = nf_matrix(e.pre.data, NF_BF16, at, K, K);
    snprintf(what, sizeof what, "%s dgrad, relu2, act again, dot", name);
    measure(b, what, flops, dgrad_down, &act);
    nf_arena_reset(b->data, NF_LOW, mark);
}

/* ---- attention ---------------------------------------------------------------------------------------------------------- */

struct attention {
    nf_tensor q, k, v, o, g, dq, dk, dv;
    float *lse;
    struct nf_attention_arg arg;
};

static nf_status attend(struct bench *b, const void *ctx)
{
    const struct attention *a = ctx;
    return nf_attention(b->q, &a->o, a->lse, &a->q, &a->k, &a->v, &a->arg);
}
static nf_status attend_back(struct bench *b, const void *ctx)
{
    const struct attention *a = ctx;
    return nf_attention_bwd(b->q, &a->dq, &a->dk, &a->dv, (nf_grad){0}, &a->g, &a->q, &a->k, &a->v, &a->o, a->lse, &a->arg);
}

static void attention(struct bench *b, enum nf_attention_backend backend, int rows, int len, int heads, int kv, int d)
{
    const nf_mark mark = nf_arena_mark(b->data);
    const int64_t T = (int64_t)rows * len, nq = (int64_t)heads * d, nk = (int64_t)kv * d;
    const nf_tensor qkv = random_matrix(b, T, nq + 2 * nk), dqkv = random_matrix(b, T, nq + 2 * nk);
    struct attention a = {.q = nf_columns(qkv, 0, nq), .k = nf_columns(qkv, nq, nk), .v = nf_columns(qkv, nq + nk, nk)};
    const double flops = 2.0 * rows * heads * (double)len * len * d;
    char what[96];

    a.dq = nf_columns(dqkv, 0, nq);
    a.dk = nf_columns(dqkv, nq, nk);
    a.dv = nf_columns(dqkv, nq + nk, nk);
    a.o = random_matrix(b, T, nq);
    a.g = random_matrix(b, T, nq);
    a.lse = take(b, (size_t)(heads * T) * sizeof(float), "lse");
    a.arg = (struct nf_attention_arg){.heads = heads,
                                      .kv_heads = kv,
                                      .d_qk = d,
                                      .d_v = d,
                                      .scale = 0.1f,
                                      .seq = {.rows = rows, .len = len},
                                      .backend = backend,
                                      .training = true};
    const char *name = backend == NF_ATTN_CUDNN ? "cuDNN" : "flash";
    snprintf(what, sizeof what, "attention %s, %d x %d, heads %d / %d of %d, forward", name, rows, len, heads, kv, d);
    measure(b, what, flops, attend, &a);
    snprintf(what, sizeof what, "attention %s, %d x %d, heads %d / %d of %d, backward", name, rows, len, heads, kv, d);
    measure(b, what, 2.5 * flops, attend_back, &a);
    nf_arena_reset(b->data, NF_LOW, mark);
}

static void all_attention(struct bench *b)
{
    for (int dnn = 0; dnn < 2; dnn++) {
        const enum nf_attention_backend backend = dnn ? NF_ATTN_CUDNN : NF_ATTN_FLASH;
        attention(b, backend, 1, 4096, 32, 2, 128);
        attention(b, backend, 4, 4096, 32, 2, 128);
        attention(b, backend, 1, 4096, 32, 4, 128);
        attention(b, backend, 1, 4096, 32, 8, 64);
        attention(b, backend, 1, 16384, 32, 4, 128);
    }
}

static void all_experts(struct bench *b)
{
    static const int uneven[16] = {2891, 743, 1502, 1987, 1211, 905, 2304, 1633, 1408, 1155, 1876, 612, 2750, 1020, 1444, 1135};
    static const enum nf_experts backends[] = {NF_EXPERTS_GROUPED, NF_EXPERTS_BATCHED, NF_EXPERTS_EAGER};
    const struct {
        const char *name;
        int count;
        const int *rows;
        int each;
        int64_t K, N;
    } shapes[] = {{"16 x 1536 rows, 2688 -> 1856", 16, NULL, 1536, 2688, 1856},
                  {"16 uneven, 24576 rows, 2688 -> 1856", 16, uneven, 0, 2688, 1856},
                  {"16 x 2048 rows, 2048 -> 1536", 16, NULL, 2048, 2048, 1536},
                  {"128 x 256 rows, 2048 -> 1536", 128, NULL, 256, 2048, 1536},
                  {"16 uneven, 24576 rows, 1856 -> 2688", 16, uneven, 0, 1856, 2688},
                  {"16 x 2048 rows, 768 -> 2048", 16, NULL, 2048, 768, 2048}};

    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int k = 0; k < 3; k++)
            experts(b, backends[k], shapes[s].name, shapes[s].count, shapes[s].rows, shapes[s].each, shapes[s].K, shapes[s].N);
        puts("");
    }
}

int main(int argc, char **argv)
{
    const size_t scratch = (size_t)1 << 30, data = (size_t)6 << 30;
    const char *what = argc > 1 ? argv[1] : NULL;
    struct bench b = {0};
    void *p;

    must(nf_device_cuda(0, 1, &b.device), "GPU");
    printf("%s, %s\n", nf_device_name(b.device), nf_device_gpu_info(b.device)->about);
    must(nf_device_alloc(b.device, scratch, "work", &p), "work");
    must(nf_arena_new("work", p, scratch, &b.work), "work");
    must(nf_queue_new(b.device, "compute", 0, b.work, &b.q), "queue");
    must(nf_device_alloc(b.device, spare_bytes, "spare", &b.spare), "spare");
    must(nf_device_alloc(b.device, data, "data", &p), "data");
    must(nf_arena_new("data", p, data, &b.data), "data");
    if (!what || strcmp(what, "experts") == 0)
        all_experts(&b);
    if (!what || strcmp(what, "attention") == 0)
        all_attention(&b);
    nf_queue_free(b.q);
    return 0;
}
