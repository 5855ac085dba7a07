/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nemotron_h_names.c: spellings of nemotron_h checkpoints that are read besides the published ones, which alone are written;
 * tensors that pass through untouched; keys of config.json that change nothing here.
 */
#include <stdio.h>
#include <string.h>

#include "nemotron_h.h"

/* Multi-token prediction layers: kept and written back. */
const char *const nf_nemotron_h_pass[] = {"mtp.*", NULL};

const char *const nf_nemotron_h_harmless[] = {"model_type",
                                              "architectures",
                                              "auto_map",
                                              "transformers_version",
                                              "torch_dtype",
                                              "dtype",
                                              "use_cache",
                                              "bos_token_id",
                                              "eos_token_id",
                                              "pad_token_id",
                                              "sep_token_id",
                                              "rope_theta",
                                              "rope_scaling",
                                              "rope_parameters",
                                              "partial_rotary_factor",
                                              "norm_eps",
                                              "expand",
                                              "mamba_expand",
                                              "mamba_proj_bias",
                                              "n_shared_experts",
                                              "sliding_window",
                                              "hidden_dropout",
                                              "attention_dropout",
                                              "attention_bias",
                                              "residual_in_fp32",
                                              "moe_shared_expert_overlap",
                                              "mamba_ssm_cache_dtype",
                                              "max_position_embeddings",
                                              "num_logits_to_keep",
                                              "output_router_logits",
                                              "use_mamba_kernels",
                                              "use_return_dict",
                                              "mtp_layers_block_type",
                                              "mtp_hybrid_override_pattern",
                                              "initializer_range",
                                              "_name_or_path",
                                              "name_or_path",
                                              "output_attentions",
                                              "output_hidden_states",
                                              "return_dict",
                                              "is_encoder_decoder",
                                              "chunk_size_feed_forward",
                                              "problem_type",
                                              "id2label",
                                              "label2id",
                                              "tokenizer_class",
                                              "attn_implementation",
                                              "_attn_implementation",
                                              "router_aux_loss_coef",
                                              NULL};

/* language_model.X -> X; model.X -> backbone.X; backbone.embedding(.s) and embed_tokens -> backbone.embeddings */
bool nf_nemotron_h_canonical(const char *found, char *out, size_t size)
{
    static const char *const embeddings[] = {"backbone.embedding.weight", "backbone.embed_tokens.weight"};
    const char *name = found;

    if (!strncmp(name, "language_model.", 15))
        name += 15;
    if (!strncmp(name, "model.", 6))
        snprintf(out, size, "backbone.%s", name + 6);
    else
        snprintf(out, size, "%s", name);
    for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++)
        if (!strcmp(out, embeddings[i]))
            snprintf(out, size, "backbone.embeddings.weight");
    return strcmp(out, found) != 0;
}
