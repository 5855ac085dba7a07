/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_fault.cu: see gpu_shim.h. */
extern "C" {
#include "gpu_shim.h"
}

__global__ void hang(void)
{
    for (;;)
        asm volatile("nanosleep.u32 1000;");
}

__global__ void illegal(int *nowhere)
{
    *(volatile int *)nowhere = 1;
}

void nf_gpu_fault(int never_ends, void *stream)
{
    if (never_ends)
        hang<<<1, 1, 0, (cudaStream_t)stream>>>();
    else
        illegal<<<1, 1, 0, (cudaStream_t)stream>>>((int *)16);
}
