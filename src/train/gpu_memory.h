/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_memory.h: what a GPU's memory holds by name, and that nothing takes more of it behind the arenas' back. The driver tells
 * only how much of a GPU is in use by everybody; so it is asked between the phases of the start, when all ranks of a node stand
 * at the same place, and what a phase took has its name.
 */
#ifndef NEMAFIT_TRAIN_GPU_MEMORY_H
#define NEMAFIT_TRAIN_GPU_MEMORY_H

#include "engine.h"

enum gpu_phase {
    GPU_CONTEXT, /* the driver's, and what other processes have */
    GPU_RANKS,   /* communicators */
    GPU_ARENAS,
    GPU_KERNELS, /* code and libraries, loaded when first used */
    GPU_STEPS,   /* the first two steps */
    GPU_PHASES
};

/* Of the GPU of this rank. Plain data; all zero on a CPU. */
struct gpu_memory {
    size_t bytes;            /* of the GPU */
    size_t used[GPU_PHASES]; /* behind each phase */
    size_t arenas;           /* of all ranks on this GPU, in its pages; 0: not known yet */
    int ranks;               /* on this GPU */
};

/* Ask the GPU behind a phase. Collective over the node. Errors  local NF_EDEVICE; fatal NF_EPEER */
nf_status nf_gpu_memory_mark(struct gpu_memory *g, const nf_mesh *mesh, nf_device *device, enum gpu_phase phase);
/* Behind GPU_ARENAS: the blocks of the ranks on this GPU must be what that phase took, within some pages a rank; else a warning
 * with both numbers. Collective over the node. */
nf_status nf_gpu_memory_check(struct gpu_memory *g, const nf_mesh *mesh, nf_device *device);
/* A line of all phases up to GPU_KERNELS. Rank 0 */
void nf_gpu_memory_tell(const struct gpu_memory *g);
/* At the end, while everything is still there: is no more in use than behind GPU_STEPS, but for a page? A line, or a warning.
 * Collective over the node. */
nf_status nf_gpu_memory_end(const struct gpu_memory *g, const nf_mesh *mesh, nf_device *device);

#endif
