/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_table.c: the table of ops: a row a slot of the backend, and what its trials must have met: both types, strided rows,
 * odd and large shapes, no rows at all; of what makes gradients of parameters, overwriting, adding, and none wanted. A slot
 * without a row, and a row that did not meet what it must, are failures.
 */
#include "cuda_rows.h"

enum {
    SHAPES = CUDA_MET_ODD | CUDA_MET_LARGE | CUDA_MET_EMPTY,
    WIDE = CUDA_MET_F32 | CUDA_MET_STRIDED | SHAPES,
    REALS = WIDE | CUDA_MET_BF16,
    FLAT = CUDA_MET_F32 | CUDA_MET_BF16 | SHAPES,
    GRADS = CUDA_MET_OVERWRITTEN | CUDA_MET_ADDED
};

#define ROW(op, needs)                                                                                                         \
    {                                                                                                                          \
#op, offsetof(struct nf_backend, op), cuda_test_##op, needs                                                            \
    }
static const struct row {
    const char *op;
    size_t slot;
    void (*test)(struct cuda_rig *rig);
    unsigned needs;
} table[] = {
    ROW(embed, REALS),
    ROW(embed_bwd, REALS | GRADS),
    ROW(add_norm, REALS),
    ROW(add_norm_bwd, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(gated_norm, REALS),
    ROW(gated_norm_bwd, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(linear, REALS),
    ROW(linear_dgrad, REALS),
    ROW(linear_wgrad, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(conv_silu, REALS),
    ROW(conv_silu_bwd, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(ssd, REALS),
    ROW(ssd_bwd, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(route, WIDE),
    ROW(route_bwd, SHAPES),
    ROW(router_bias, CUDA_MET_F32 | CUDA_MET_ODD),
    ROW(order_build, SHAPES),
    ROW(expand, REALS),
    ROW(collapse, REALS),
    ROW(combine, REALS),
    ROW(head_loss, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(head_logits, REALS),
    ROW(adamw, FLAT),
    ROW(decide, 0),
    ROW(grouped_linear, REALS),
    ROW(grouped_dgrad, REALS),
    ROW(grouped_wgrad, REALS | GRADS | CUDA_MET_FROZEN),
    ROW(attention, REALS),
    ROW(attention_bwd, REALS),
    ROW(cast, REALS),
    ROW(add, REALS),
    ROW(fill, REALS),
    ROW(mismatch, CUDA_MET_F32 | CUDA_MET_BF16 | SHAPES),
    ROW(sumsq, FLAT),
};
enum { ROWS = sizeof table / sizeof *table };

static const char *const met_names[] = {"fp32",
                                        "bf16",
                                        "strided rows",
                                        "odd shapes",
                                        "large shapes",
                                        "no rows",
                                        "overwritten gradients",
                                        "added gradients",
                                        "frozen parameters"};

static void covered(void)
{
#define NAME(op) #op,
    static const char *const slots[] = {NF_BACKEND_SLOTS(NAME)};
#undef NAME
    for (size_t s = 0; s < sizeof slots / sizeof *slots; s++) {
        int rows = 0;
        for (int i = 0; i < ROWS; i++)
            rows += strcmp(table[i].op, slots[s]) == 0;
        if (rows != 1)
            tap_ok(false, "%s has %d rows in the table of ops", slots[s], rows);
    }
    tap_ok(ROWS == sizeof slots / sizeof *slots, "each of %zu ops has a row", sizeof slots / sizeof *slots);
}

static void run(struct cuda_rig *rig, const struct row *row)
{
    rig->met = 0;
    rig->nearest[0] = rig->nearest[1] = 0;
    row->test(rig);
    const unsigned lacks = row->needs & ~rig->met;
    char names[160] = "";
    for (size_t k = 0; k < sizeof met_names / sizeof *met_names; k++)
        if (lacks >> k & 1)
            snprintf(names + strlen(names), sizeof names - strlen(names), ": %s", met_names[k]);
    if (!rig->large && !rig->small)
        tap_ok(!lacks, "%s: errors up to %.2f of the bound of an element, %.2f of the 2-norm's%s%s", row->op, rig->nearest[0],
               rig->nearest[1], lacks ? "; not tried" : "", names);
    fflush(stdout);
}

void cuda_table_list(void)
{
    for (int i = 0; i < ROWS; i++)
        puts(table[i].op);
}

void cuda_table_run(struct cuda_rig *rig, int names, char **name)
{
    covered();
    for (int i = 0; i < ROWS; i++) {
        bool wanted = names == 0;
        for (int k = 0; k < names; k++)
            wanted |= strcmp(name[k], table[i].op) == 0;
        void (*slot)(void);
        memcpy(&slot, (const char *)rig->ops + table[i].slot, sizeof slot);
        if (!wanted)
            continue;
        if (slot)
            run(rig, &table[i]);
        else
            tap_ok(false, "%s is not in the backend", table[i].op);
    }
}
