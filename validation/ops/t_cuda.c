/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every op of the CUDA backend against its definition, the CPU's op: odd and large shapes, fp32 and bf16 (cuda_table.c).
 * `t_cuda NAME ...` runs the rows of these ops alone. Skipped where there is no GPU.
 */
#include "cuda_rows.h"

int main(int argc, char **argv)
{
    struct cuda_rig rig;

    if (!cuda_rig_open(&rig, (size_t)1 << 30))
        return 0;
    tap_open();
    cuda_table_run(&rig, argc - 1, argv + 1);
    cuda_rig_close(&rig);
    return tap_done();
}
