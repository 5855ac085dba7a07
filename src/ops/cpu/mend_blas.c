/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mend_blas.c: OpenBLAS chooses its kernels by the processor's model number when it is loaded, and takes SSE kernels for models
 * younger than itself, five to seven times slower. It reads OPENBLAS_CORETYPE at that moment only, so the way out is to set it
 * and start again. Only choices that leave out the processor's vector units are mended: on AVX-512 processors of AMD, Haswell,
 * Zen, SkylakeX and Cooperlake kernels run within 5 % of one another, so what is not generic stays.
 */
#define _GNU_SOURCE
#include "config.h"
#include "nemafit/ops.h"

#if defined(__x86_64__) && defined(__GNUC__) && defined(HAVE_OPENBLAS_GET_CORENAME)

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define GUARD "NEMAFIT_BLAS_MENDED"

/* Kernels without AVX2: of processors before 2013, or of none. */
static bool core_is_generic(const char *core)
{
    static const char *const old[] = {"generic",      "unknown",   "katmai", "coppermine", "northwood",  "prescott", "banias",
                                      "atom",         "core2",     "penryn", "dunnington", "nehalem",    "athlon",   "opteron",
                                      "opteron_sse3", "barcelona", "bobcat", "nano",       "sandybridge"};

    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        if (strcasecmp(core, old[i]) == 0)
            return true;
    return false;
}

static const char *core_by_features(void)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return NULL;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        return "SkylakeX";
    return "Haswell";
}

void nf_ops_mend_blas(char **argv)
{
    const char *core = openblas_get_corename(), *better = core_by_features();

    if (getenv("OPENBLAS_CORETYPE") || getenv(GUARD) || !better || !core || !core_is_generic(core))
        return;
    if (setenv("OPENBLAS_CORETYPE", better, 1) != 0 || setenv(GUARD, core, 1) != 0)
        return;
    execv("/proc/self/exe", argv);
    unsetenv("OPENBLAS_CORETYPE"); /* could not: go on slowly, and say so (nf_ops_describe) */
}

#else

void nf_ops_mend_blas(char **argv)
{
    (void)argv;
}

#endif
