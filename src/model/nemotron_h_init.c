/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nemotron_h_init.c: weights for training from scratch. Each element is a function of (seed, parameter, element), so any mesh
 * draws the same model. Source: transformers modeling_nemotron_h.py _init_weights; mamba_ssm for the convolution and dt.
 */
#include <math.h>
#include <string.h>

#include "nemafit/rng.h"
#include "nemotron_h.h"

static bool ends(const char *name, const char *tail)
{
    size_t n = strlen(name), t = strlen(tail);
    return n >= t && !strcmp(name + n - t, tail);
}

static float dt_bias(const struct nemotron_h *h, double u)
{
    double lo = log(fmax(h->dt_min, 1e-30)), hi = log(fmax(h->dt_max, h->dt_min));
    double d = fmax(exp(u * (hi - lo) + lo), h->dt_floor);
    return (float)(d + log(-expm1(-d))); /* so that softplus gives d */
}

/* How the elements of a parameter are made. */
enum rule { LOG_OF_NUMBER, DT_BIAS, ONE, UNIFORM, ZERO, NORMAL };

static enum rule rule_of(const struct nemotron_h *h, const char *name, double *bound)
{
    const double inner = (double)(h->mamba_heads * h->mamba_head_dim);

    if (ends(name, "A_log"))
        return LOG_OF_NUMBER;
    if (ends(name, "dt_bias"))
        return DT_BIAS;
    if (ends(name, ".D") || ends(name, "norm.weight") || ends(name, "norm_f.weight"))
        return ONE;
    *bound = ends(name, "conv1d.weight") || ends(name, "conv1d.bias")     ? 1 / sqrt((double)h->conv)
             : h->rescale_residual && ends(name, "mixer.out_proj.weight") ? 1 / sqrt(inner * h->layers)
                                                                          : 0;
    return *bound > 0 ? UNIFORM : ends(name, "bias") ? ZERO : NORMAL;
}

/* Four elements share a block of random bits: element e is number e % 4 of block e / 4. */
void nf_nemotron_h_init(const nf_model *model, int p, uint64_t seed, int64_t first, int64_t count, float *out)
{
    const struct nemotron_h *h = model->own;
    const uint64_t key = nf_rng_mix((nf_rng_key){.seed = seed, .purpose = NF_RNG_INIT, .layer = (uint32_t)p});
    double bound = 0;
    const enum rule rule = rule_of(h, model->desc[p].name, &bound);

    for (int64_t i = 0; i < count;) {
        const int64_t block = (first + i) / 4;
        uint32_t bits[4] = {0};
        float z[4] = {0};
        if (rule == DT_BIAS || rule == UNIFORM || rule == NORMAL)
            nf_rng_block(key, (uint64_t)block, 0, bits);
        if (rule == NORMAL)
            nf_rng_normal(bits, z);
        for (; i < count && (first + i) / 4 == block; i++) {
            const int64_t e = first + i;
            switch (rule) {
            case LOG_OF_NUMBER: out[i] = logf((float)(e + 1)); break;
            case DT_BIAS: out[i] = dt_bias(h, nf_rng_uniform(bits[e % 4])); break;
            case ONE: out[i] = 1; break;
            case UNIFORM: out[i] = (float)(bound * (2 * (double)nf_rng_uniform(bits[e % 4]) - 1)); break;
            case ZERO: out[i] = 0; break;
            case NORMAL: out[i] = (float)h->init_range * z[e % 4]; break;
            }
        }
    }
}
