/* SPDX-License-Identifier: Apache-2.0 */
/* router_bias.c: a step of the correction biases towards balance. Exact: counts are whole numbers, compared as E load_e and
 * sum. */
#include "cpu.h"

nf_status nf_cpu_router_bias(nf_queue *q, nf_out correction, const int32_t *load, float rate,
                             const struct nf_decision *decision)
{
    float *bias = correction->data;
    int64_t experts = correction->dim[0], sum = 0;

    (void)q;
    if (decision->skip)
        return NF_OK;
    for (int64_t e = 0; e < experts; e++)
        sum += load[e];
    for (int64_t e = 0; e < experts; e++) {
        int64_t scaled = load[e] * experts;
        bias[e] += rate * (float)((sum > scaled) - (sum < scaled));
    }
    return NF_OK;
}
