/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.c: finding and opening nemafit_gpu.so. Ranks on CPUs never load CUDA's libraries (some 200 MB a rank), and one
 * installation serves nodes with and without GPUs.
 */
#define _GNU_SOURCE
#include "config.h"
#include "private.h"

#include "nemafit/log.h"
#include "nemafit/str.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN "nemafit_gpu.so"

static nf_status fail(nf_status status, const char *text)
{
    return nf_fail(status, "%s", text);
}

static void note(const char *text)
{
    nf_note("%s", text);
}

static void *device_native(nf_device *device)
{
    return device->native;
}

static const struct nf_host host = {.abi = NF_GPU_ABI,
                                    .bytes = sizeof host,
                                    .fail = fail,
                                    .note = note,
                                    .queue = nf_queue_native,
                                    .queue_device = nf_queue_device,
                                    .waited = nf_queue_waited,
                                    .device = device_native};

/* The first place where a plug-in lies. Returns false: nowhere; `out` then names the places. */
static bool find(char *out, size_t size)
{
    const char *given = getenv("NEMAFIT_GPU_SO");
    char beside[4096];

    if (given && *given) {
        snprintf(out, size, "%s", given);
        return access(given, R_OK) == 0;
    }
    ssize_t n = readlink("/proc/self/exe", beside, sizeof beside - sizeof PLUGIN);
    while (n > 0 && beside[n - 1] != '/')
        n--;
    snprintf(beside + (n > 0 ? n : 0), sizeof PLUGIN, "%s", PLUGIN);
    if (n > 0 && access(beside, R_OK) == 0) {
        snprintf(out, size, "%s", beside);
        return true;
    }
    if (access(NF_PLUGIN_DIR "/" PLUGIN, R_OK) == 0) {
        snprintf(out, size, "%s", NF_PLUGIN_DIR "/" PLUGIN);
        return true;
    }
    snprintf(out, size, "%s, %s", beside, NF_PLUGIN_DIR "/" PLUGIN);
    return false;
}

nf_status nf_plugin_open(struct nf_gpu *gpu)
{
    char path[8192 + 64];
    union {
        void *object;
        nf_gpu_open_fn *function;
    } open;
    struct nf_gpu tables = {0};

    if (!find(path, sizeof path))
        return nf_fail(NF_EDEVICE,
                       "the GPU plug-in is missing; looked for %s"
                       "\n  Hint: build where nvcc, cuDNN and NCCL are (configure says what it found), or set NEMAFIT_GPU_SO",
                       path);
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) /* told before 200 MB of libraries are loaded for nothing */
        return nf_fail(NF_EDEVICE, "there is no NVIDIA driver on this node (libcuda.so.1)");
    dlclose(driver);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return nf_fail(NF_EDEVICE, "the GPU plug-in cannot be loaded: %s", dlerror());
    open.object = dlsym(library, NF_GPU_OPEN);
    if (!open.object)
        return nf_fail(NF_EDEVICE, "%s is no GPU plug-in of this program: it has no %s", path, NF_GPU_OPEN);
    NF_TRY(open.function(&host, NF_GPU_ABI, &tables));
    if (tables.abi != NF_GPU_ABI)
        return nf_fail(NF_EDEVICE, "%s belongs to another build: its interface is number %d, this program's %d", path,
                       tables.abi, NF_GPU_ABI);
    *gpu = tables;
    return NF_OK;
}
