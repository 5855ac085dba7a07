/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c: config.json, from its bytes to a model. What is accepted has tables that agree with each other and counts that are
 * sums without overflow; a text that the strict parser takes is taken by the lenient one too.
 */
#include "target.h"

#include "nemafit/model.h"

#include <math.h>
#include <string.h>

static const char *const words[] = {"\"model_type\": \"nemotron_h\"",
                                    "\"hybrid_override_pattern\": \"ME*-\"",
                                    "\"layers_block_type\": [\"mamba\", \"moe\"]",
                                    "\"num_hidden_layers\": ",
                                    "\"hidden_size\": ",
                                    "\"n_routed_experts\": ",
                                    "\"num_experts_per_tok\": ",
                                    "\"n_groups\": ",
                                    "\"n_group\": ",
                                    "\"topk_group\": ",
                                    "\"time_step_limit\": [0.0, Infinity]",
                                    "\"tie_word_embeddings\": true",
                                    "\"head_dim\": null",
                                    "\"attention_bias\": true",
                                    "Infinity",
                                    "-Infinity",
                                    "NaN",
                                    "{\"__float__\": \"NaN\"}",
                                    "null",
                                    "true",
                                    "false",
                                    "0",
                                    "-1",
                                    "1.0",
                                    "1e30",
                                    "65536",
                                    "1048576",
                                    "2147483648",
                                    "9223372036854775808",
                                    "99999999999999999999999999",
                                    "\"\"",
                                    "\\u0000",
                                    "\\ud800",
                                    "MEM*-|/",
                                    "EEEEEEEEEEEEEEEE",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    ",",
                                    ": ",
                                    "\"",
                                    "\xff",
                                    NULL};

static const char *consistent(const nf_model *m)
{
    if (m->blocks < 1 || m->units != m->layers + 2 || m->params < 3 || m->map.rows < m->params || m->hidden < 1 || m->vocab < 1)
        return "a model without parts";
    for (int64_t r = 0; r < m->map.rows; r++)
        if (!m->map.row[r].name || m->map.row[r].param < 0 || m->map.row[r].param >= m->params)
            return "a row of the map without a parameter";
    double values = 0;
    for (int p = 0; p < m->params; p++) {
        double n = 1;
        for (int d = 0; d < m->desc[p].nd; d++) {
            if (m->desc[p].dim[d] < 1)
                return "a parameter without values";
            n *= (double)m->desc[p].dim[d];
        }
        values += n;
    }
    const struct nf_param_count count = nf_model_count(m);
    if (!(values < 9e18) || fabs((double)count.total - values) > 1e-12 * values || count.trained > count.total ||
        count.active < 0)
        return "the number of values is not that of the shapes";
    const double flops = m->flops(m, 4096);
    return isfinite(flops) && flops > 0 ? NULL : "FLOPs that are no number";
}

static const char *refused(nf_status status)
{
    if (status == NF_ENOMEM)
        return NULL;
    if (status != NF_EMODEL || strncmp(nf_diagnosis(), "config.json:", 12) != 0)
        return "refused without saying where";
    return fuzz_printable(nf_diagnosis()) ? NULL : "the diagnosis is not printable";
}

static const char *holds(const char *text, size_t n, bool *accepted)
{
    const struct nf_model_choice choice = {.dtype = NF_F32, .chunks = 1, .recv_factor = 2};
    nf_json *strict = NULL, *doc = NULL;
    nf_model *model = NULL;
    nf_str said = {0};
    const char *broken = NULL;
    const bool is_strict = nf_json_parse("config.json", text, n, NF_JSON_STRICT, NF_EMODEL, &strict) == NF_OK;
    nf_json_free(strict);
    nf_diagnosis_clear();
    nf_status status = nf_json_parse("config.json", text, n, NF_JSON_PYTHON, NF_EMODEL, &doc);
    if (is_strict && status != NF_OK)
        broken = "JSON that the strict parser takes is refused";
    if (status == NF_OK)
        status = nf_model_new(doc, &choice, &model);
    *accepted = status == NF_OK;
    if (!broken)
        broken = status == NF_OK ? consistent(model) : refused(status);
    if (status == NF_OK) {
        nf_model_describe(model, &said);
        if (!broken && (!said.text || !fuzz_printable(said.text)))
            broken = "the description is not printable";
    }
    nf_str_free(&said);
    nf_model_free(model);
    nf_json_free(doc);
    return broken;
}

static const char *const seeds[] = {"fuzz/seeds/config", NULL};
const struct fuzz_target fuzz_target = {"config", seeds, ".json", words, holds};
