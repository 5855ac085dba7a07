/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of ops (cuda_table.c) with the CPU on both sides: what its ops round in bf16 is within the bounds by which those of
 * a GPU are judged, their results do not depend on threads by more than sums in another order do, and these bounds are sharp:
 * results spoiled on purpose, in one element or by the rounding's direction, are refused.
 */
#include "cuda_rows.h"

int main(int argc, char **argv)
{
    struct cuda_rig rig;

    tap_open();
    cuda_rig_open_host(&rig, (size_t)256 << 20);
    rig.repeats = 1;
    rig.spoil = true;
    cuda_table_run(&rig, argc - 1, argv + 1);
    tap_ok(rig.seen == rig.spoiled && (argc > 1 || rig.spoiled > 5000), "of %lld spoiled results, %lld were refused",
           (long long)rig.spoiled, (long long)rig.seen);
    cuda_rig_close(&rig);
    return tap_done();
}
