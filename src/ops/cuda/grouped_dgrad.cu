/* SPDX-License-Identifier: Apache-2.0 */
/* grouped_dgrad.cu: the experts' products towards the input on tensor cores: the kernels of grouped_rows.cuh that are built. */
#include "grouped_rows.cuh"

template <int NB, bool ACROSS>
static cudaError_t by_act(const struct nf_cuda_rows *p, const CUtensorMap *a, const CUtensorMap *b, int blocks, cudaStream_t s)
{
    switch (p->act.kind) {
    case NF_ACT_NONE: return launch<NB, ACROSS, true, NF_ACT_NONE>(p, a, b, blocks, s);
    case NF_ACT_RELU2: return launch<NB, ACROSS, true, NF_ACT_RELU2>(p, a, b, blocks, s);
    case NF_ACT_SWIGLU: return launch<NB, ACROSS, true, NF_ACT_SWIGLU>(p, a, b, blocks, s);
    case NF_ACT_SWIGLU_CLAMP: return launch<NB, ACROSS, true, NF_ACT_SWIGLU_CLAMP>(p, a, b, blocks, s);
    }
    return cudaErrorInvalidValue;
}

extern "C" cudaError_t nf_cuda_rows_dgrad(const struct nf_cuda_rows *p, const CUtensorMap *a, const CUtensorMap *b, int width,
                                          bool across, int blocks, cudaStream_t s)
{
    switch (width) {
    case 128: return across ? by_act<2, true>(p, a, b, blocks, s) : by_act<2, false>(p, a, b, blocks, s);
    case 192: return across ? by_act<3, true>(p, a, b, blocks, s) : cudaErrorInvalidValue;
    case 256: return across ? by_act<4, true>(p, a, b, blocks, s) : by_act<4, false>(p, a, b, blocks, s);
    }
    return cudaErrorInvalidValue;
}
