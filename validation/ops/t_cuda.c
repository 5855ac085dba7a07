/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every op of the CUDA backend against its definition, the CPU's op: odd and large shapes, fp32 and bf16 (cuda_table.c).
 *
 *     t_cuda [--small] [OP ...]   these rows alone; --small: their small shapes, once each, for tools that are slow
 *     t_cuda --list               the rows' names
 *
 * Skipped where there is no GPU.
 */
#include "cuda_rows.h"

int main(int argc, char **argv)
{
    struct cuda_rig rig;
    const bool small = argc > 1 && strcmp(argv[1], "--small") == 0;

    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        cuda_table_list();
        return 0;
    }
    if (!cuda_rig_open(&rig, (size_t)1 << 30))
        return 0;
    if (small) {
        rig.repeats = 1;
        rig.small = (size_t)1 << 20;
    }
    tap_open();
    cuda_table_run(&rig, argc - 1 - small, argv + 1 + small);
    cuda_rig_close(&rig);
    return tap_done();
}
