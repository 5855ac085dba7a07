/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json wrong in every known way, each with the place and the words of its refusal; and what looks wrong but is right.
 * The numbers are those of the list that validation/tree/lists.sh keeps, which says too where the other cases are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nemafit/log.h"
#include "nemafit/model.h"
#include "tap.h"

/* A right config; what a case adds begins on line 2, column 2. */
#define SIZES                                                                                                                  \
    "\"hidden_size\": 8, \"vocab_size\": 16, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"intermediate_size\": "  \
    "6, \"mamba_num_heads\": 2, \"mamba_head_dim\": 4, \"ssm_state_size\": 4, \"n_groups\": 1, \"moe_intermediate_size\": 6, " \
    "\"moe_shared_expert_intermediate_size\": 6"
#define HEAD "{\"model_type\": \"nemotron_h\", " SIZES
#define PLUS(more) HEAD ",\n " more "}"

struct config_case {
    const char *what, *text;
    const char *found; /* in the diagnosis; NULL: accepted */
    const char *noted; /* in what is said of an accepted one */
};

static const struct config_case cases[] = {
    {"plain", PLUS("\"head_dim\": 4"), NULL, NULL},
    {"C02 empty", "", "config.json:1:1: not valid JSON: empty", NULL},
    {"C02 blank", " \n\t", "config.json:1:1: not valid JSON: empty", NULL},
    {"C03 not JSON", "{\n  \"a\" 1}", "config.json:2:7: not valid JSON", NULL},
    {"C03 cut off", "{\"model_type\": \"nemot", "config.json:1:16: not valid JSON", NULL},
    {"C03 trailing comma", "{\"a\": 1,\n}", "config.json:2:1: not valid JSON", NULL},
    {"C03 comment", "{\n// a\n}", "config.json:2:1: not valid JSON", NULL},
    {"C03 single quotes", "{'a': 1}", "config.json:1:2: not valid JSON", NULL},
    {"C03 garbage behind", PLUS("\"x\": 1") " x", "config.json:2:10: not valid JSON", NULL},
    {"C03 leading zero", PLUS("\"x\": 01"), "config.json:2:7: not valid JSON", NULL},
    {"C04 an array", "[1]", "config.json: the top level is not an object", NULL},
    {"C04 a string", "\"nemotron_h\"", "config.json: the top level is not an object", NULL},
    {"C04 null", "null", "config.json: the top level is not an object", NULL},
    {"C05 a key twice", PLUS("\"hidden_size\": 16"), "config.json:2:2: key \"hidden_size\" is given twice in one object", NULL},
    {"C05 twice through an escape", PLUS("\"hidden\\u005fsize\": 16"),
     "config.json:2:2: key \"hidden\\u005fsize\" is given twice in one object", NULL},
    {"C05 twice in an inner object", PLUS("\"x\": {\"a\": 1, \"a\": 2}"), "given twice in one object", NULL},
    {"C08 invalid UTF-8", PLUS("\"x\": \"\xff\""), "config.json:2:8: not valid JSON", NULL},
    {"C08 half a surrogate pair", PLUS("\"x\": \"\\ud800\""), "config.json:2:", NULL},
    {"C08 byte order mark", "\xef\xbb\xbf{}", "config.json:1:1: begins with a byte order mark", NULL},
    {"C08 NUL in a string", PLUS("\"x\": \"\\u0000\""), "config.json:2:", NULL},
    {"C09 Infinity where it may stand", PLUS("\"time_step_limit\": [0.0, Infinity]"), NULL, NULL},
    {"C09 NaN where a size is needed", PLUS("\"hidden_dropout\": 0, \"chunk_size\": NaN"),
     "config.json:2:23: 'chunk_size': an integer is needed", NULL},
    {"C10 another model", "{\"model_type\": \"gpt2\"}", "config.json:1:2: 'model_type': 'gpt2' is not supported", NULL},
    {"C10 a control byte in its name", "{\"model_type\": \"a\\u001b[31m\"}", "'a\\x1b[31m' is not supported", NULL},
    {"C10 not a string", "{\"model_type\": 3}", "config.json:1:2: 'model_type': a string is needed", NULL},
    {"C11 architectures of another model", PLUS("\"architectures\": [\"LlamaForCausalLM\"]"),
     "config.json:2:2: 'architectures': 'LlamaForCausalLM' is not what model_type 'nemotron_h' is trained as", NULL},
    {"C11 no architecture", PLUS("\"architectures\": []"), "config.json:2:2: 'architectures': a list of one name", NULL},
    {"C11 two architectures", PLUS("\"architectures\": [\"NemotronHForCausalLM\", \"X\"]"),
     "config.json:2:2: 'architectures': a list of one name", NULL},
    {"C11 architectures null", PLUS("\"architectures\": null"), NULL, NULL},
    {"C12 code is named", PLUS("\"auto_map\": {\"AutoConfig\": \"x.Y\"}"), NULL, "never run"},
    {"C13 no family", "{" SIZES "}", "config.json: 'model_type': missing, and no architectures either", NULL},
    {"C14 null is the default", PLUS("\"n_routed_experts\": null"), NULL, NULL},
    {"C15 a string for a number", PLUS("\"chunk_size\": \"128\""), "config.json:2:2: 'chunk_size': an integer is needed", NULL},
    {"C15 a string for a real number", PLUS("\"layer_norm_epsilon\": \"1e-5\""),
     "config.json:2:2: 'layer_norm_epsilon': a number is needed", NULL},
    {"C15 a number for a flag", PLUS("\"use_bias\": 1"), "config.json:2:2: 'use_bias': true or false is needed", NULL},
    {"C16 a whole number with a point", PLUS("\"chunk_size\": 64.0"), NULL, NULL},
    {"C16 a broken number", PLUS("\"chunk_size\": 64.5"), "config.json:2:2: 'chunk_size': an integer is needed", NULL},
    {"C17 negative", PLUS("\"conv_kernel\": -4"), "config.json:2:2: 'conv_kernel': -4 is outside 1 .. 16", NULL},
    {"C17 zero", PLUS("\"chunk_size\": 0"), "config.json:2:2: 'chunk_size': 0 is outside 1 .. 1048576", NULL},
    {"C18 2^31", PLUS("\"chunk_size\": 2147483648"), "config.json:2:2: 'chunk_size': 2147483648 is outside", NULL},
    {"C18 2^63", PLUS("\"chunk_size\": 9223372036854775808"), "config.json:2:2: 'chunk_size': an integer is needed", NULL},
    {"C18 1e30", PLUS("\"chunk_size\": 1e30"), "config.json:2:2: 'chunk_size': an integer is needed", NULL},
    {"C18 1e999", PLUS("\"chunk_size\": 1e999"), "config.json:2:16: not valid JSON", NULL},
    {"C22 one group kept of none", PLUS("\"n_group\": 0"), "config.json:2:2: 'n_group': 0 is outside", NULL},
    {"C21 more experts a token than there are", PLUS("\"num_experts_per_tok\": 9"),
     "config.json:2:2: 'num_experts_per_tok': 9 of 8 experts", NULL},
    {"C21 no expert a token", PLUS("\"num_experts_per_tok\": 0"), "config.json:2:2: 'num_experts_per_tok': 0 is outside", NULL},
    {"C22 groups that do not divide", PLUS("\"n_group\": 3"), "config.json:2:2: 'n_group': 8 experts in 3 groups", NULL},
    {"C22 more groups kept than there are", PLUS("\"n_group\": 2, \"topk_group\": 3"), "config.json:2:2: 'n_group': ", NULL},
    {"C24 an unknown letter", PLUS("\"hybrid_override_pattern\": \"MEX\""),
     "config.json:2:2: 'hybrid_override_pattern': letter 3 is not one of", NULL},
    {"C24 no letter", PLUS("\"hybrid_override_pattern\": \"\""), "the model has no block", NULL},
    {"C24 an unknown block", PLUS("\"layers_block_type\": [\"mamba\", \"conv\"]"),
     "config.json:2:2: 'layers_block_type': block 1 is 'conv'", NULL},
    {"C24 a block that is no string", PLUS("\"layer_types\": [\"mamba\", 3]"), "config.json:2:2: 'layer_types': block 1 is ''",
     NULL},
    {"C24 another number of layers", PLUS("\"num_hidden_layers\": 3"), NULL, "num_hidden_layers is 3, the block list has 4"},
    {"C24 list and pattern, equal",
     PLUS("\"layers_block_type\": [\"mamba\", \"moe\"], \"hybrid_override_pattern\": \"M|E/*E\""), NULL, NULL},
    {"C24 list and pattern, another block",
     PLUS("\"layers_block_type\": [\"mamba\", \"moe\"], \"hybrid_override_pattern\": \"M*\""), NULL,
     "hybrid_override_pattern contradicts layers_block_type, which decides"},
    {"C24 list and pattern, more blocks", PLUS("\"layer_types\": [\"mamba\", \"moe\"], \"hybrid_override_pattern\": \"MEM\""),
     NULL, "hybrid_override_pattern contradicts layer_types, which decides"},
    {"C24 list and pattern, fewer blocks", PLUS("\"layer_types\": [\"mamba\", \"moe\"], \"hybrid_override_pattern\": \"M\""),
     NULL, "hybrid_override_pattern contradicts layer_types, which decides"},
    {"C27 eps 0", PLUS("\"layer_norm_epsilon\": 0"), "config.json:2:2: 'layer_norm_epsilon': 0 is outside", NULL},
    {"C27 eps 1", PLUS("\"layer_norm_epsilon\": 1"), "config.json:2:2: 'layer_norm_epsilon': 1 is outside", NULL},
    {"C27 eps NaN", PLUS("\"layer_norm_epsilon\": NaN"), "config.json:2:2: 'layer_norm_epsilon': nan is outside", NULL},
    {"C28 another activation", PLUS("\"mlp_hidden_act\": \"gelu\""), "config.json:2:2: 'mlp_hidden_act': only relu2", NULL},
    {"C28 another gate", PLUS("\"mamba_hidden_act\": \"relu\""), "config.json:2:2: 'mamba_hidden_act': only silu", NULL},
    {"C29 an id beyond the vocabulary", PLUS("\"eos_token_id\": 16"), NULL,
     "eos_token_id = 16 is not an id of a vocabulary of 16"},
    {"C30 an unknown dtype", PLUS("\"dtype\": \"int4\""), "config.json:2:2: 'dtype': 'int4' is not one of", NULL},
    {"C30 an unknown torch_dtype", PLUS("\"torch_dtype\": \"half\""), "config.json:2:2: 'torch_dtype': 'half' is not one of",
     NULL},
    {"C30 both, different", PLUS("\"dtype\": \"float32\", \"torch_dtype\": \"bfloat16\""),
     "config.json:2:22: 'torch_dtype': 'bfloat16' contradicts dtype", NULL},
    {"C30 both, equal", PLUS("\"dtype\": \"float32\", \"torch_dtype\": \"float32\""), NULL, NULL},
    {"C31 tied weights", PLUS("\"tie_word_embeddings\": true"), "config.json:2:2: 'tie_word_embeddings': ", NULL},
    {"C32 quantised weights", PLUS("\"quantization_config\": {\"bits\": 8}"), "config.json:2:2: 'quantization_config': ", NULL},
    {"C33 mathematics that are not here", PLUS("\"moe_latent_size\": 4"), "config.json:2:2: 'moe_latent_size': ", NULL},
    {"C33 a key nobody knows", PLUS("\"router_jitter_noise\": 0.1"), NULL, "router_jitter_noise"},
    {"C36 limits in the wrong order", PLUS("\"time_step_limit\": [0.1, 0.01]"),
     "config.json:2:2: 'time_step_limit': two numbers", NULL},
    {"C36 limits that are no numbers", PLUS("\"time_step_limit\": [\"a\", {}]"), "config.json:2:2: 'time_step_limit': two",
     NULL},
    {"all faults at once", PLUS("\"conv_kernel\": 0,\n \"use_bias\": 1,\n \"n_group\": 3"), "config.json:4:2: 'n_group'", NULL},
};

