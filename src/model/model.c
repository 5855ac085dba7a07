/* SPDX-License-Identifier: Apache-2.0 */
/* model.c: from a config.json to a model: the table of families, and what they share. */
#include <stdlib.h>
#include <string.h>

#include "families.h"

static const struct nf_family *const families[] = {&nf_family_nemotron_h};

static const struct nf_family *family_of(struct nf_config *c)
{
    const char *const archs[] = {"architectures", NULL};
    const char *type = nf_config_string(c, "model_type", NULL), *arch = NULL;
    const nf_jvalue *list = nf_config_find(c, archs, NULL);
    const char *wanted;
    char shown[280];

    if (list && nf_jvalue_kind(list) == NF_JARRAY && nf_jvalue_size(list) &&
        nf_jvalue_kind(nf_jvalue_at(list, 0)) == NF_JSTRING)
        arch = nf_jvalue_string(nf_jvalue_at(list, 0), NULL);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (type ? !strcmp(type, families[i]->type) : arch && !strcmp(arch, families[i]->architecture))
            return families[i];
    wanted = type ? type : arch ? arch : "";
    nf_config_fault(c, "model_type", "'%s' is not supported; this version trains nemotron_h",
                    nf_str_shown(shown, wanted, strlen(wanted)));
    return NULL;
}

nf_status nf_model_new(const nf_json *config, const struct nf_model_choice *choice, nf_model **model)
{
    nf_model *m = calloc(1, sizeof *m);
    struct nf_build b = {.model = m, .choice = choice};
    const struct nf_family *family;
    struct nf_config c;
    nf_status s;

    if (!m)
        return nf_fail(NF_ENOMEM, "no memory for a model");
    m->embed.desc = m->head.desc = m->norm_f.desc = -1;
    nf_config_open(&c, config);
    if (nf_jvalue_kind(c.root) != NF_JOBJECT)
        s = nf_fail(NF_EMODEL, "%s: the top level is not an object", nf_json_name(config));
    else {
        family = family_of(&c);
        s = family ? family->build(&c, &b) : nf_config_verdict(&c);
    }
    nf_config_close(&c);
    if (s) {
        if (!m->map.row) {
            m->map.row = b.rows;
            m->map.rows = b.row_count;
        }
        nf_model_free(m);
        return s;
    }
    *model = m;
    return NF_OK;
}

void nf_model_free(nf_model *m)
{
    if (!m)
        return;
    for (int64_t i = 0; i < m->map.rows; i++)
        free((char *)m->map.row[i].name);
    for (int p = 0; p < m->params; p++)
        free((char *)m->desc[p].name);
    for (int i = 0; i < m->blocks && m->block; i++) {
        free(m->block[i].conf);
        free(m->block[i].w);
    }
    free((nf_map_row *)m->map.row);
    free(m->desc);
    free(m->param);
    free(m->block);
    free(m->own);
    free(m);
}

void nf_model_reserve(const nf_model *m, nf_exchange *x, int64_t tokens_max, int row_pad)
{
    for (int i = 0; i < m->blocks; i++)
        if (m->block[i].kind == NF_MIXER_MOE) {
            struct nf_xshape shape = nf_moe_xshape(m->block[i].conf, tokens_max, row_pad);
            nf_exchange_reserve(x, &shape);
        }
}
