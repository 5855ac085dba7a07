/* SPDX-License-Identifier: Apache-2.0 */
/* t_router_bias.c: each bias moves by the rate towards the mean load, by nothing at the mean, and not at all in a skipped step.
 */
#include "oprig.h"
#include "tap.h"

int main(void)
{
    const int32_t load[6] = {4, 0, 2, 2, 1, 3}; /* mean 2 */
    const float want[6] = {-1, 1, 0, 0, 1, -1}, rate = 0.125f;
    struct nf_decision decision = {0};
    nf_device *device = NULL;
    nf_arena *work = NULL;
    nf_queue *q = NULL;
    float bias[6];
    nf_tensor b = nf_vector(bias, NF_F32, 6);
    bool right = true, still = true;

    tap_open();
    if (!tap_ok(!nf_device_host(1, &device) && !nf_ops_attach(device) && !nf_arena_new("work", NULL, 1 << 20, &work) &&
                    !nf_queue_new(device, "q", 0, work, &q),
                "a queue"))
        return tap_done();
    for (int e = 0; e < 6; e++)
        bias[e] = (float)e;
    tap_ok(!nf_router_bias(q, &b, load, rate, &decision), "router_bias");
    for (int e = 0; e < 6; e++)
        right &= bias[e] == (float)e + rate * want[e]; /* exact: small multiples of 1/8 */
    tap_ok(right, "every bias moves towards balance");
    decision.skip = 1;
    tap_ok(!nf_router_bias(q, &b, load, rate, &decision), "router_bias, skipped step");
    for (int e = 0; e < 6; e++)
        still &= bias[e] == (float)e + rate * want[e];
    tap_ok(still, "a skipped step moves none");
    nf_queue_free(q);
    nf_arena_free(work);
    nf_device_free(device);
    return tap_done();
}
