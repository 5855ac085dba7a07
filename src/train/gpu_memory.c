/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_memory.c: see gpu_memory.h. */
#include "gpu_memory.h"

#include <stdlib.h>
#include <string.h>

#include "nemafit/gpu.h"
#include "nemafit/log.h"

static const size_t granule = (size_t)2 << 20; /* a GPU hands memory out in pages of this size */

static nf_status ask(const nf_mesh *mesh, nf_device *device, size_t *used, size_t *bytes)
{
    size_t free_bytes = 0;
    nf_status s;

    NF_TRY(nf_barrier(nf_mesh_group(mesh, NF_NODE))); /* all have finished the phase ... */
    s = nf_device_memory(device, &free_bytes, bytes);
    NF_TRY(nf_barrier(nf_mesh_group(mesh, NF_NODE))); /* ... and none has begun the next */
    *used = *bytes - free_bytes;
    return s;
}

nf_status nf_gpu_memory_mark(struct gpu_memory *g, const nf_mesh *mesh, nf_device *device, enum gpu_phase phase)
{
    return nf_device_kind(device) == NF_CUDA ? ask(mesh, device, &g->used[phase], &g->bytes) : NF_OK;
}

/* What a rank of the node has of which GPU. */
struct share {
    char bus[sizeof((struct nf_gpu_info *)0)->bus];
    uint64_t bytes;
};

static nf_status sum_arenas(struct gpu_memory *g, const nf_group *node, const struct share *mine)
{
    struct share *all = malloc((size_t)nf_group_size(node) * sizeof *all);

    if (!all)
        return nf_fail(NF_ENOMEM, "no memory for a table of ranks");
    nf_status s = nf_gather_bytes(node, mine, sizeof *mine, all);
    for (int r = 0; r < nf_group_size(node) && !s; r++)
        if (strcmp(all[r].bus, mine->bus) == 0) {
            g->arenas += all[r].bytes;
            g->ranks++;
        }
    free(all);
    return s;
}

nf_status nf_gpu_memory_check(struct gpu_memory *g, const nf_mesh *mesh, nf_device *device)
{
    const size_t slack_pages = 4; /* a rank: small blocks may share a page, and the driver has some of its own */
    struct share mine = {.bytes = nf_device_taken(device)};
    char taken[32], counted[32];

    if (nf_device_kind(device) != NF_CUDA)
        return NF_OK;
    memcpy(mine.bus, nf_device_gpu_info(device)->bus, sizeof mine.bus);
    NF_TRY(sum_arenas(g, nf_mesh_group(mesh, NF_NODE), &mine));
    const size_t took = g->used[GPU_ARENAS] - g->used[GPU_RANKS], slack = (size_t)g->ranks * slack_pages * granule;
    if (g->used[GPU_ARENAS] < g->used[GPU_RANKS] || took > g->arenas + slack || took + slack < g->arenas)
        nf_warn("the GPU gave %s for arenas of %s: another process takes or gives memory, or something beside them does",
                nf_str_bytes(taken, (double)g->used[GPU_ARENAS] - (double)g->used[GPU_RANKS]),
                nf_str_bytes(counted, (double)g->arenas));
    return NF_OK;
}

void nf_gpu_memory_tell(const struct gpu_memory *g)
{
    static const char *const name[GPU_PHASES] = {"context and other processes", "communicators", "arenas",
                                                 "kernels and libraries", ""};
    char a[32], b[32];
    nf_str line = {0};

    if (!g->bytes)
        return;
    for (int p = GPU_CONTEXT; p <= GPU_KERNELS; p++) {
        const size_t before = p ? g->used[p - 1] : 0, took = g->used[p] > before ? g->used[p] - before : 0;
        if (took)
            nf_str_addf(&line, "%s%s %s", line.len ? ", " : "", nf_str_bytes(a, (double)took), name[p]);
    }
    nf_note("GPU       %s of %s in use%s: %s", nf_str_bytes(a, (double)g->used[GPU_KERNELS]), nf_str_bytes(b, (double)g->bytes),
            g->ranks > 1 ? ", by the ranks that share it" : "", line.text ? line.text : "");
    nf_str_free(&line);
}

nf_status nf_gpu_memory_end(const struct gpu_memory *g, const nf_mesh *mesh, nf_device *device)
{
    size_t used, bytes;
    char a[32], b[32];

    if (!g->used[GPU_STEPS])
        return NF_OK;
    NF_TRY(ask(mesh, device, &used, &bytes));
    if (used > g->used[GPU_STEPS] + granule)
        nf_warn("%s of the GPU's memory are in use, %s were behind the first two steps: a step took it, or another process",
                nf_str_bytes(a, (double)used), nf_str_bytes(b, (double)g->used[GPU_STEPS]));
    else
        nf_note("GPU       %s in use at the end, no more than behind the first two steps", nf_str_bytes(a, (double)used));
    return NF_OK;
}
