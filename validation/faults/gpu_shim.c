/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_shim.c: what goes wrong on a GPU, brought about from outside: preloaded, it stands in front of calls of the runtime.
 * Once there is a file $NF_GPU_FAULT.hang or $NF_GPU_FAULT.illegal, the next copy has a kernel before it that never ends, or
 * one that writes where there is no memory; after that every call of the process fails, as behind an error of the memory that
 * ECC cannot correct. With $NF_GPU_FAULT.full nothing more is handed out.
 */
#define _GNU_SOURCE
#include "gpu_shim.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* As the runtime declares them: its headers define these names themselves for code on the device. */
int cudaMalloc(void **p, size_t bytes);
int cudaMemcpyAsync(void *dst, const void *src, size_t bytes, int kind, void *stream);
enum { NO_MEMORY = 2 };

static bool asked(const char *what)
{
    const char *name = getenv("NF_GPU_FAULT");
    char path[4096];

    if (!name)
        return false;
    snprintf(path, sizeof path, "%s.%s", name, what);
    return access(path, F_OK) == 0;
}

int cudaMalloc(void **p, size_t bytes)
{
    union {
        void *object;
        int (*function)(void **, size_t);
    } real = {dlsym(RTLD_NEXT, "cudaMalloc")};

    return asked("full") ? NO_MEMORY : real.function(p, bytes);
}

int cudaMemcpyAsync(void *dst, const void *src, size_t bytes, int kind, void *stream)
{
    static bool done;
    union {
        void *object;
        int (*function)(void *, const void *, size_t, int, void *);
    } real = {dlsym(RTLD_NEXT, "cudaMemcpyAsync")};

    if (!done && (asked("hang") || asked("illegal"))) {
        done = true;
        nf_gpu_fault(asked("hang"), stream);
    }
    return real.function(dst, src, bytes, kind, stream);
}
