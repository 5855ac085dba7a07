/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_gpu.c: a GPU plug-in without a GPU, by which what the mesh does with memory of devices is tested anywhere. Its queues
 * run at once; its memory is the host's, but only while one of its own functions runs: whoever else touches it is killed.
 * $FAKE_GPUS says how many GPUs the node has: with fewer than ranks, they share.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_gpu.h"

const struct nf_host *fake_host;

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

enum { BLOCKS = 256 };
static struct {
    void *at;
    size_t bytes;
} block[BLOCKS];

static void protect(int how)
{
    for (int i = 0; i < BLOCKS; i++)
        if (block[i].at && mprotect(block[i].at, block[i].bytes, how) != 0)
            abort();
}

void fake_begin(void)
{
    protect(PROT_READ | PROT_WRITE);
}

nf_status fake_end(void)
{
    protect(PROT_NONE);
    return NF_OK;
}

static nf_status no_memory(const char *what)
{
    return fake_host->fail(NF_ENOMEM, what);
}

static nf_status take(void *device, size_t bytes, const char *what, void **memory)
{
    int i = 0;

    (void)device;
    while (i < BLOCKS && block[i].at)
        i++;
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || i == BLOCKS)
        return no_memory(what);
    block[i].at = *memory = p;
    block[i].bytes = bytes ? bytes : 1;
    return NF_OK;
}

static nf_status take_pinned(void *device, size_t bytes, const char *what, void **memory)
{
    (void)device;
    *memory = aligned_alloc(4096, (bytes + 4096) / 4096 * 4096);
    if (!*memory)
        return no_memory(what);
    memset(*memory, 0, bytes);
    return NF_OK;
}

static void release(void *device, void *memory)
{
    (void)device;
    for (int i = 0; i < BLOCKS; i++)
        if (block[i].at == memory && memory) {
            munmap(memory, block[i].bytes);
            block[i].at = NULL;
            return;
        }
    free(memory);
}

static nf_status left(void *device, size_t *free_bytes, size_t *bytes)
{
    (void)device;
    *free_bytes = *bytes = (size_t)1 << 40;
    return NF_OK;
}

static nf_status copy(nf_gpu_queue *queue, void *dst, const void *src, size_t bytes)
{
    (void)queue;
    fake_begin();
    memcpy(dst, src, bytes);
    return fake_end();
}

static nf_status copy_2d(nf_gpu_queue *queue, void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                         size_t rows)
{
    (void)queue;
    fake_begin();
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)dst + r * dst_pitch, (const char *)src + r * src_pitch, width);
    return fake_end();
}

static nf_status fill(nf_gpu_queue *queue, void *dst, int byte, size_t bytes)
{
    (void)queue;
    fake_begin();
    memset(dst, byte, bytes);
    return fake_end();
}

/* ---- devices and queues ------------------------------------------------------------------------------------------------ */

static nf_status count(int *devices)
{
    const char *n = getenv("FAKE_GPUS");
    *devices = n ? atoi(n) : 1;
    return NF_OK;
}

static int thing; /* what a device, a queue and an event are */

static nf_status open_device(int ordinal, void **device, struct nf_gpu_info *info)
{
    *info = (struct nf_gpu_info){.bytes = (size_t)1 << 40, .free_bytes = (size_t)1 << 40, .processors = 1};
    snprintf(info->name, sizeof info->name, "fake GPU %d", ordinal);
    snprintf(info->bus, sizeof info->bus, "%d", ordinal);
    *device = &thing;
    return NF_OK;
}

static void forget(void *it)
{
    (void)it;
}

static nf_status queue_new(void *device, int priority, nf_gpu_queue **queue)
{
    (void)device;
    (void)priority;
    *queue = (nf_gpu_queue *)(void *)&thing;
    return NF_OK;
}

static void queue_free(nf_gpu_queue *queue)
{
    (void)queue;
}

static nf_status drain(nf_gpu_queue *queue)
{
    (void)queue;
    return NF_OK;
}

static nf_status event_new(void *device, void **event)
{
    (void)device;
    *event = &thing;
    return NF_OK;
}

static nf_status record(void *event, nf_gpu_queue *queue)
{
    (void)event;
    (void)queue;
    return NF_OK;
}

static nf_status wait(nf_gpu_queue *queue, void *event)
{
    (void)queue;
    (void)event;
    return NF_OK;
}

static nf_status query(void *event, bool *done)
{
    (void)event;
    *done = true;
    return NF_OK;
}

static nf_status sync(void *event)
{
    (void)event;
    return NF_OK;
}

nf_gpu_open_fn nf_gpu_open;

nf_status nf_gpu_open(const struct nf_host *program, int abi, struct nf_gpu *gpu)
{
    static const struct nf_gpu_device device = {.count = count,
                                                .open = open_device,
                                                .close = forget,
                                                .alloc = take,
                                                .alloc_pinned = take_pinned,
                                                .release = release,
                                                .memory = left,
                                                .queue_new = queue_new,
                                                .queue_free = queue_free,
                                                .drain = drain,
                                                .event_new = event_new,
                                                .event_free = forget,
                                                .record = record,
                                                .wait = wait,
                                                .query = query,
                                                .sync = sync,
                                                .copy = copy,
                                                .copy_2d = copy_2d,
                                                .fill = fill,
                                                .graph_free = forget};

    gpu->abi = abi;
    fake_host = program;
    gpu->device = &device;
    gpu->comm = &fake_comm;
    gpu->comm_bytes = sizeof fake_comm;
    return NF_OK;
}
