/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cudarig.h: an op of the CUDA backend against the CPU's, which is the definition. A trial is one call with one shape: the same
 * inputs on both devices, outputs full of NaN, one run on the CPU and three on the GPU. The results must be near (in the
 * 2-norm, relative to the CPU's), nothing beside a view may have been written, and the three runs must give the same bits.
 *
 * A failed trial prints the error of each output, the first wrong element and goes on: the next row may say more.
 */
#ifndef NEMAFIT_VALIDATION_CUDARIG_H
#define NEMAFIT_VALIDATION_CUDARIG_H

#include "nemafit/gpu.h"
#include "nemafit/ops.h"
#include "ops/backend.h"
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum cuda_use { CUDA_IN, CUDA_OUT, CUDA_INOUT };
enum { CUDA_ARGS = 24, CUDA_REPEATS = 3 };

/* One tensor of a call on both sides. Ints and flat arrays are tensors too. */
struct cuda_arg {
    const char *name;
    nf_tensor side[2]; /* 0: CPU, 1: GPU */
    enum cuda_use use;
    double bound; /* of an output; 0: the same bits */
    void *init;   /* what the whole allocation holds before a call */
    size_t bytes;
};

struct cuda_rig {
    nf_device *device[2];
    nf_queue *q[2];
    nf_arena *work[2];
    void *block[2];
    size_t work_bytes[2];
    const struct nf_backend *ops; /* of the GPU; may have empty slots */
};

struct cuda_trial;
typedef nf_status cuda_call(struct cuda_trial *t, nf_queue *q, int side);
struct cuda_trial {
    struct cuda_rig *rig;
    char what[160];
    struct cuda_arg arg[CUDA_ARGS];
    int args;
    cuda_call *call;
    const void *opt; /* whatever the call wants to know */
};

/* Argument i as seen from a side */
#define CUDA_T(t, i) (&(t)->arg[i].side[side])
#define CUDA_P(t, i) ((t)->arg[i].side[side].data)

/* false: there is no GPU to test on; the plan "1..0 # SKIP why" is printed. work: bytes of scratch. */
bool cuda_rig_open(struct cuda_rig *rig, size_t work);
void cuda_rig_close(struct cuda_rig *rig);

struct cuda_trial cuda_trial_new(struct cuda_rig *rig, cuda_call *call, const void *opt, const char *fmt, ...) TAP_PRINTF(4, 5);
/* Add an argument; its number is returned. Reals are drawn from [-spread, spread). stride 0: dense. */
int cuda_real(struct cuda_trial *t, const char *name, enum cuda_use use, double bound, nf_dtype type, int64_t rows,
              int64_t cols, int64_t stride, double spread);
int cuda_cube(struct cuda_trial *t, const char *name, enum cuda_use use, double bound, nf_dtype type, int64_t n, int64_t rows,
              int64_t cols, double spread);
/* A flat array with these contents (NULL: zeros; for an output: poison). */
int cuda_flat(struct cuda_trial *t, const char *name, enum cuda_use use, double bound, nf_dtype type, int64_t n,
              const void *contents);
/* The values of an argument as they were before the call, as floats (n of them; to be freed). */
float *cuda_initial(const struct cuda_trial *t, int arg, int64_t *n);
/* As cuda_real and such give a matrix, but as a vector: some ops insist. */
void cuda_as_vector(struct cuda_trial *t, int arg);

/* Runs it, gives one test point, frees the arguments. */
bool cuda_try(struct cuda_trial *t);

#endif
