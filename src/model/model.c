/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c: from a config.json to a model: the table of families, and what configs of all families have in common.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "families.h"
#include "nemafit/log.h"

static const struct nf_family *const families[] = {&nf_family_nemotron_h};

/* The one name in `architectures`; NULL if there is none, or told. */
static const char *architecture_of(struct nf_config *c)
{
    const char *const keys[] = {"architectures", NULL};
    const nf_jvalue *list = nf_config_find(c, keys, NULL);

    if (!list)
        return NULL;
    if (nf_jvalue_kind(list) != NF_JARRAY || nf_jvalue_size(list) != 1 || nf_jvalue_kind(nf_jvalue_at(list, 0)) != NF_JSTRING) {
        nf_config_fault(c, "architectures", "a list of one name is needed");
        return NULL;
    }
    return nf_jvalue_string(nf_jvalue_at(list, 0), NULL);
}

static const struct nf_family *family_of(struct nf_config *c)
{
    const char *type = nf_config_string(c, "model_type", NULL), *arch = architecture_of(c);
    const char *wanted = type ? type : arch;
    char shown[280], other[280];

    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const struct nf_family *f = families[i];
        if (type ? strcmp(type, f->type) : !arch || strcmp(arch, f->architecture))
            continue;
        if (arch && strcmp(arch, f->architecture))
            nf_config_fault(c, "architectures", "'%s' is not what model_type '%s' is trained as: %s",
                            nf_str_shown(shown, arch, strlen(arch)), nf_str_shown(other, f->type, strlen(f->type)),
                            f->architecture);
        return f;
    }
    if (wanted)
        nf_config_fault(c, "model_type", "'%s' is not supported; this version trains nemotron_h",
                        nf_str_shown(shown, wanted, strlen(wanted)));
    else if (!c->count)
        nf_config_fault(c, "model_type", "missing, and no architectures either; this version trains nemotron_h");
    return NULL;
}

/* dtype, or torch_dtype as it was called: two spellings of one thing. */
static void check_dtype(struct nf_config *c)
{
    static const char *const known[] = {"float32", "bfloat16", "float16", "float64", "auto"};
    const char *now = nf_config_string(c, "dtype", NULL), *then = nf_config_string(c, "torch_dtype", NULL);
    const char *name = now ? now : then;
    char shown[280];

    if (now && then && strcmp(now, then))
        nf_config_fault(c, "torch_dtype", "'%s' contradicts dtype", nf_str_shown(shown, then, strlen(then)));
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i]))
            return;
    if (name)
        nf_config_fault(c, now ? "dtype" : "torch_dtype", "'%s' is not one of float32, bfloat16, float16",
                        nf_str_shown(shown, name, strlen(name)));
}

/* Ids that only the tokenizer's side uses: odd ones are no reason to refuse the weights. */
static void check_ids(struct nf_config *c, int64_t vocab)
{
    static const char *const ids[] = {"bos_token_id", "eos_token_id", "pad_token_id"};

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const nf_jvalue *v = nf_jvalue_get(c->root, ids[i]);
        if (v && nf_jvalue_kind(v) == NF_JINT && nf_jvalue_int(v) >= vocab)
            nf_warn("%s: %s = %" PRId64 " is not an id of a vocabulary of %" PRId64, nf_json_name(c->doc), ids[i],
                    nf_jvalue_int(v), vocab);
    }
}

/* A directory may name Python code to load it with. */
static void tell_code(struct nf_config *c)
{
    const char *const keys[] = {"auto_map", NULL};

    if (nf_config_find(c, keys, NULL))
        nf_note("note: %s names code of its own (auto_map): it is carried along and never run", nf_json_name(c->doc));
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
        check_dtype(&c);
        s = family ? family->build(&c, &b) : nf_config_verdict(&c);
        if (!s) {
            check_ids(&c, m->vocab);
            tell_code(&c);
        }
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
