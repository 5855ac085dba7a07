/* SPDX-License-Identifier: Apache-2.0 */
/* attention_dnn.c: the plans of cuDNN's attention: one a shape, kept for the process; and their execution on a queue. */
#include "attention_dnn.h"
#include "attention_graph.h"
#include "nemafit/gpu.h"
#include "sizes_attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLANS = 64 };

struct plan {
    struct nf_attn_shape shape;
    bool backward;
    struct nf_attn_tensors tensors;
    struct nf_dnn_plan plan;
};

/* What the plug-in keeps for a process: it has one GPU and one thread. */
struct nf_attn_dnn {
    cudnnHandle_t handle;
    struct plan plan[PLANS];
    int plans;
};
struct nf_attn_dnn nf_attn_dnn;

static nf_status failed(cudnnStatus_t s, const char *op, const char *call)
{
    return nf_cuda_fail(s == CUDNN_STATUS_ALLOC_FAILED ? NF_ENOMEM : NF_EDEVICE, "%s: %s: %s", op, call,
                        cudnnGetErrorString(s));
}

static nf_status open_library(const char *op)
{
    const cudnnStatus_t s = cudnnCreate(&nf_attn_dnn.handle);
    const size_t v = cudnnGetVersion();
    char line[64];

    if (s != CUDNN_STATUS_SUCCESS)
        return failed(s, op, "cudnnCreate");
    snprintf(line, sizeof line, "kernels   attention by cuDNN %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
    nf_cuda_host->note(line);
    return NF_OK;
}

static nf_status handle_on(const char *op, cudaStream_t stream, cudnnHandle_t *handle)
{
    cudnnStatus_t s;

    if (!nf_attn_dnn.handle)
        NF_TRY(open_library(op));
    *handle = nf_attn_dnn.handle;
    s = cudnnSetStream(*handle, stream);
    return s == CUDNN_STATUS_SUCCESS ? NF_OK : failed(s, op, "cudnnSetStream");
}

static nf_status make(const char *op, cudnnHandle_t handle, size_t workspace, struct plan *p)
{
    struct nf_dnn_graph *graph = calloc(1, sizeof *graph);
    nf_status s;

    if (!graph)
        return nf_cuda_fail(NF_ENOMEM, "%s: no memory for a graph of cuDNN", op);
    graph->handle = handle;
    if (p->backward)
        nf_attn_backward_graph(graph, &p->shape, &p->tensors);
    else
        nf_attn_forward_graph(graph, &p->shape, &p->tensors);
    s = nf_dnn_plan_make(graph, op, &p->plan);
    free(graph);
    if (!s && (p->plan.workspace < 0 || (size_t)p->plan.workspace > workspace))
        s = nf_cuda_fail(NF_EDEVICE,
                         "%s: this version of cuDNN (%zu) wants %lld bytes of workspace, and %zu are planned for"
                         "\n  Hint: backend.attention = 'flash'",
                         op, cudnnGetVersion(), (long long)p->plan.workspace, workspace);
    return s;
}

/* The plan of a shape, made when it is new. */
static nf_status find(const char *op, cudnnHandle_t handle, const struct nf_attn_shape *shape, bool backward, size_t workspace,
                      const struct plan **plan)
{
    for (int i = 0; i < nf_attn_dnn.plans; i++)
        if (nf_attn_dnn.plan[i].backward == backward && memcmp(&nf_attn_dnn.plan[i].shape, shape, sizeof *shape) == 0) {
            *plan = &nf_attn_dnn.plan[i];
            return NF_OK;
        }
    if (nf_attn_dnn.plans == PLANS)
        return nf_cuda_fail(NF_EBUG, "%s: more than %d shapes of attention", op, PLANS);
    struct plan *p = &nf_attn_dnn.plan[nf_attn_dnn.plans];
    *p = (struct plan){.shape = *shape, .backward = backward};
    NF_TRY(make(op, handle, workspace, p));
    nf_attn_dnn.plans++;
    *plan = p;
    return NF_OK;
}

static struct nf_attn_shape shape_of(const struct nf_attention_arg *a, nf_in q, nf_in k, nf_in v, nf_in o)
{
    return (struct nf_attn_shape){a->seq.rows,
                                  a->seq.len,
                                  a->heads,
                                  a->kv_heads,
                                  a->d_qk,
                                  a->d_v,
                                  {.q = q->stride[0], .k = k->stride[0], .v = v->stride[0], .o = o->stride[0]}};
}

nf_status nf_cuda_attention_dnn(cudaStream_t stream, nf_out o, float *lse, nf_in q, nf_in k, nf_in v,
                                const struct nf_attention_arg *arg, void *scratch)
{
    const char *op = "attention by cuDNN";
    const struct nf_attn_shape shape = shape_of(arg, q, k, v, o);
    struct nf_carving c = {scratch, nf_cuda_attention_scratch(q, k, v, o, arg)};
    const size_t bytes = nf_cuda_attention_dnn_workspace(arg, false);
    void *workspace = nf_carve(&c, bytes);
    float scale = arg->scale, least = -INFINITY;
    const struct plan *p;
    cudnnHandle_t handle;

    if (!workspace)
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", op);
    NF_TRY(handle_on(op, stream, &handle));
    NF_TRY(find(op, handle, &shape, false, bytes, &p));
    const struct nf_attn_tensors *t = &p->tensors;
    const struct nf_dnn_binding bound[] = {{t->q, q->data}, {t->k, k->data},    {t->v, v->data},   {t->o, o->data},
                                           {t->lse, lse},   {t->scale, &scale}, {t->least, &least}};
    return nf_dnn_run(handle, &p->plan, op, bound, sizeof bound / sizeof *bound, workspace);
}

nf_status nf_cuda_attention_dnn_bwd(cudaStream_t stream, nf_out dq, nf_out dk, nf_out dv, nf_in g, nf_in q, nf_in k, nf_in v,
                                    nf_in o, const float *lse, const struct nf_attention_arg *arg, void *scratch)
{
    const char *op = "attention backward by cuDNN";
    struct nf_attn_shape shape = shape_of(arg, q, k, v, o);
    struct nf_carving c = {scratch, nf_cuda_attention_bwd_scratch(q, k, v, o, arg)};
    const size_t bytes = nf_cuda_attention_dnn_workspace(arg, true), sum_bytes = nf_cuda_attention_dnn_sum(arg);
    void *workspace = nf_carve(&c, bytes), *dq_sum = nf_carve(&c, sum_bytes),
         *delta = nf_carve(&c, nf_cuda_attention_dnn_delta(arg));
    float scale = arg->scale, least = -INFINITY, one = 1.0f;
    const struct plan *p;
    cudnnHandle_t handle;

    if (!workspace || !dq_sum || !delta)
        return nf_cuda_fail(NF_EBUG, "%s: more scratch than the size function promised", op);
    shape.ld.g = g->stride[0];
    shape.ld.dq = dq->stride[0];
    shape.ld.dk = dk->stride[0];
    shape.ld.dv = dv->stride[0];
    NF_TRY(handle_on(op, stream, &handle));
    NF_TRY(find(op, handle, &shape, true, bytes, &p));
    if (cudaMemsetAsync(dq_sum, 0, sum_bytes, stream) != cudaSuccess)
        return nf_cuda_fail(NF_EDEVICE, "%s: CUDA: %s", op, cudaGetErrorString(cudaGetLastError()));
    const struct nf_attn_tensors *t = &p->tensors;
    const struct nf_dnn_binding bound[] = {{t->q, q->data},    {t->k, k->data},
                                           {t->v, v->data},    {t->o, o->data},
                                           {t->g, g->data},    {t->dq, dq->data},
                                           {t->dk, dk->data},  {t->dv, dv->data},
                                           {t->delta, delta},  {t->dq_sum, dq_sum},
                                           {t->scale, &scale}, {t->least, &least},
                                           {t->one, &one},     {t->lse, (void *)(uintptr_t)lse}};
    return nf_dnn_run(handle, &p->plan, op, bound, sizeof bound / sizeof *bound, workspace);
}
