/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_sync.cuh: how blocks of one grid, and grids of several ranks, wait for each other. A flag is written with release and
 * read with acquire at system scope: peers are other GPUs, or other processes on this one. A wait is bounded: after a second it
 * is shown to the host, after its limit the device stops for good, so that nothing computed from half of the rows can be used.
 *
 * Source  PTX ISA 8, memory consistency model: a release behind a barrier of the block covers what its other threads wrote
 */
#ifndef NEMAFIT_MESH_CUDA_WINDOW_SYNC_CUH
#define NEMAFIT_MESH_CUDA_WINDOW_SYNC_CUH

#include <cuda_runtime.h>

#include "../gpu_window.h"

#define NF_DEVICE static __device__ __forceinline__

NF_DEVICE uint64_t load_acquire(const uint64_t *p)
{
    uint64_t x;
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(x) : "l"(p) : "memory");
    return x;
}

NF_DEVICE void store_release(uint64_t *p, uint64_t x)
{
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(p), "l"(x) : "memory");
}

/* To memory of the host that nobody waits for. */
NF_DEVICE void store_told(uint64_t *p, uint64_t x)
{
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(p), "l"(x) : "memory");
}

NF_DEVICE uint32_t add_acq_rel_grid(uint32_t *p, uint32_t x)
{
    uint32_t before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(before) : "l"(p), "r"(x) : "memory");
    return before;
}

NF_DEVICE uint32_t load_acquire_grid(const uint32_t *p)
{
    uint32_t x;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
    return x;
}

NF_DEVICE uint64_t nanoseconds()
{
    uint64_t t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}

NF_DEVICE void pause()
{
    __nanosleep(40);
}

NF_DEVICE void stop_device()
{
    __threadfence_system();
    __trap();
}

/* All blocks of the grid, which are few enough to run at once. */
NF_DEVICE void grid_barrier(uint32_t *turns)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        const uint32_t mine = add_acq_rel_grid(turns, 1), last = mine / gridDim.x * gridDim.x + gridDim.x;
        while ((int32_t)(load_acquire_grid(turns) - last) < 0)
            pause();
    }
    __syncthreads();
}

struct waiter {
    nf_window_told *told;
    uint64_t number;
    double limit;
    int way;
};

/* One thread, for one flag. */
static __device__ void wait_for(const uint64_t *flag, uint64_t epoch, const waiter &w, int why, int peer)
{
    const uint64_t second = 1000000000;
    if (load_acquire(flag) >= epoch)
        return;
    const uint64_t begin = nanoseconds(), word = nf_wait_pack(w.way, why, peer, w.number);
    uint64_t next = begin + second;
    for (uint32_t i = 1; load_acquire(flag) < epoch; i++) {
        pause();
        if (i % 256)
            continue;
        const uint64_t now = nanoseconds();
        if (now < next)
            continue;
        next = now + second;
        store_told(&w.told->waiting, word);
        if ((double)(now - begin) > w.limit * 1e9) {
            store_told(&w.told->expired, word);
            stop_device();
        }
    }
    if (next > begin + second)
        store_told(&w.told->waiting, 0); /* another thread that still waits says so again */
}

#endif