/* Cases in which another key of the right config must be wrong. */
static const struct {
    const char *what, *key, *value, *found;
} changed[] = {
    {"C17 no width", "hidden_size", "0", "config.json:1:30: 'hidden_size': 0 is outside 1 .. 1048576"},
    {"C18 a width beyond reason", "hidden_size", "1048577", "config.json:1:30: 'hidden_size': 1048577 is outside"},
    {"C19 no head dimension, heads do not divide", "num_attention_heads", "3, \"head_dim\": null",
     "'head_dim': null, and hidden_size = 8 is not a multiple of 3 heads"},
    {"C20 query heads that cannot share", "num_key_value_heads", "3",
     "'num_attention_heads': 2 query heads cannot share 3 key-value heads evenly"},
    {"C36 groups of Mamba that do not divide its heads", "n_groups", "3",
     "'mamba_num_heads': 2 heads cannot share n_groups = 3"},
    {"C36 an inner width beyond reason", "mamba_num_heads", "1048576", "'mamba_num_heads': an inner width of 4194304"},
};

static nf_status build(const char *text)
{
    const struct nf_model_choice choice = {.dtype = NF_F32, .chunks = 1, .recv_factor = 2};
    nf_json *doc = NULL;
    nf_model *model = NULL;
    nf_diagnosis_clear();
    nf_status s = nf_json_parse("config.json", text, strlen(text), NF_JSON_PYTHON, NF_EMODEL, &doc);
    if (s == NF_OK)
        s = nf_model_new(doc, &choice, &model);
    nf_model_free(model);
    nf_json_free(doc);
    return s;
}

