/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu.h: the boundary between the program and its GPU plug-in, nemafit_gpu.so. The program opens the plug-in when it runs and
 * calls its tables; the plug-in calls back through nf_host and wants no symbol of the program. It knows no MPI: what ranks must
 * tell each other travels as bytes that the program carries.
 *
 * All of it is C and plain data. A change of any struct here, of struct nf_backend or of a struct that ops pass by pointer asks
 * for a new NF_GPU_ABI: a plug-in of another number, or with tables of another size, is refused.
 */
#ifndef NEMAFIT_GPU_H
#define NEMAFIT_GPU_H

#include "nemafit/device.h"

#define NF_GPU_ABI 3

/* What lies behind a queue on the plug-in's side. Private to it, but for this: its first member is the stream. */
typedef struct nf_gpu_queue nf_gpu_queue;

/* ---- what the program gives ------------------------------------------------------------------------------------------ */

struct nf_host {
    int abi;
    size_t bytes; /* of this struct */
    /* Records a diagnosis as nf_fail() does and returns the status. */
    nf_status (*fail)(nf_status status, const char *text);
    void (*note)(const char *text); /* a line of the log, rank 0 alone */
    nf_gpu_queue *(*queue)(nf_queue *queue);
    nf_device *(*queue_device)(nf_queue *queue);
    void *(*device)(nf_device *device); /* what open() gave for it */
    void (*waited)(nf_queue *queue);    /* the host has waited for the queue: it is counted */
};

/* ---- what the plug-in gives ------------------------------------------------------------------------------------------ */

struct nf_gpu_info {
    char name[96];  /* "NVIDIA H100 80GB HBM3" */
    char about[96]; /* versions of driver, runtime and libraries */
    size_t bytes, free_bytes;
    int processors; /* streaming multiprocessors */
    char bus[32];   /* PCI address: ranks of a node that share a GPU find each other by it */
};

/* Every function that can fail has told its diagnosis through fail() when it returns. */
struct nf_gpu_device {
    nf_status (*count)(int *devices); /* 0 devices is no error; a driver too old is NF_EDEVICE */
    nf_status (*open)(int ordinal, void **device, struct nf_gpu_info *info);
    void (*close)(void *device);
    nf_status (*alloc)(void *device, size_t bytes, const char *what, void **block); /* zeroed */
    nf_status (*alloc_pinned)(void *device, size_t bytes, const char *what, void **block);
    void (*release)(void *device, void *block); /* of either kind */
    nf_status (*memory)(void *device, size_t *free_bytes, size_t *bytes);

    nf_status (*queue_new)(void *device, int priority, nf_gpu_queue **queue);
    void (*queue_free)(nf_gpu_queue *queue);
    nf_status (*drain)(nf_gpu_queue *queue);

    nf_status (*event_new)(void *device, void **event);
    void (*event_free)(void *event);
    nf_status (*record)(void *event, nf_gpu_queue *queue);
    nf_status (*wait)(nf_gpu_queue *queue, void *event);
    nf_status (*query)(void *event, bool *done);
    nf_status (*sync)(void *event);
    nf_status (*moment_new)(void *device,
                            void **moment); /* an event that keeps its time; event_free, record, query are its too */
    /* From one moment to a later one, to half a microsecond. NF_EBUG: one of them is not over yet. */
    nf_status (*elapsed)(void *from, void *to, double *seconds);

    nf_status (*copy)(nf_gpu_queue *queue, void *dst, const void *src, size_t bytes);
    nf_status (*copy_2d)(nf_gpu_queue *queue, void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                         size_t rows);
    nf_status (*fill)(nf_gpu_queue *queue, void *dst, int byte, size_t bytes);

    nf_status (*capture_begin)(nf_gpu_queue *queue);
    nf_status (*capture_end)(nf_gpu_queue *queue, void **graph);
    nf_status (*launch)(void *graph, nf_gpu_queue *queue);
    void (*graph_free)(void *graph);
};

/* Algorithms that are chosen by timing and belong to the run, since other ones give other bits. For src/ops/tuning.c. */
struct nf_gpu_tuning {
    int (*undecided)(void); /* shapes met so far without a choice */
    /* Times what there is for these shapes; `memory` is written over. A shape whose operands do not fit in it keeps the
     * heuristic's choice. The host waits. */
    nf_status (*choose)(nf_gpu_queue *queue, void *memory, size_t bytes);
    size_t (*bytes)(void);
    void (*save)(void *out); /* bytes() of them: all choices */
    /* Were these made with this version of the library, on a GPU of this kind? Otherwise `why` says what they are of and what
     * this is. */
    bool (*fits)(const void *in, size_t bytes, char *why, size_t size);
    /* Takes choices over. *taken false: they are of another library version, or no choices. */
    nf_status (*restore)(const void *in, size_t bytes, bool *taken);
};

struct nf_gpu {
    int abi;
    const struct nf_gpu_device *device;
    const void *ops; /* struct nf_backend of src/ops/backend.h */
    size_t ops_bytes;
    const struct nf_gpu_tuning *tuning;
    const void *comm; /* struct nf_gpu_comm of src/mesh/; NULL: none */
    size_t comm_bytes;
};

/* The only symbol that the plug-in shows. The host struct outlives the plug-in.
 * Errors  NF_EDEVICE: another ABI */
#define NF_GPU_OPEN "nf_gpu_open"
typedef nf_status nf_gpu_open_fn(const struct nf_host *host, int abi, struct nf_gpu *gpu);

/* Inside the plug-in: the program's callbacks, set once by nf_gpu_open; and a diagnosis from a format. */
extern const struct nf_host *nf_cuda_host;
NF_COLD nf_status nf_cuda_fail(nf_status status, const char *fmt, ...) NF_PRINTF(2, 3);

/* ---- the program's side ---------------------------------------------------------------------------------------------- */

/* The tables of the plug-in behind a CUDA device, or NULL: a host or dry device. For mesh: its comm table, and what open() gave
 * for the device, and a queue's own. */
const struct nf_gpu *nf_device_gpu(const nf_device *device);
void *nf_device_native(const nf_device *device);
nf_gpu_queue *nf_queue_native(nf_queue *queue);
const struct nf_gpu_info *nf_device_gpu_info(const nf_device *device);

#endif
