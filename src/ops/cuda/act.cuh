/* SPDX-License-Identifier: Apache-2.0 */
/* act.cuh: activations and their derivatives; src/ops/cpu/act.c is the definition. Comparisons keep NaN. */
#ifndef NEMAFIT_OPS_CUDA_ACT_CUH
#define NEMAFIT_OPS_CUDA_ACT_CUH

#include "kit.cuh"

/* Of u, and of v where the activation has a gate */
template <int KIND, bool FAST = false> __device__ __forceinline__ float nf_act(float u, float v, float alpha, float limit)
{
    if (KIND == NF_ACT_RELU2) {
        const float r = u < 0.0f ? 0.0f : u;
        return r * r;
    }
    if (KIND == NF_ACT_SWIGLU)
        return nf_silu<FAST>(u) * v;
    if (KIND == NF_ACT_SWIGLU_CLAMP) {
        const float p = u > limit ? limit : u;
        float c = v > limit ? limit : v;
        c = c < -limit ? -limit : c;
        return (c + 1.0f) * (p * nf_sigmoid<FAST>(alpha * p));
    }
    return u;
}

/* du, dv of the gradient g of the activation's value */
template <int KIND, bool FAST = false>
__device__ __forceinline__ void nf_act_grad(float &du, float &dv, float g, float u, float v, float alpha, float limit)
{
    if (KIND == NF_ACT_RELU2) {
        du = 2.0f * (u < 0.0f ? 0.0f : u) * g;
    } else if (KIND == NF_ACT_SWIGLU) {
        du = g * v * nf_silu_grad<FAST>(u);
        dv = g * nf_silu<FAST>(u);
    } else if (KIND == NF_ACT_SWIGLU_CLAMP) {
        const float p = u > limit ? limit : u;
        float c = v > limit ? limit : v;
        c = c < -limit ? -limit : c;
        du = u > limit ? 0.0f : g * (c + 1.0f) * nf_silu_grad<FAST>(alpha * p);
        dv = v > limit || v < -limit ? 0.0f : g * p * nf_sigmoid<FAST>(alpha * p);
    } else {
        du = g;
    }
}

#endif
