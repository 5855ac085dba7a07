/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_mend_blas.c: a BLAS that fell back to old kernels is mended by starting again once, with the environment set; a value that
 * was set is left alone; a BLAS that chose well is left alone. This program stands in for the BLAS: the name of its kernels is
 * ours to say. It runs itself with a first argument, the name, and what a run finds in its environment is its exit status.
 */
#include "config.h"
#include "nemafit/ops.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char *openblas_get_corename(void);

static char core[32];

char *openblas_get_corename(void)
{
    return core;
}

enum found { FOUND_NONE = 40, FOUND_ZEN, FOUND_BETTER, FOUND_OTHER };

static int child(char **argv)
{
    strncpy(core, argv[1], sizeof core - 1);
    nf_ops_mend_blas(argv);
    const char *type = getenv("OPENBLAS_CORETYPE");
    if (!type)
        return FOUND_NONE;
    if (strcmp(type, "Zen") == 0)
        return FOUND_ZEN;
    return strcmp(type, "Haswell") == 0 || strcmp(type, "SkylakeX") == 0 ? FOUND_BETTER : FOUND_OTHER;
}

static int status_of(const char *name, const char *set)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        unsetenv("NEMAFIT_BLAS_MENDED");
        if (set)
            setenv("OPENBLAS_CORETYPE", set, 1);
        else
            unsetenv("OPENBLAS_CORETYPE");
        execl("/proc/self/exe", "t_mend_blas", name, (char *)NULL);
        _exit(1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return child(argv);
    tap_open();
#if defined(__x86_64__) && defined(__GNUC__) && defined(HAVE_OPENBLAS_GET_CORENAME)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        /* The stand-in says "Prescott" after the new start too: that it ends at all shows the guard. */
        tap_ok(status_of("Prescott", NULL) == FOUND_BETTER,
               "SSE kernels on a processor with AVX2: started again with better ones");
        tap_ok(status_of("Nehalem", NULL) == FOUND_BETTER, "also under another old name");
    } else {
        tap_skip("this processor has no AVX2");
    }
#else
    tap_skip("kernels are mended with OpenBLAS on x86-64 alone");
#endif
    tap_ok(status_of("Prescott", "Zen") == FOUND_ZEN, "a value that is set stays");
    tap_ok(status_of("Zen", NULL) == FOUND_NONE && status_of("SkylakeX", NULL) == FOUND_NONE &&
               status_of("SapphireRapids", NULL) == FOUND_NONE,
           "kernels that are not generic stay");
    return tap_done();
}
