/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every op of the CUDA backend against its definition, the CPU's op: odd and large shapes, fp32 and bf16. A row an op; `t_cuda
 * NAME ...` runs those rows alone. Skipped where there is no GPU.
 */
#include "cuda_rows.h"

#define SLOT(name) offsetof(struct nf_backend, name)
static const struct row {
    const char *op;
    size_t slot;
    void (*test)(struct cuda_rig *rig);
} table[] = {
    {"cast", SLOT(cast), cuda_test_cast},    {"add", SLOT(add), cuda_test_add}, {"fill", SLOT(fill), cuda_test_fill},
    {"sumsq", SLOT(sumsq), cuda_test_sumsq}, {"ssd", SLOT(ssd), cuda_test_ssd},
};

int main(int argc, char **argv)
{
    struct cuda_rig rig;

    if (!cuda_rig_open(&rig, (size_t)1 << 30))
        return 0;
    tap_open();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        bool wanted = argc == 1;
        for (int k = 1; k < argc; k++)
            wanted |= strcmp(argv[k], table[i].op) == 0;
        void (*slot)(void);
        memcpy(&slot, (const char *)rig.ops + table[i].slot, sizeof slot);
        if (!wanted)
            continue;
        if (slot)
            table[i].test(&rig);
        else
            tap_skip("%s is not in the CUDA backend", table[i].op);
    }
    cuda_rig_close(&rig);
    return tap_done();
}
