/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nemotron_h.c: hybrid models of Mamba-2, attention, mixture-of-experts and MLP blocks (Nemotron 3 Nano and its kin): reading
 * their config.json. Source: transformers 5.x configuration_nemotron_h.py; older spellings of published files are accepted.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nemafit/log.h"
#include "nemotron_h.h"

/* Sizes beyond these are damage, not models: a size (products of three stay far inside int64), tensors, values. */
#define BIG (1 << 20)
#define TENSORS_MAX (1 << 19)
#define VALUES_MAX 1e15

static char letter(const char *name)
{
    static const struct {
        const char *name;
        char letter;
    } kinds[] = {{"mamba", 'M'}, {"linear_attention", 'M'}, {"attention", '*'}, {"full_attention", '*'}, {"moe", 'E'},
                 {"mlp", '-'}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, kinds[i].name))
            return kinds[i].letter;
    return 0;
}

static void read_list(struct nf_config *c, const nf_jvalue *list, const char *key, struct nemotron_h *h)
{
    if (nf_jvalue_kind(list) != NF_JARRAY || nf_jvalue_size(list) > NF_NEMOTRON_LAYERS_MAX) {
        nf_config_fault(c, key, "a list of at most %d block names is needed", NF_NEMOTRON_LAYERS_MAX);
        return;
    }
    for (size_t i = 0; i < nf_jvalue_size(list); i++) {
        const nf_jvalue *v = nf_jvalue_at(list, i);
        const char *name = nf_jvalue_kind(v) == NF_JSTRING ? nf_jvalue_string(v, NULL) : "";
        char l = letter(name), shown[280];
        if (!l)
            nf_config_fault(c, key, "block %zu is '%s'; known: linear_attention (mamba), full_attention (attention), moe, mlp",
                            i, nf_str_shown(shown, name, strlen(name)));
        h->pattern[h->layers++] = l ? l : '-';
    }
}

static void read_pattern(struct nf_config *c, const char *text, struct nemotron_h *h)
{
    for (; *text && *text != '/'; text++) { /* what follows '/' is the MTP part of training tools */
        if (*text == '|')
            continue;
        if (!strchr("M*E-", *text) || h->layers == NF_NEMOTRON_LAYERS_MAX) {
            nf_config_fault(c, "hybrid_override_pattern", "letter %d is not one of M * E - (or there are over %d)",
                            h->layers + 1, NF_NEMOTRON_LAYERS_MAX);
            return;
        }
        h->pattern[h->layers++] = *text;
    }
}

/* The letters of a pattern, marks left out, are the blocks of the list. */
static bool same_blocks(const char *pattern, const struct nemotron_h *h)
{
    int i = 0;

    for (; *pattern && *pattern != '/'; pattern++)
        if (*pattern != '|' && (i == h->layers || *pattern != h->pattern[i++]))
            return false;
    return i == h->layers;
}

static void read_layers(struct nf_config *c, struct nemotron_h *h)
{
    const char *const lists[] = {"layers_block_type", "layer_types", NULL}, *key = "layers_block_type";
    const nf_jvalue *list = nf_config_find(c, lists, &key);
    const char *pattern = nf_config_string(c, "hybrid_override_pattern", NULL);
    int64_t declared;

    if (list) { /* it wins, as in transformers */
        read_list(c, list, key, h);
        if (pattern && !same_blocks(pattern, h))
            nf_warn("%s: hybrid_override_pattern contradicts %s, which decides", nf_json_name(c->doc), key);
    } else
        read_pattern(c, pattern ? pattern : "ME*-", h);
    if (!h->layers)
        nf_config_fault(c, key, "the model has no block");
    declared = nf_config_int(c, "num_hidden_layers", NULL, h->layers, 0, BIG);
    if (declared != h->layers)
        nf_warn("%s: num_hidden_layers is %" PRId64 ", the block list has %d and decides", nf_json_name(c->doc), declared,
                h->layers);
}

