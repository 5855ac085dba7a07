/* SPDX-License-Identifier: Apache-2.0 */
/* describe.c: a model for people: sizes, parameters, blocks. */
#include <inttypes.h>

#include "nemafit/model.h"

static int64_t elements(const nf_param_desc *d)
{
    int64_t n = 1;
    for (int i = 0; i < d->nd; i++)
        n *= d->dim[i];
    return n;
}

/* Experts a token meets out of all, for a parameter of an MoE layer. */
static void meets(const nf_model *m, const nf_param_desc *d, int64_t *k, int64_t *all)
{
    *k = *all = 1;
    if (d->spread != NF_EXPERT)
        return;
    for (int i = 0; i < m->blocks; i++)
        if (m->block[i].unit == d->unit && m->block[i].kind == NF_MIXER_MOE) {
            const struct nf_moe_conf *c = m->block[i].conf;
            *k = c->k;
            *all = c->experts;
        }
}

struct nf_param_count nf_model_count(const nf_model *m)
{
    struct nf_param_count n = {0};

    for (int p = 0; p < m->params; p++) {
        const nf_param_desc *d = &m->desc[p];
        int64_t k, all, count = elements(d);
        meets(m, d, &k, &all);
        n.total += count;
        n.trained += d->frozen ? 0 : count;
        n.frozen += d->frozen && !d->buffer ? count : 0;
        if (p != m->embed.desc && !d->buffer)
            n.active += count / all * k;
    }
    return n;
}

void nf_model_describe(const nf_model *m, nf_str *out)
{
    static const char letter[NF_MIXER_KINDS] = {
        [NF_MIXER_MAMBA] = 'M', [NF_MIXER_ATTENTION] = '*', [NF_MIXER_MLP] = '-', [NF_MIXER_MOE] = 'E'};
    struct nf_param_count n = nf_model_count(m);
    char total[32], active[32], frozen[32];

    nf_str_addf(out, "%s, %d blocks ", m->family, m->blocks);
    for (int i = 0; i < m->blocks; i++)
        nf_str_addn(out, &letter[m->block[i].kind], 1);
    nf_str_addf(out, ", width %" PRId64 ", vocabulary %" PRId64, m->hidden, m->vocab);
    if (m->moe_layers)
        nf_str_addf(out, ", %d experts in %d layers", m->experts, m->moe_layers);
    nf_str_addf(out, "; %s parameters, %s active a token", nf_str_count(total, (double)n.total),
                nf_str_count(active, (double)n.active));
    if (n.frozen)
        nf_str_addf(out, ", %s frozen", nf_str_count(frozen, (double)n.frozen));
}
