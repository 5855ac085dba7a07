/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repeat_cuda.c: `repeat_cuda N [OP ...]`: every op of the CUDA backend, or those named, N times on the same inputs at its
 * largest shapes, bits compared on the GPU. A route is used by default only if 1,000 repetitions were the same. Not a test of
 * make check: 1,000 take minutes.
 */
#include "cuda_rows.h"

int main(int argc, char **argv)
{
    struct cuda_rig rig;
    const int times = argc > 1 ? atoi(argv[1]) : 0;

    if (times < 2) {
        fprintf(stderr, "repeat_cuda N [OP ...], N from 2 on\n");
        return 64;
    }
    if (!cuda_rig_open(&rig, (size_t)4 << 30))
        return 0;
    rig.large = times;
    tap_open();
    cuda_table_run(&rig, argc - 2, argv + 2);
    cuda_rig_close(&rig);
    return tap_done();
}