static void read_dt(struct nf_config *c, struct nemotron_h *h, bool floor_compat)
{
    const char *const keys[] = {"time_step_limit", "mamba_dt_limit", NULL}, *key = keys[0];
    const nf_jvalue *v = nf_config_find(c, keys, &key);

    h->dt_lo = 0;
    h->dt_hi = INFINITY;
    h->dt_min = nf_config_real(c, "time_step_min", "mamba_dt_min", 1e-3, 0, 1e3);
    h->dt_max = nf_config_real(c, "time_step_max", "mamba_dt_max", 0.1, 0, 1e3);
    h->dt_floor = nf_config_real(c, "time_step_floor", "mamba_dt_init_floor", 1e-4, 0, 1e3);
    if (v && (nf_jvalue_kind(v) != NF_JARRAY || nf_jvalue_size(v) != 2 || !nf_jvalue_number(nf_jvalue_at(v, 0), &h->dt_lo) ||
              !nf_jvalue_number(nf_jvalue_at(v, 1), &h->dt_hi) || !(h->dt_lo >= 0) || !(h->dt_hi > h->dt_lo)))
        nf_config_fault(c, key, "two numbers 0 <= low < high are needed");
    if (floor_compat) { /* as released transformers does since 5.6 */
        h->dt_lo = h->dt_min;
        h->dt_hi = INFINITY;
    }
}

static bool is_null(const struct nf_config *c, const char *key)
{
    const nf_jvalue *v = nf_jvalue_get(c->root, key);
    return v && nf_jvalue_kind(v) == NF_JNULL;
}

static void read_sizes(struct nf_config *c, struct nemotron_h *h)
{
    h->hidden = nf_config_int(c, "hidden_size", NULL, 4096, 1, BIG);
    h->vocab = nf_config_int(c, "vocab_size", NULL, 131072, 1, 1 << 24);
    h->heads = nf_config_int(c, "num_attention_heads", NULL, 32, 1, BIG);
    h->kv_heads = nf_config_int(c, "num_key_value_heads", NULL, is_null(c, "num_key_value_heads") ? h->heads : 8, 1, BIG);
    h->head_dim = nf_config_int(c, "head_dim", NULL, is_null(c, "head_dim") ? h->hidden / h->heads : 128, 1, 4096);
    h->intermediate = nf_config_int(c, "intermediate_size", NULL, 21504, 1, BIG);
    h->eps = nf_config_real(c, "layer_norm_epsilon", NULL, 1e-5, 1e-30, 0.1);
    h->init_range = nf_config_real(c, "initializer_range", NULL, 0.02, 0, 10);
    h->mamba_heads = nf_config_int(c, "mamba_num_heads", NULL, 128, 1, BIG);
    h->mamba_head_dim = nf_config_int(c, "mamba_head_dim", NULL, 64, 1, 4096);
    h->state = nf_config_int(c, "ssm_state_size", "mamba_d_state", 128, 1, 4096);
    h->groups = nf_config_int(c, "n_groups", "mamba_n_groups", 8, 1, BIG);
    h->conv = nf_config_int(c, "conv_kernel", "mamba_d_conv", 4, 1, 16);
    h->chunk = nf_config_int(c, "chunk_size", "mamba_chunk_size", 128, 1, BIG);
    h->experts =
        nf_config_int(c, "n_routed_experts", NULL, nf_config_int(c, "num_experts", "num_local_experts", 8, 1, 65536), 1, 65536);
    h->k = nf_config_int(c, "num_experts_per_tok", "experts_per_token", 2, 1, 1024);
    h->expert_width = nf_config_int(c, "moe_intermediate_size", NULL, 7688, 1, BIG);
    h->shared_width = nf_config_int(c, "moe_shared_expert_intermediate_size", NULL,
                                    is_null(c, "moe_shared_expert_intermediate_size") ? 0 : 7688, 0, BIG);
    if (!h->shared_width) /* transformers: intermediate_size or config.intermediate_size */
        h->shared_width = h->intermediate;
    h->expert_groups = nf_config_int(c, "n_group", NULL, 1, 1, 65536);
    h->expert_groups_kept = nf_config_int(c, "topk_group", NULL, 1, 1, 65536);
    h->scaling = nf_config_real(c, "routed_scaling_factor", NULL, 1, 0, 1e6);
    h->norm_topk = nf_config_bool(c, "norm_topk_prob", NULL, true);
    h->mlp_bias = nf_config_bool(c, "mlp_bias", NULL, false);
    h->mamba_bias = nf_config_bool(c, "use_bias", NULL, false);
    h->conv_bias = nf_config_bool(c, "use_conv_bias", "mamba_conv_bias", true);
    h->rescale_residual = nf_config_bool(c, "rescale_prenorm_residual", NULL, true);
}

