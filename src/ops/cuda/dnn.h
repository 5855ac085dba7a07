/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dnn.h: operation graphs of cuDNN's backend interface: tensors, operations on them, the plan that cuDNN makes of a graph, its
 * execution. A failure sticks: calls after it do nothing, and nf_dnn_plan_make() tells the first.
 */
#ifndef NF_OPS_CUDA_DNN_H
#define NF_OPS_CUDA_DNN_H

#include "nemafit/base.h"

#include <cudnn.h>

enum { NF_DNN_TENSORS = 64, NF_DNN_OPERATIONS = 40, NF_DNN_OWNED = 256, NF_DNN_CONFIGS = 16 };

/* Where a tensor lives: in memory, between operations alone, or a number on the host. */
enum nf_dnn_kind { NF_DNN_MEMORY, NF_DNN_VIRTUAL, NF_DNN_NUMBER };

/* Four dimensions and their strides in elements. */
struct nf_dnn_shape {
    int64_t dim[4], stride[4];
};

struct nf_dnn_graph {
    cudnnHandle_t handle;
    struct nf_dnn_shape shape[NF_DNN_TENSORS];
    cudnnBackendDescriptor_t tensor[NF_DNN_TENSORS], operation[NF_DNN_OPERATIONS], owned[NF_DNN_OWNED];
    int tensors, operations, count;
    cudnnStatus_t status; /* the first that was not success */
    char why[320];
};

struct nf_dnn_plan {
    cudnnBackendDescriptor_t plan;
    int64_t workspace; /* bytes */
};

/* Each returns the tensor's number, which is how operations and nf_dnn_run() name it. */
int nf_dnn_tensor(struct nf_dnn_graph *g, enum nf_dnn_kind kind, cudnnDataType_t type, const struct nf_dnn_shape *shape);
int nf_dnn_like(struct nf_dnn_graph *g, int tensor, cudnnDataType_t type); /* virtual, of the same shape */
int nf_dnn_number(struct nf_dnn_graph *g);                                 /* fp32 */

/* Arithmetic in fp32. y = mode(x, b) or, with b and t, mode(x, b, t); -1: none. */
void nf_dnn_pointwise(struct nf_dnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t compute, int x, int b, int t, int y);
void nf_dnn_index(struct nf_dnn_graph *g, int axis, int like, int y); /* y = the place along an axis */
void nf_dnn_reduce(struct nf_dnn_graph *g, cudnnReduceTensorOp_t mode, int x, int y);
void nf_dnn_matmul(struct nf_dnn_graph *g, int a, int b, int c);
void nf_dnn_reshape(struct nf_dnn_graph *g, int x, int y);

/* The first plan that cuDNN's heuristic offers and can make. Its descriptors live as long as the process, as it does.
 * Errors  NF_EDEVICE: none, with cuDNN's reason; NF_ENOMEM */
nf_status nf_dnn_plan_make(struct nf_dnn_graph *g, const char *what, struct nf_dnn_plan *plan);

/* Addresses by tensor number (numbers: on the host, read before return). */
struct nf_dnn_binding {
    int tensor;
    void *data;
};
nf_status nf_dnn_run(cudnnHandle_t handle, const struct nf_dnn_plan *plan, const char *what,
                     const struct nf_dnn_binding *binding, int count, void *workspace);

#endif
