/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_model.c: config.json -> model. The published Nemotron 3 Nano 30B-A3B gives the published number of tensors and values;
 * spellings old and new give the same model; patterns over disk names. What is refused: t_config.c.
 */
#include <stdio.h>
#include <string.h>

#include "nemafit/model.h"
#include "tap.h"

#define SIZES                                                                                                                  \
    "\"vocab_size\": 131072, \"hidden_size\": 2688, \"num_attention_heads\": 32, \"num_key_value_heads\": 2, \"head_dim\": "   \
    "128,"                                                                                                                     \
    "\"intermediate_size\": 1856, \"mamba_num_heads\": 64, \"mamba_head_dim\": 64, \"ssm_state_size\": 128, \"n_groups\": 8,"  \
    "\"conv_kernel\": 4, \"n_routed_experts\": 128, \"num_experts_per_tok\": 6, \"moe_intermediate_size\": 1856,"              \
    "\"moe_shared_expert_intermediate_size\": 3712, \"routed_scaling_factor\": 2.5"
#define NANO                                                                                                                   \
    "{\"model_type\": \"nemotron_h\", " SIZES ", \"time_step_limit\": [0.0, Infinity], \"hybrid_override_pattern\": "          \
    "\"MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME\"}"
#define SMALL(more)                                                                                                            \
    "{\"model_type\": \"nemotron_h\", \"hidden_size\": 8, \"vocab_size\": 16, \"num_attention_heads\": 2, "                    \
    "\"num_key_value_heads\": 1, \"head_dim\": 4, \"intermediate_size\": 6, \"mamba_num_heads\": 2, \"mamba_head_dim\": 4, "   \
    "\"ssm_state_size\": 4, \"n_groups\": 1, \"n_routed_experts\": 4, \"moe_intermediate_size\": 6, "                          \
    "\"moe_shared_expert_intermediate_size\": 6" more "}"

static nf_status build(const char *text, const nf_strings *freeze, const nf_strings *no_decay, nf_model **model)
{
    const struct nf_model_choice choice = {
        .dtype = NF_F32, .chunks = 1, .recv_factor = 2, .freeze = freeze, .no_decay = no_decay};
    nf_json *doc = NULL;
    nf_status s;

    nf_diagnosis_clear();
    s = nf_json_parse("config.json", text, strlen(text), NF_JSON_PYTHON, NF_EMODEL, &doc);

    *model = NULL;
    if (!s)
        s = nf_model_new(doc, &choice, model);
    nf_json_free(doc);
    return s;
}

static void nano(void)
{
    nf_model *m;
    struct nf_param_count n;

    if (!tap_ok(build(NANO, NULL, NULL, &m) == NF_OK, "Nemotron 3 Nano 30B-A3B"))
        return;
    n = nf_model_count(m);
    tap_ok(m->map.rows == 6243, "6,243 tensors on disk");
    tap_ok(n.total == INT64_C(31577940288) && n.trained == INT64_C(31577937344),
           "31,577,940,288 values, 31,577,937,344 trained");
    tap_ok(n.active == INT64_C(3227751872), "3,227,751,872 active a token, head included");
    tap_ok(m->blocks == 52 && m->moe_layers == 23 && m->units == 54, "52 blocks, 23 with experts");
    tap_ok(m->flops(m, 4096) == 19720888320.0 && m->flops(m, 1024) == 19423617024.0,
           "FLOPs a token as published rates count them");
    nf_model_free(m);
}