/* Nothing is allocated for a model that cannot be. */
static void check_plausible(struct nf_config *c, const struct nemotron_h *h)
{
    double H = (double)h->hidden, inner = (double)(h->mamba_heads * h->mamba_head_dim), values = 2 * H * (double)h->vocab;
    int64_t tensors = 0;

    for (int i = 0; i < h->layers; i++)
        switch (h->pattern[i]) {
        case 'M': values += H * (3 * inner + 2 * (double)(h->groups * h->state)); break;
        case '*': values += 2 * H * (double)((h->heads + h->kv_heads) * h->head_dim); break;
        case 'E':
            values += 2 * H * (double)h->expert_width * (double)h->experts;
            tensors += 2 * h->experts;
            break;
        default: values += 2 * H * (double)h->intermediate;
        }
    if (tensors > TENSORS_MAX)
        nf_config_fault(c, "n_routed_experts", "%" PRId64 " tensors of experts are more than any model has (%d)", tensors,
                        TENSORS_MAX);
    if (values > VALUES_MAX)
        nf_config_fault(c, "hidden_size", "a model of %.2g values is not plausible (at most %.0g)", values, VALUES_MAX);
}

static void check_sizes(struct nf_config *c, const struct nemotron_h *h)
{
    int64_t a_group = h->experts / h->expert_groups;

    check_plausible(c, h);
    if (is_null(c, "head_dim") && h->hidden % h->heads)
        nf_config_fault(c, "head_dim", "null, and hidden_size = %" PRId64 " is not a multiple of %" PRId64 " heads", h->hidden,
                        h->heads);

    if (h->heads % h->kv_heads)
        nf_config_fault(c, "num_attention_heads", "%" PRId64 " query heads cannot share %" PRId64 " key-value heads evenly",
                        h->heads, h->kv_heads);
    if (h->mamba_heads % h->groups)
        nf_config_fault(c, "mamba_num_heads", "%" PRId64 " heads cannot share n_groups = %" PRId64 " evenly", h->mamba_heads,
                        h->groups);
    if (h->k > h->experts)
        nf_config_fault(c, "num_experts_per_tok", "%" PRId64 " of %" PRId64 " experts", h->k, h->experts);
    if (h->experts % h->expert_groups || h->expert_groups_kept > h->expert_groups || h->k > h->expert_groups_kept * a_group ||
        (h->expert_groups > 1 && a_group < 2))
        nf_config_fault(c, "n_group",
                        "%" PRId64 " experts in %" PRId64 " groups, of which %" PRId64 " are kept, cannot give %" PRId64
                        " a token (groups need two or more)",
                        h->experts, h->expert_groups, h->expert_groups_kept, h->k);
    if (memchr(h->pattern, 'M', (size_t)h->layers) && h->mamba_heads * h->mamba_head_dim > BIG)
        nf_config_fault(c, "mamba_num_heads", "an inner width of %" PRId64 " is not plausible",
                        h->mamba_heads * h->mamba_head_dim);
}

