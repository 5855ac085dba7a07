/* SPDX-License-Identifier: Apache-2.0 */
/* mixers.c: the mixers by kind. Adding one: a file like mlp.c, an entry here, a kind in layers.h. */
#include "mixers.h"

const struct nf_mixer *nf_mixer_of(enum nf_mixer_kind kind)
{
    static const struct nf_mixer *const mixers[NF_MIXER_KINDS] = {
        [NF_MIXER_MAMBA] = &nf_mixer_mamba,
        [NF_MIXER_ATTENTION] = &nf_mixer_attention,
        [NF_MIXER_MLP] = &nf_mixer_mlp,
        [NF_MIXER_MOE] = &nf_mixer_moe,
    };
    return mixers[kind];
}
