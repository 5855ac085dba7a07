/* SPDX-License-Identifier: Apache-2.0 */
#include "toy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const pass[] = {"extra.*", NULL};
static const char *const optional[] = {"backbone.spare", NULL};

static bool canonical(const char *found, char *out, size_t size)
{
    if (strncmp(found, "model.", 6) != 0)
        return false;
    snprintf(out, size, "backbone.%s", found + 6);
    return true;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 24;
}

/* Random bits that are a finite number of the type, zeros and denormals included. */
static void random_bits(void *bytes, nf_dtype t, int64_t n, uint64_t *state)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t r = next_random(state);
        if (t == NF_F32) {
            uint32_t x = (uint32_t)r;
            if ((x & 0x7f000000u) == 0x7f000000u) /* also what a narrower type would make infinite */
                x &= 0xbfffffffu;
            ((uint32_t *)bytes)[i] = x;
        } else {
            const uint16_t mask = t == NF_BF16 ? 0x7f80 : 0x7c00;
            uint16_t x = (uint16_t)r;
            if ((x & mask) == mask)
                x &= 0xbfff;
            ((uint16_t *)bytes)[i] = x;
        }
    }
}

static int add_row(struct toy *toy, int at, const char *name, int param, enum nf_map_kind kind, int64_t index, int nd,
                   int64_t a, int64_t b, int64_t c)
{
    snprintf(toy->name[at], sizeof toy->name[at], "%s", name);
    toy->row[at] =
        (nf_map_row){.name = toy->name[at], .param = param, .kind = kind, .index = index, .nd = nd, .dim = {a, b, c}};
    return at + 1;
}

static void make_rows(struct toy *toy)
{
    char name[96];
    int n = add_row(toy, 0, "backbone.embeddings.weight", TOY_EMBED, NF_MAP_WHOLE, 0, 2, toy->desc[TOY_EMBED].dim[0], 100, 0);
    n = add_row(toy, n, "backbone.layers.0.conv1d.weight", TOY_CONV, NF_MAP_WHOLE, 0, 3, 10, 1, 4);
    n = add_row(toy, n, "backbone.layers.0.norm.weight", TOY_NORM, NF_MAP_WHOLE, 0, 1, 25, 0, 0);
    for (int e = 0; e < TOY_EXPERTS; e++) {
        snprintf(name, sizeof name, "backbone.layers.1.experts.%d.up_proj.weight", e);
        n = add_row(toy, n, name, TOY_UP, NF_MAP_ROW, e, 2, 6, 5, 0);
        snprintf(name, sizeof name, "backbone.layers.1.experts.%d.down_proj.weight", e);
        n = add_row(toy, n, name, TOY_DOWN, NF_MAP_ROW, e, 2, 5, 6, 0);
        for (int half = 0; half < 2; half++) {
            snprintf(name, sizeof name, "backbone.layers.2.experts.%d.%s_proj.weight", e, half ? "up" : "gate");
            n = add_row(toy, n, name, TOY_PAIR, NF_MAP_BAND, e, 2, 3, 7, 0);
            toy->row[n - 1].row0 = 3 * half;
            toy->row[n - 1].rows = 3;
        }
    }
    n = add_row(toy, n, "backbone.layers.1.gate.e_score_correction_bias", TOY_BIAS, NF_MAP_WHOLE, 0, 1, TOY_EXPERTS, 0, 0);
    n = add_row(toy, n, "backbone.one", TOY_ONE, NF_MAP_WHOLE, 0, 0, 0, 0, 0);
    n = add_row(toy, n, "backbone.spare", TOY_SPARE, NF_MAP_WHOLE, 0, 1, 9, 0, 0);
    toy->map = (nf_weight_map){.row = toy->row, .rows = n, .canonical = canonical, .pass = pass, .optional = optional};
}

bool toy_make(struct toy *toy, uint64_t seed, nf_dtype memory, nf_dtype disk, nf_dtype bias, int64_t embed)
{
    const nf_param_desc desc[TOY_PARAMS] = {
        [TOY_EMBED] = {.name = "backbone.embeddings.weight", .nd = 2, .dim = {embed, 100}},
        [TOY_CONV] = {.name = "backbone.layers.0.conv1d.weight", .nd = 2, .dim = {10, 4}},
        [TOY_NORM] = {.name = "backbone.layers.0.norm.weight", .nd = 1, .dim = {25}},
        [TOY_UP] = {.name = "backbone.layers.1.experts.up_proj", .nd = 3, .dim = {TOY_EXPERTS, 6, 5}, .spread = NF_EXPERT},
        [TOY_DOWN] = {.name = "backbone.layers.1.experts.down_proj", .nd = 3, .dim = {TOY_EXPERTS, 5, 6}, .spread = NF_EXPERT},
        [TOY_PAIR] = {.name = "backbone.layers.2.experts.gate_up_proj",
                      .nd = 3,
                      .dim = {TOY_EXPERTS, 6, 7},
                      .spread = NF_EXPERT},
        [TOY_BIAS] = {.name = "backbone.layers.1.gate.e_score_correction_bias", .nd = 1, .dim = {TOY_EXPERTS}, .buffer = true},
        [TOY_ONE] = {.name = "backbone.one", .nd = 1, .dim = {1}},
        [TOY_SPARE] = {.name = "backbone.spare", .nd = 1, .dim = {9}, .frozen = true},
    };
    uint64_t state = seed * 977 + 13;
    bool made = true;
    memset(toy, 0, sizeof *toy);
    for (int p = 0; p < TOY_PARAMS; p++) {
        toy->desc[p] = desc[p];
        toy->desc[p].dtype = p == TOY_BIAS ? NF_F32 : memory;
        toy->disk[p] = p == TOY_BIAS ? bias : disk;
        const int64_t n = toy_count(toy, p);
        toy->bytes[p] = malloc((size_t)n * 4);
        made &= toy->bytes[p] != NULL;
        if (toy->bytes[p])
            random_bits(toy->bytes[p], toy->disk[p], n, &state);
    }
    make_rows(toy);
    return made;
}

