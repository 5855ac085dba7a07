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

static void draw(uint64_t key, int64_t element, float *normal, float *uniform)
{
    uint32_t bits[4];
    float z[4];

    nf_rng_block(key, (uint64_t)(element / 4), 0, bits);
    nf_rng_normal(bits, z);
    *normal = z[element % 4];
    *uniform = nf_rng_uniform(bits[element % 4]);
}

static float dt_bias(const struct nemotron_h *h, double u)
{
    double lo = log(fmax(h->dt_min, 1e-30)), hi = log(fmax(h->dt_max, h->dt_min));
    double d = fmax(exp(u * (hi - lo) + lo), h->dt_floor);
    return (float)(d + log(-expm1(-d))); /* so that softplus gives d */
}

void nf_nemotron_h_init(const nf_model *model, int p, uint64_t seed, int64_t first, int64_t count, float *out)
{
    const struct nemotron_h *h = model->own;
    const char *name = model->desc[p].name;
    const uint64_t key = nf_rng_mix((nf_rng_key){.seed = seed, .purpose = NF_RNG_INIT, .layer = (uint32_t)p});
    const double inner = (double)(h->mamba_heads * h->mamba_head_dim);
    const bool residual = h->rescale_residual && ends(name, "mixer.out_proj.weight");
    const double bound = ends(name, "conv1d.weight") || ends(name, "conv1d.bias") ? 1 / sqrt((double)h->conv)
                         : residual                                               ? 1 / sqrt(inner * h->layers)
                                                                                  : 0;

    for (int64_t i = 0; i < count; i++) {
        int64_t e = first + i;
        float normal, uniform;
        draw(key, e, &normal, &uniform);
        if (ends(name, "A_log"))
            out[i] = logf((float)(e + 1));
        else if (ends(name, "dt_bias"))
            out[i] = dt_bias(h, uniform);
        else if (ends(name, ".D") || ends(name, "norm.weight") || ends(name, "norm_f.weight"))
            out[i] = 1;
        else if (bound > 0)
            out[i] = (float)(bound * (2 * (double)uniform - 1));
        else if (ends(name, "bias"))
            out[i] = 0;
        else
            out[i] = (float)h->init_range * normal;
    }
}