/* What would change the mathematics and is not here: refused, never ignored. */
static void refuse(struct nf_config *c)
{
    const char *const latent[] = {"moe_latent_size", NULL}, *const quant[] = {"quantization_config", NULL};
    const char *act = nf_config_string(c, "mlp_hidden_act", "relu2"), *gate = nf_config_string(c, "mamba_hidden_act", "silu");

    if (nf_config_find(c, latent, NULL))
        nf_config_fault(c, "moe_latent_size", "latent experts are not in this version");
    if (nf_config_find(c, quant, NULL))
        nf_config_fault(c, "quantization_config", "quantised weights cannot be trained; use a BF16 checkpoint of this model");
    if (nf_config_bool(c, "tie_word_embeddings", NULL, false))
        nf_config_fault(c, "tie_word_embeddings", "nemotron_h models do not share embedding and head");
    if (strcmp(act, "relu2"))
        nf_config_fault(c, "mlp_hidden_act", "only relu2 exists in this family");
    if (strcmp(gate, "silu") && strcmp(gate, "swish"))
        nf_config_fault(c, "mamba_hidden_act", "only silu exists in this family");
    if (nf_config_int(c, "num_nextn_predict_layers", NULL, 0, 0, 64))
        nf_note("note: the multi-token prediction head (mtp.*) is carried through unchanged and not trained in this version");
}

/* Published rates count FLOPs this way (training, a token): kept as it is, oddities included, so that rates compare.
 * Source: NeMo AutoModel flops_utils: attention with hidden x hidden projections, MLP blocks as if gated. */
static double flops(const nf_model *model, int64_t seq_len)
{
    const struct nemotron_h *h = model->own;
    double H = (double)h->hidden, inner = (double)(h->mamba_heads * h->mamba_head_dim), GN = (double)(h->groups * h->state);
    double sum = 6 * H * (double)h->vocab;

    for (int i = 0; i < h->layers; i++)
        switch (h->pattern[i]) {
        case 'M':
            sum += 6 * H * (2 * inner + 2 * GN + (double)h->mamba_heads) + 21 * inner * (double)h->state + 6 * inner * H;
            break;
        case '*': sum += 6 * H * (2 * H + 2 * H * (double)h->kv_heads / (double)h->heads + (double)seq_len); break;
        case 'E':
            sum +=
                12 * (double)h->k * H * (double)h->expert_width + 12 * H * (double)h->shared_width + 6 * H * (double)h->experts;
            break;
        default: sum += 18 * H * (double)h->intermediate;
        }
    return sum;
}

static nf_status build(struct nf_config *c, struct nf_build *b)
{
    struct nemotron_h *h = calloc(1, sizeof *h);
    nf_model *m = b->model;

    if (!h)
        return nf_fail(NF_ENOMEM, "no memory for a model's numbers");
    m->own = h;
    read_layers(c, h);
    read_sizes(c, h);
    read_dt(c, h, b->choice->dt_floor_compat);
    check_sizes(c, h);
    refuse(c);
    nf_config_harmless(c, nf_nemotron_h_harmless);
    m->context = nf_config_int(c, "max_position_embeddings", NULL, 4096, 1, INT64_C(1) << 40);
    NF_TRY(nf_config_verdict(c));
    m->family = "nemotron_h";
    m->hidden = h->hidden;
    m->vocab = h->vocab;
    m->eps = h->eps;
    m->pad_id = -1; /* this family trains the padding row like any other */
    m->init_range = h->init_range;
    m->init = nf_nemotron_h_init;
    m->flops = flops;
    m->map.canonical = nf_nemotron_h_canonical;
    m->map.pass = nf_nemotron_h_pass;
    return nf_nemotron_h_blocks(b, h);
}

const struct nf_family nf_family_nemotron_h = {"nemotron_h", "NemotronHForCausalLM", build};
