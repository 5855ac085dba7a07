/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h: status codes, how an error is told, and the element types. Knows nobody.
 *
 * Every function that can fail returns an nf_status and sets its outputs only on success. The function that decides *which*
 * error it is calls nf_fail() with the numbers; its callers pass the status on in silence (NF_TRY). Nothing below main ends
 * the process. Three kinds of failure, told apart in the doc of each function under "Errors":
 *
 *   same     the same on every rank by construction (bad input that all ranks parsed): no communication needed
 *   local    on some ranks, in a phase where all take part (a missing file, no memory): nf_agree() at the end of the phase
 *   fatal    on some ranks while others may wait in a collective: nf_die()
 */
#ifndef NEMAFIT_BASE_H
#define NEMAFIT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NF_COLD __attribute__((cold, noinline))
#define NF_MUST_USE __attribute__((warn_unused_result))
#else
#define NF_PRINTF(fmt, args)
#define NF_COLD
#define NF_MUST_USE
#endif

/* What went wrong, grouped by what a user can do about it. nf_status_exit() maps each to an exit status. */
typedef enum nf_status {
    NF_OK = 0,
    NF_EUSAGE,     /* 64: command line or namelist is wrong */
    NF_EDATA,      /* 65: an input file is damaged or does not fit */
    NF_EMISSING,   /* 66: an input file is not there */
    NF_EPEER,      /* 69: another rank or a collective is lost */
    NF_EBUG,       /* 70: one of our own conditions is broken (shape, type, missing backend slot) */
    NF_ENOMEM,     /* 71: memory or another resource of the system */
    NF_EDEVICE,    /* 71: the device, its driver or its plug-in */
    NF_EEXISTS,    /* 73: an output exists, or another run holds the directory */
    NF_EIO,        /* 74: reading or writing failed */
    NF_EPREEMPTED, /* 75: stopped on request with a snapshot; start the same command again */
    NF_EHANG,      /* 76: a rank makes no progress */
    NF_EPERM,      /* 77: permission denied */
    NF_EMODEL,     /* 78: config.json is wrong, or the model is not supported */
    NF_ENONFINITE, /* 79: loss or gradients are not finite */
    NF_EDIVERGED,  /* 80: replicas that must be equal are not */
    NF_ENOTIMPL,   /* 70: an optional slot is empty; callers that can go on without it do */
    NF_STATUS_COUNT
} nf_status;

const char *nf_status_name(nf_status s);
int nf_status_exit(nf_status s);

/* Pass a failure on: the one who knew has spoken already. */
#define NF_TRY(call)                                                                                                           \
    do {                                                                                                                       \
        nf_status nf_try_status = (call);                                                                                      \
        if (nf_try_status != NF_OK)                                                                                            \
            return nf_try_status;                                                                                              \
    } while (0)

/*
 * nf_fail: record the diagnosis of an error and return its status: `return nf_fail(NF_EDATA, "%s: ...", file)`.
 * The text is one or more lines without a final newline; the first says where and what, found and expected; a last line
 * "  Hint: ..." says what to do. Only the first diagnosis of a process is kept until nf_diagnosis_clear(): what follows
 * is usually its consequence. Nothing is printed here: main, or the phase that agreed, prints it once.
 * Collective  no
 * Memory      a fixed buffer of 16 KiB; longer texts end in "..."
 */
NF_COLD nf_status nf_fail(nf_status s, const char *fmt, ...) NF_PRINTF(2, 3);
const char *nf_diagnosis(void); /* "" when there is none */
nf_status nf_diagnosis_status(void);
void nf_diagnosis_set(nf_status s, const char *text); /* what another rank found, received by nf_agree() */
void nf_diagnosis_clear(void);

/*
 * nf_die: the end, for failures after which others may wait for ever. Prints the text with the rank, then calls the hook
 * that main installed (MPI_Abort of the world) and leaves by _exit. Never returns.
 */
NF_COLD void nf_die(nf_status s, const char *fmt, ...) NF_PRINTF(2, 3);
void nf_die_hook(void (*abort_all)(int exit_status)); /* NULL: nobody is told, the process just leaves */
/* Leave at once and without a word, where another rank tells why. Never returns. */
NF_COLD void nf_leave(nf_status s);

/* A condition that only a bug of ours can break; checked in every build, since it costs nothing beside a GEMM. */
#define NF_CHECK(cond)                                                                                                         \
    do {                                                                                                                       \
        if (!(cond))                                                                                                           \
            return nf_fail(NF_EBUG, "%s:%d: %s: condition failed: %s", __FILE__, __LINE__, __func__, #cond);                   \
    } while (0)

/* Element types. The numbers are written into snapshots: append only. */
typedef enum nf_dtype {
    NF_F32 = 0,
    NF_BF16 = 1,
    NF_F16 = 2, /* checkpoints only: widened on load */
    NF_I32 = 3,
    NF_I64 = 4,
    NF_U8 = 5,
    NF_I16 = 6, /* remainders of split weights */
    NF_F64 = 7,
    NF_DTYPE_COUNT
} nf_dtype;

size_t nf_dtype_size(nf_dtype t);
const char *nf_dtype_name(nf_dtype t); /* "fp32", "bf16", ... as the namelist spells them */

/* bf16 and fp16 as bits; rounding to nearest even, NaN stays NaN. */
float nf_bf16_to_f32(uint16_t bits);
uint16_t nf_f32_to_bf16(float x);
float nf_f16_to_f32(uint16_t bits);
uint16_t nf_f32_to_f16(float x);

/* An fp32 value as a bf16 weight (its bits rounded half up to 16) and a signed 16-bit remainder: bits = (weight << 16) + low,
 * exactly, for every pattern of bits. */
void nf_split_f32(float x, uint16_t *weight, int16_t *low);
float nf_join_f32(uint16_t weight, int16_t low);

#endif