/* What was said since the last call; cut at `room`. */
static void said(FILE *log, char *text, size_t room)
{
    fflush(log);
    const long n = ftell(log);
    rewind(log);
    text[fread(text, 1, (size_t)n < room ? (size_t)n : room - 1, log)] = 0;
    rewind(log);
    if (ftruncate(fileno(log), 0) != 0)
        text[0] = 0;
}

static void refused(const char *text, const char *found, const char *what)
{
    const nf_status s = build(text);
    if (!tap_ok(s == NF_EMODEL && strstr(nf_diagnosis(), found), "refused: %s", what))
        tap_note("%s: %s", nf_status_name(s), nf_diagnosis());
}

static void table(FILE *log)
{
    char notes[2048];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct config_case *c = &cases[i];
        said(log, notes, sizeof notes);
        if (c->found) {
            refused(c->text, c->found, c->what);
            continue;
        }
        const nf_status s = build(c->text);
        said(log, notes, sizeof notes);
        if (!tap_ok(s == NF_OK && (c->noted ? strstr(notes, c->noted) != NULL : !strstr(notes, "warning")), "accepted: %s",
                    c->what))
            tap_note("%s: %s%s", nf_status_name(s), nf_diagnosis(), notes);
    }
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        char text[1024], key[64];
        snprintf(key, sizeof key, "\"%s\": ", changed[i].key);
        const char *at = strstr(HEAD, key) + strlen(key), *behind = at + strspn(at, "0123456789");
        snprintf(text, sizeof text, "%.*s%s%s}", (int)(at - HEAD), HEAD, changed[i].value, behind);
        refused(text, changed[i].found, changed[i].what);
    }
}

