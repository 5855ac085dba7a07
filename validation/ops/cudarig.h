/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cudarig.h: an op of a backend against the CPU's in fp32, which is the definition. A trial is one call with one shape: the
 * same inputs on both sides, outputs full of NaN, one run of the definition and three of the op that is tried. bf16 inputs are
 * widened to fp32 for the definition, which is exact, so its results are not rounded, and what the tried op rounds shows whole
 * (cuda_compare.c has the bounds). Nothing beside a view may have been written, and the three runs must give the same bits.
 *
 * The tried side is a GPU (t_cuda) or the CPU again (t_op_bounds), which holds the CPU's bf16 to its own fp32.
 *
 * A failed trial prints the error of each output, the worst element and goes on: the next row may say more.
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
enum { CUDA_ARGS = 24 };
/* What trials have met, for the table of ops */
enum {
    CUDA_MET_F32 = 1,
    CUDA_MET_BF16 = 2,
    CUDA_MET_STRIDED = 4,
    CUDA_MET_ODD = 8,    /* a dimension that no vector load divides */
    CUDA_MET_LARGE = 16, /* a tensor of more elements than one wave of threads takes */
    CUDA_MET_EMPTY = 32, /* no rows */
    CUDA_MET_OVERWRITTEN = 64,
    CUDA_MET_ADDED = 128,  /* an output that is added to */
    CUDA_MET_FROZEN = 256, /* an output that is not wanted */
};

/* One tensor of a call on both sides. Ints and flat arrays are tensors too. */
struct cuda_arg {
    const char *name;
    nf_tensor side[2]; /* 0: the definition, 1: the op that is tried */
    enum cuda_use use;
    double noise; /* of an output: see cuda_real; 0 and no other roundings: the same bits */
    double worst, square, beside;
    int joined;               /* cuda_joined: 1 + the other argument */
    void *init, *wide;        /* what the whole allocation holds before a call, on side 1 and on side 0; often one block */
    size_t bytes, wide_bytes; /* of them */
};

struct cuda_rig {
    nf_device *device[2];
    nf_queue *q[2];
    nf_arena *work[2];
    void *block[2];
    size_t work_bytes[2];
    const struct nf_backend *ops; /* of the tried side; may have empty slots */
    int repeats;
    int large;             /* not 0: no comparison; each op is called so often on its largest shapes (cuda_repeat.c) */
    size_t small;          /* not 0: trials with more bytes of arguments are left out */
    unsigned met;          /* CUDA_MET_..., by the trials since the last reset */
    bool spoil;            /* also spoil each output on purpose, and want the comparison to see it */
    int64_t spoiled, seen; /* so many times, and so many times it was seen */
    double nearest[2];     /* largest error, of an element and in the 2-norm, in units of its bound, since the last reset */
};

struct cuda_trial;
typedef nf_status cuda_call(struct cuda_trial *t, nf_queue *q, int side);
struct cuda_trial {
    struct cuda_rig *rig;
    char what[160];
    struct cuda_arg arg[CUDA_ARGS];
    int args;
    cuda_call *call;
    const void *opt;            /* whatever the call wants to know */
    const void *got[CUDA_ARGS]; /* while results are compared: what each argument of the tried side holds */
    bool same_types;            /* the definition runs in the types of the op, not in fp32 */
    bool free_bits;             /* of a library that does not repeat its bits: each run is held to the bounds */
};

/* Argument i as seen from a side */
#define CUDA_T(t, i) (&(t)->arg[i].side[side])
#define CUDA_P(t, i) ((t)->arg[i].side[side].data)

/* false: there is no GPU to test on; the plan "1..0 # SKIP why" is printed. work: bytes of scratch. */
bool cuda_rig_open(struct cuda_rig *rig, size_t work);
/* The CPU on both sides. */
void cuda_rig_open_host(struct cuda_rig *rig, size_t work);
void cuda_rig_close(struct cuda_rig *rig);

struct cuda_trial cuda_trial_new(struct cuda_rig *rig, cuda_call *call, const void *opt, const char *fmt, ...) TAP_PRINTF(4, 5);
/*
 * Before the first argument: the definition runs in the same types, with its own roundings, and only where its fp32 values and
 * those of the op lie on two sides of a limit may a result be another. For ops whose very definition rounds on the way.
 */
void cuda_same_types(struct cuda_trial *t);
/*
 * Add an argument; its number is returned. Reals are drawn from [-spread, spread). stride 0: dense.
 * noise, of an output: the error before it is rounded, a standard deviation in units of the results' root mean square. That
 * its own type rounds it once is known; further roundings: cuda_rounded.
 */
int cuda_real(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t rows,
              int64_t cols, int64_t stride, double spread);
int cuda_cube(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t n, int64_t rows,
              int64_t cols, double spread);
/*
 * Values on the way to an output are rounded to its type too. worst: by how many relative roundings an element may err in all;
 * square: the sum of their squares; both of |result| + beside, where beside is the size of what is added to a rounded value.
 */
void cuda_rounded(struct cuda_trial *t, int arg, double worst, double square, double beside);
/* Remainders of the bf16 weights that argument `w` holds: what is compared is the fp32 number that both are, as one of `low`.
 */
void cuda_joined(struct cuda_trial *t, int low, int w);
/* A flat array with these contents (NULL: zeros; for an output: poison). */
int cuda_flat(struct cuda_trial *t, const char *name, enum cuda_use use, double noise, nf_dtype type, int64_t n,
              const void *contents);
/* The values of an argument as they were before the call, as floats (n of them; to be freed). */
float *cuda_initial(const struct cuda_trial *t, int arg, int64_t *n);
/* As cuda_real and such give a matrix, but as a vector: some ops insist. */
void cuda_as_vector(struct cuda_trial *t, int arg);

/* Runs it, gives one test point, frees the arguments. */
bool cuda_try(struct cuda_trial *t);

/* cuda_repeat.c: calls of the tried op, rig->large in number, on the same inputs: the same bits each time? */
nf_status cuda_repeat(struct cuda_trial *t, bool *same);
/* cuda_compare.c: what an output holds after the call (the whole allocation of side 1) against the definition's. */
bool cuda_near(const struct cuda_trial *t, const struct cuda_arg *a, const void *got, bool quiet);
/* cuda_spoil.c: makes an output wrong in several ways, one after the other, and counts how often cuda_near sees it. */
void cuda_spoil(const struct cuda_trial *t, const struct cuda_arg *a, const void *got);

/* Ends the program with "Bail out!" if a status is an error; memory, or such an end. */
void cuda_must(nf_status s, const char *what);
void *cuda_grab(size_t bytes);
/* Every argument of a side as it is before a call */
nf_status cuda_place(struct cuda_trial *t, int side);

/* Elements of a buffer of any type, as doubles; the place of element i of a view in its allocation. */
double cuda_get(const void *data, nf_dtype type, int64_t i);
void cuda_put(void *data, nf_dtype type, int64_t i, double x);
int64_t cuda_offset(const nf_tensor *x, int64_t i);

#endif
