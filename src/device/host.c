/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host as a device, and the dry device, which has no memory. Host memory comes from mmap: page-aligned, zero, and taken
 * from the system only where it is touched; large blocks ask for huge pages. nf_device_release() needs the size it was asked
 * for.
 */
#define _GNU_SOURCE
#include "nemafit/str.h"
#include "private.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define UNPOISON(p, n)                                                                                                         \
    ASAN_UNPOISON_MEMORY_REGION(p, n) /* an arena over it may still be there: the addresses will be used again */
#else
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

static const size_t page = 4096, huge_page = (size_t)2 << 20;

/* "model name : AMD EPYC ..." of the first processor; else the machine's architecture. */
static void processor_name(char *out, size_t size)
{
    struct utsname machine;
    snprintf(out, size, "%s", uname(&machine) == 0 ? machine.machine : "processor");
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f)
        return;
    char line[512];
    while (fgets(line, sizeof line, f)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value)
            continue;
        for (value++; isspace((unsigned char)*value); value++)
            ;
        size_t n = strlen(value);
        while (n > 0 && isspace((unsigned char)value[n - 1]))
            value[--n] = '\0';
        if (n > 0)
            snprintf(out, size, "%.*s", (int)size - 1, value);
        break;
    }
    fclose(f);
}

nf_status nf_device_host(int threads, nf_device **device)
{
    NF_CHECK(threads >= 1);
    NF_TRY(nf_device_new(NF_HOST, false, threads, device));
    processor_name((*device)->name, sizeof(*device)->name);
    return NF_OK;
}

nf_status nf_device_dry(enum nf_device_kind kind, nf_device **device)
{
    NF_TRY(nf_device_new(kind, true, 1, device));
    snprintf((*device)->name, sizeof(*device)->name, "no device (dry run for %s)", kind == NF_CUDA ? "CUDA" : "the host");
    return NF_OK;
}

/* What is mapped for so many bytes; 0: more than there can be. */
static size_t mapped(size_t bytes)
{
    size_t unit = bytes >= huge_page ? huge_page : page;
    if (bytes > SIZE_MAX / 4)
        return 0;
    return bytes == 0 ? page : (bytes + unit - 1) / unit * unit;
}

static void *map(size_t size)
{
    bool huge = size >= huge_page;
    size_t reach = huge ? size + huge_page : size; /* to cut an aligned piece out of it */
    char *p = mmap(NULL, reach, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (!huge)
        return p;
    size_t skip = (size_t)(-(uintptr_t)p & (huge_page - 1));
    if (skip > 0)
        munmap(p, skip);
    if (huge_page - skip > 0)
        munmap(p + skip + size, huge_page - skip);
#ifdef MADV_HUGEPAGE
    madvise(p + skip, size, MADV_HUGEPAGE); /* a wish: a kernel without huge pages refuses it, and all works the same */
#endif
    return p + skip;
}

nf_status nf_device_alloc(nf_device *device, size_t bytes, const char *what, void **block)
{
    if (device->dry) {
        *block = NULL;
        return NF_OK;
    }
    if (device->gpu) {
        NF_TRY(device->gpu->alloc(device->native, bytes, what, block));
        device->taken += (bytes + huge_page - 1) / huge_page * huge_page;
        return NF_OK;
    }
    size_t size = mapped(bytes);
    void *p = size ? map(size) : NULL;
    if (!p) {
        char text[32];
        return nf_fail(NF_ENOMEM, "%s: cannot take %s of memory: %s", what, nf_str_bytes(text, (double)bytes),
                       strerror(size ? errno : ENOMEM));
    }
    *block = p;
    return NF_OK;
}

nf_status nf_device_alloc_pinned(nf_device *device, size_t bytes, const char *what, void **block)
{
    if (device->gpu)
        return device->gpu->alloc_pinned(device->native, bytes, what, block);
    return nf_device_alloc(device, bytes, what, block); /* the host's own memory is what pinning is for */
}

void nf_device_release(nf_device *device, void *block, size_t bytes)
{
    if (!block || device->dry)
        return;
    if (device->gpu) {
        device->gpu->release(device->native, block);
        return;
    }
    UNPOISON(block, mapped(bytes));
    munmap(block, mapped(bytes));
}