/* Cases too large to write down. */
static void made(void)
{
    nf_str s = {0};
    nf_str_add(&s, HEAD ", \"x\": ");
    for (int i = 0; i < 100000; i++)
        nf_str_add(&s, i % 2 ? "[" : "{\"a\":");
    refused(s.text, "nested deeper than 64", "C07 100,000 deep");
    nf_str_free(&s);
    for (int n = 4096; n <= 4097; n++) {
        s = (nf_str){0};
        nf_str_add(&s, HEAD ",\n \"hybrid_override_pattern\": \"");
        for (int i = 0; i < n; i++)
            nf_str_add(&s, "-");
        nf_str_add(&s, "\"}");
        if (n > 4096)
            refused(s.text, "config.json:2:2: 'hybrid_override_pattern': letter 4097", "C24 a block too many");
        else
            tap_ok(build(s.text) == NF_OK, "accepted: as many blocks as there may be");
        nf_str_free(&s);
    }
    s = (nf_str){0};
    nf_str_add(&s, HEAD ",\n \"n_routed_experts\": 65536, \"hybrid_override_pattern\": \"EEEEE\"}");
    refused(s.text, "config.json:2:2: 'n_routed_experts': 655360 tensors of experts",
            "C18 tensors without end, before any is made");
    nf_str_free(&s);
    refused("{\"model_type\": \"nemotron_h\", \"hidden_size\": 1048576, \"moe_intermediate_size\": 1048576, "
            "\"n_routed_experts\": 4096, \"hybrid_override_pattern\": \"E\"}",
            "config.json:1:30: 'hidden_size': a model of 9e+15 values is not plausible", "C18 values without end");
}

int main(void)
{
    FILE *log = tmpfile();
    tap_open();
    if (tap_ok(log != NULL, "a file for what is said")) {
        nf_log_open(0, 1, NF_LOG_NOTE, log);
        table(log);
        made();
        fclose(log);
    }
    return tap_done();
}