void toy_free(struct toy *toy)
{
    for (int p = 0; p < TOY_PARAMS; p++)
        free(toy->bytes[p]);
    memset(toy, 0, sizeof *toy);
}

int64_t toy_count(const struct toy *toy, int param)
{
    int64_t n = 1;
    for (int d = 0; d < toy->desc[param].nd; d++)
        n *= toy->desc[param].dim[d];
    return n;
}

uint32_t toy_bits(const struct toy *toy, int param, int64_t at)
{
    const nf_dtype from = toy->disk[param], to = toy->desc[param].dtype;
    union {
        float f;
        uint32_t u;
    } x;
    if (from == NF_F32)
        x.u = ((const uint32_t *)toy->bytes[param])[at];
    else
        x.f = from == NF_BF16 ? nf_bf16_to_f32(((const uint16_t *)toy->bytes[param])[at])
                              : nf_f16_to_f32(((const uint16_t *)toy->bytes[param])[at]);
    return to == NF_F32 ? x.u : nf_f32_to_bf16(x.f);
}

void toy_span(const struct toy *toy, int row, int64_t *first, int64_t *count)
{
    const nf_map_row *r = &toy->row[row];
    const nf_param_desc *d = &toy->desc[r->param];
    *count = 1;
    for (int i = 0; i < r->nd; i++)
        *count *= r->dim[i];
    *first = r->kind == NF_MAP_WHOLE ? 0 : (r->index * d->dim[1] + (r->kind == NF_MAP_BAND ? r->row0 : 0)) * d->dim[2];
}

/* ---- on disk --------------------------------------------------------------------------------------------------------------
 */

static const char *dtype_name(nf_dtype t)
{
    return t == NF_F32 ? "F32" : t == NF_BF16 ? "BF16" : "F16";
}

static void put(struct make *m, const struct toy *toy, const struct toy_how *how, const char *name, int param, int nd,
                const int64_t *dim, int64_t first, int64_t count)
{
    char shown[128];
    const size_t size = nf_dtype_size(toy->disk[param]);
    snprintf(shown, sizeof shown, "%s%s", how->alias ? "model." : "backbone.", name + 9);
    make_tensor(m, shown, dtype_name(toy->disk[param]), nd, dim, (const char *)toy->bytes[param] + (size_t)first * size,
                (size_t)count * size);
}

bool toy_write(const struct toy *toy, const char *dir, const struct toy_how *how)
{
    struct make file[3] = {0};
    nf_str index = {0};
    char path[512], alias[128];
    bool done[TOY_PARAMS] = {false}, written = true;
    const int files = how->sharded ? 3 : 1, n = (int)toy->map.rows;
    const int64_t four = 4, none[2] = {0, 3};
    for (int i = 0; i < n; i++) {
        const int r = how->shuffled ? (i * 23 + 5) % n : i, param = toy->row[r].param; /* 23 has no factor in common with 54 */
        const nf_map_row *row = &toy->row[r];
        const bool fused = how->fused && (param == TOY_UP || param == TOY_PAIR);
        if ((param == TOY_SPARE && !how->spare) || (fused && done[param]))
            continue;
        const int f = (fused ? param : i) % files;
        int64_t first = 0, count = toy_count(toy, param);
        const char *name = fused ? toy->desc[param].name : row->name;
        done[param] = true;
        if (!fused)
            toy_span(toy, r, &first, &count);
        put(&file[f], toy, how, name, param, fused ? 3 : row->nd, fused ? toy->desc[param].dim : row->dim, first, count);
        snprintf(alias, sizeof alias, "%s%s", how->alias ? "model." : "backbone.", name + 9);
        nf_str_addf(&index, "%s\"%s\":\"model-%05d-of-00003.safetensors\"", index.len ? "," : "", alias, f + 1);
    }
    make_tensor(&file[0], "extra.x", "I32", 1, &four, "0123456789abcdef", 16);
    make_tensor(&file[files - 1], "extra.none", "F8_E4M3", 2, none, "", 0);
    nf_str_addf(&index, ",\"extra.x\":\"model-00001-of-00003.safetensors\",\"extra.none\":\"model-%05d-of-00003.safetensors\"",
                files);
    for (int f = 0; f < files; f++) {
        if (how->sharded)
            snprintf(path, sizeof path, "%s/model-%05d-of-00003.safetensors", dir, f + 1);
        else
            snprintf(path, sizeof path, "%s/model.safetensors", dir);
        written &= make_write(&file[f], path);
    }
    if (how->sharded) {
        nf_str text = {0};
        nf_str_addf(&text, "{\"weight_map\":{%s}}", index.text);
        snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
        written &= make_text(path, text.text);
        nf_str_free(&text);
    }
    nf_str_free(&index);
    snprintf(path, sizeof path, "%s/config.json", dir);
    written &= make_text(path, "{\"model_type\": \"toy\"}\n");
    snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    written &= make_file(path, "\0\1\2\377", 4);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", dir);
    return written && make_text(path, "old");
}
