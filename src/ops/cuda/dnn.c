/* SPDX-License-Identifier: Apache-2.0 */
/* dnn.c: building the graphs of dnn.h, with descriptors of cuDNN's backend interface. */
#include "dnn.h"
#include "nemafit/gpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void fail(struct nf_dnn_graph *g, cudnnStatus_t status, const char *what)
{
    char last[240] = "";

    if (status == CUDNN_STATUS_SUCCESS || g->status != CUDNN_STATUS_SUCCESS)
        return;
    cudnnGetLastErrorString(last, sizeof last);
    g->status = status;
    snprintf(g->why, sizeof g->why, "%s: %s%s%s", what, cudnnGetErrorString(status), last[0] ? ": " : "", last);
}

static cudnnBackendDescriptor_t make(struct nf_dnn_graph *g, cudnnBackendDescriptorType_t type, const char *what)
{
    cudnnBackendDescriptor_t d = NULL;

    if (g->count == NF_DNN_OWNED)
        fail(g, CUDNN_STATUS_INTERNAL_ERROR, "more descriptors than there is room for");
    if (g->status == CUDNN_STATUS_SUCCESS)
        fail(g, cudnnBackendCreateDescriptor(type, &d), what);
    if (g->status != CUDNN_STATUS_SUCCESS)
        return NULL;
    g->owned[g->count++] = d;
    return d;
}

static void set(struct nf_dnn_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *value, const char *what)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        fail(g, cudnnBackendSetAttribute(d, name, type, n, value), what);
}
#define SET(g, d, name, type, n, value) set(g, d, name, type, n, value, #name)

static void set_tensor(struct nf_dnn_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, int tensor,
                       const char *what)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->tensor[tensor], what);
}
#define SET_TENSOR(g, d, name, tensor) set_tensor(g, d, name, tensor, #name)

static void finish(struct nf_dnn_graph *g, cudnnBackendDescriptor_t d, const char *what)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        fail(g, cudnnBackendFinalize(d), what);
}

static void add(struct nf_dnn_graph *g, cudnnBackendDescriptor_t operation, const char *what)
{
    finish(g, operation, what);
    if (g->operations == NF_DNN_OPERATIONS)
        fail(g, CUDNN_STATUS_INTERNAL_ERROR, "more operations than there is room for");
    if (g->status == CUDNN_STATUS_SUCCESS)
        g->operation[g->operations++] = operation;
}