static void spellings(void)
{
    static const char *const same[] = {
        SMALL(", \"hybrid_override_pattern\": \"M*E-\""), SMALL(", \"hybrid_override_pattern\": \"M|*|E-/*E\""),
        SMALL(", \"layers_block_type\": [\"mamba\", \"attention\", \"moe\", \"mlp\"]"),
        SMALL(", \"layer_types\": [\"linear_attention\", \"full_attention\", \"moe\", \"mlp\"], \"num_hidden_layers\": 4.0"),
        SMALL(", \"layers_block_type\": [\"mamba\", \"attention\", \"moe\", \"mlp\"], \"time_step_limit\": "
              "[0, {\"__float__\": \"Infinity\"}]")};
    char out[1024];

    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        nf_model *m;
        bool right = build(same[i], NULL, NULL, &m) == NF_OK && m->blocks == 4 && m->block[0].kind == NF_MIXER_MAMBA &&
                     m->block[1].kind == NF_MIXER_ATTENTION && m->block[2].kind == NF_MIXER_MOE &&
                     m->block[3].kind == NF_MIXER_MLP;
        tap_ok(right, "block list, spelling %zu", i + 1);
        if (i == 0 && right) {
            tap_ok(m->map.canonical("model.layers.1.norm.weight", out, sizeof out) &&
                       !strcmp(out, "backbone.layers.1.norm.weight"),
                   "model. is backbone.");
            tap_ok(m->map.canonical("language_model.backbone.embedding.weight", out, sizeof out) &&
                       !strcmp(out, "backbone.embeddings.weight"),
                   "language_model. is stripped, the singular embedding read");
            tap_ok(!m->map.canonical("lm_head.weight", out, sizeof out), "a published name stays");
        }
        nf_model_free(m);
    }
}

/* A shared expert of no width of its own is as wide as an MLP block, in transformers too: `intermediate_size or config...`. */
static void shared_width(void)
{
    static const struct {
        const char *value;
        int64_t width;
    } cases[] = {{"0", 6}, {"null", 6}, {"5", 5}};
    const char *head = SMALL(""), *key = "\"moe_shared_expert_intermediate_size\": ";
    const int before = (int)(strstr(head, key) - head);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        nf_model *m;
        bool right = false;
        snprintf(text, sizeof text, "%.*s%s%s, \"hybrid_override_pattern\": \"ME\"}", before, head, key, cases[i].value);
        if (!build(text, NULL, NULL, &m))
            for (int64_t r = 0; r < m->map.rows; r++)
                if (!strcmp(m->map.row[r].name, "backbone.layers.1.mixer.shared_experts.up_proj.weight"))
                    right = m->map.row[r].dim[0] == cases[i].width;
        tap_ok(right, "shared expert, width %s: %d", cases[i].value, (int)cases[i].width);
        nf_model_free(m);
    }
}

static int flagged(const nf_model *m, bool freeze)
{
    int n = 0;
    for (int p = 0; p < m->params; p++)
        n += freeze ? m->desc[p].frozen && !m->desc[p].buffer : !m->desc[p].decay && !m->desc[p].buffer;
    return n;
}

static void patterns(void)
{
    char experts[] = "*.experts.*", one[] = "*.experts.2.up_proj.weight", none[] = "*.q_norm.*", norms[] = "*norm*";
    char *all_item[] = {experts}, *one_item[] = {one}, *none_item[] = {none}, *norm_item[] = {norms};
    const nf_strings all = {all_item, 1}, part = {one_item, 1}, miss = {none_item, 1}, decay = {norm_item, 1};
    const char *text = SMALL(", \"hybrid_override_pattern\": \"ME\"");
    nf_model *m;

    tap_ok(build(text, &all, &decay, &m) == NF_OK && flagged(m, true) == 2 && flagged(m, false) == 4,
           "freeze takes both expert tensors, no_decay the four norms");
    nf_model_free(m);
    tap_ok(build(text, &part, NULL, &m) == NF_EUSAGE && strstr(nf_diagnosis(), "1 of the 4 experts"),
           "freeze of one expert is refused");
    tap_ok(build(text, &miss, NULL, &m) == NF_EUSAGE && strstr(nf_diagnosis(), "matches no tensor"),
           "freeze of nothing is refused");
    tap_ok(build(text, NULL, &miss, &m) == NF_OK, "no_decay of nothing is not");
    nf_model_free(m);
}

int main(void)
{
    nf_model *m;

    tap_open();
    nano();
    spellings();
    shared_width();
    patterns();
    tap_ok(build("{\"architectures\": [\"NemotronHForCausalLM\"], " SIZES "}", NULL, NULL, &m) == NF_OK, "by its architecture");
    nf_model_free(m);
    return tap_done();
}