int nf_dnn_tensor(struct nf_dnn_graph *g, enum nf_dnn_kind kind, cudnnDataType_t type, const struct nf_dnn_shape *shape)
{
    const cudnnBackendDescriptor_t d = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "tensor");
    const int64_t align = 16, id = g->tensors + 1;
    const bool yes = true;

    if (g->tensors == NF_DNN_TENSORS)
        fail(g, CUDNN_STATUS_INTERNAL_ERROR, "more tensors than there is room for");
    SET(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    SET(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, shape->dim);
    SET(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, shape->stride);
    SET(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    SET(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    if (kind == NF_DNN_VIRTUAL)
        SET(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (kind == NF_DNN_NUMBER)
        SET(g, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    finish(g, d, "tensor");
    if (g->status != CUDNN_STATUS_SUCCESS)
        return 0;
    g->shape[g->tensors] = *shape;
    g->tensor[g->tensors] = d;
    return g->tensors++;
}

int nf_dnn_like(struct nf_dnn_graph *g, int tensor, cudnnDataType_t type)
{
    const struct nf_dnn_shape shape = g->shape[tensor];
    return nf_dnn_tensor(g, NF_DNN_VIRTUAL, type, &shape);
}

int nf_dnn_number(struct nf_dnn_graph *g)
{
    return nf_dnn_tensor(g, NF_DNN_NUMBER, CUDNN_DATA_FLOAT, &(struct nf_dnn_shape){{1, 1, 1, 1}, {1, 1, 1, 1}});
}

static void pointwise(struct nf_dnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t compute, int x, int b, int t, int y,
                      int64_t axis)
{
    const cudnnBackendDescriptor_t how = make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "pointwise");
    const float one = 1.0f;

    SET(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    SET(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    if (axis >= 0)
        SET(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    finish(g, how, "pointwise");
    const cudnnBackendDescriptor_t op = make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, "pointwise operation");
    SET(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &how);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    if (b >= 0)
        SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    if (t >= 0)
        SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    SET(g, op, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_TYPE_FLOAT, 1, &one);
    SET(g, op, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, CUDNN_TYPE_FLOAT, 1, &one);
    add(g, op, "pointwise operation");
}

void nf_dnn_pointwise(struct nf_dnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t compute, int x, int b, int t, int y)
{
    pointwise(g, mode, compute, x, b, t, y, -1);
}

void nf_dnn_index(struct nf_dnn_graph *g, int axis, int like, int y)
{
    pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, like, -1, -1, y, axis);
}

void nf_dnn_reduce(struct nf_dnn_graph *g, cudnnReduceTensorOp_t mode, int x, int y)
{
    const cudnnBackendDescriptor_t how = make(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, "reduction");
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;

    SET(g, how, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    SET(g, how, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode);
    finish(g, how, "reduction");
    const cudnnBackendDescriptor_t op = make(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, "reduction operation");
    SET(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &how);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    add(g, op, "reduction operation");
}

void nf_dnn_matmul(struct nf_dnn_graph *g, int a, int b, int c)
{
    const cudnnBackendDescriptor_t how = make(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR, "matmul");
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;

    SET(g, how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    finish(g, how, "matmul");
    const cudnnBackendDescriptor_t op = make(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, "matmul operation");
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    SET(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &how);
    add(g, op, "matmul operation");
}

void nf_dnn_reshape(struct nf_dnn_graph *g, int x, int y)
{
    const cudnnBackendDescriptor_t op = make(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, "reshape");

    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    SET_TENSOR(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    add(g, op, "reshape");
}

/* ---- plans ------------------------------------------------------------------------------------------------------------- */

static cudnnBackendDescriptor_t graph_of(struct nf_dnn_graph *g)
{
    const cudnnBackendDescriptor_t graph = make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "graph");

    SET(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle);
    SET(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->operations, g->operation);
    finish(g, graph, "graph");
    return graph;
}

/* What a mode of the heuristic offers, best first. */
static int offers(struct nf_dnn_graph *g, cudnnBackendDescriptor_t graph, cudnnBackendHeurMode_t mode,
                  cudnnBackendDescriptor_t config[NF_DNN_CONFIGS])
{
    const cudnnBackendDescriptor_t heuristic = make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "heuristic");
    int64_t count = 0;

    SET(g, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    SET(g, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finish(g, heuristic, "heuristic");
    for (int i = 0; i < NF_DNN_CONFIGS; i++)
        config[i] = make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "configuration");
    if (g->status == CUDNN_STATUS_SUCCESS)
        fail(g,
             cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, NF_DNN_CONFIGS,
                                      &count, config),
             "heuristic");
    return g->status == CUDNN_STATUS_SUCCESS ? (int)count : 0;
}

static bool plan_of(struct nf_dnn_graph *g, cudnnBackendDescriptor_t config, struct nf_dnn_plan *plan)
{
    int64_t count;
    cudnnStatus_t s = cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan->plan);

    if (s != CUDNN_STATUS_SUCCESS) {
        fail(g, s, "plan");
        return false;
    }
    s = cudnnBackendSetAttribute(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendSetAttribute(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                     &config);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendFinalize(plan->plan);
    if (s == CUDNN_STATUS_SUCCESS)
        s = cudnnBackendGetAttribute(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                                     &plan->workspace);
    if (s == CUDNN_STATUS_SUCCESS)
        return true;
    g->why[0] = '\0'; /* of the last one that could not be made */
    cudnnGetLastErrorString(g->why, sizeof g->why);
    cudnnBackendDestroyDescriptor(plan->plan);
    return false;
}

static void dismantle(struct nf_dnn_graph *g)
{
    while (g->count > 0)
        cudnnBackendDestroyDescriptor(g->owned[--g->count]);
}

nf_status nf_dnn_plan_make(struct nf_dnn_graph *g, const char *what, struct nf_dnn_plan *plan)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    const cudnnBackendDescriptor_t graph = graph_of(g);
    cudnnBackendDescriptor_t config[NF_DNN_CONFIGS];
    bool made = false;

    for (int m = 0; m < 2 && !made; m++) {
        const int count = offers(g, graph, modes[m], config);
        for (int i = 0; i < count && !made && g->status == CUDNN_STATUS_SUCCESS; i++)
            made = plan_of(g, config[i], plan);
    }
    if (made) /* the graph stays too: nothing says that a plan does without it */
        return NF_OK;
    dismantle(g);
    return nf_cuda_fail(g->status == CUDNN_STATUS_ALLOC_FAILED ? NF_ENOMEM : NF_EDEVICE, "%s: cuDNN %zu has no plan: %s", what,
                        cudnnGetVersion(), g->why[0] ? g->why : "nothing is offered");
}

nf_status nf_dnn_run(cudnnHandle_t handle, const struct nf_dnn_plan *plan, const char *what,
                     const struct nf_dnn_binding *binding, int count, void *workspace)
{
    cudnnBackendDescriptor_t pack;
    void *data[NF_DNN_TENSORS];
    int64_t id[NF_DNN_TENSORS];
    cudnnStatus_t s = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    char last[240] = "";

    if (s == CUDNN_STATUS_SUCCESS) {
        for (int i = 0; i < count; i++) {
            data[i] = binding[i].data;
            id[i] = binding[i].tensor + 1;
        }
        s = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, data);
        if (s == CUDNN_STATUS_SUCCESS)
            s = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, id);
        if (s == CUDNN_STATUS_SUCCESS)
            s = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
        if (s == CUDNN_STATUS_SUCCESS)
            s = cudnnBackendFinalize(pack);
        if (s == CUDNN_STATUS_SUCCESS)
            s = cudnnBackendExecute(handle, plan->plan, pack);
        if (s != CUDNN_STATUS_SUCCESS)
            cudnnGetLastErrorString(last, sizeof last);
        cudnnBackendDestroyDescriptor(pack);
    }
    return s == CUDNN_STATUS_SUCCESS
               ? NF_OK
               : nf_cuda_fail(NF_EDEVICE, "%s: cuDNN: %s%s%s", what, cudnnGetErrorString(s), last[0] ? ": " : "", last);
}
