/* SPDX-License-Identifier: Apache-2.0 */
/* golden_open.c: reading a golden directory: golden.json (settings, losses), golden.safetensors, grads.safetensors, after6. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "nemafit/json.h"

static nf_status open_file(const nf_mesh *mesh, const char *dir, const char *name, nf_st **st)
{
    char *path = nf_path_join(dir, name);
    nf_status s = path ? nf_st_open_file(mesh, path, st) : nf_fail(NF_ENOMEM, "no memory for a path");

    free(path);
    return s;
}

static double number(const nf_jvalue *object, const char *key, double fallback)
{
    const nf_jvalue *v = object ? nf_jvalue_get(object, key) : NULL;
    double x;
    return v && nf_jvalue_number(v, &x) ? x : fallback;
}

static nf_status read_settings(const nf_json *doc, struct golden *g)
{
    const nf_jvalue *root = nf_json_root(doc), *adamw, *betas, *losses, *norms;

    if (nf_jvalue_kind(root) != NF_JOBJECT)
        return nf_fail(NF_EDATA, "%s: the top level is not an object", nf_json_name(doc));
    adamw = nf_jvalue_get(root, "adamw");
    betas = adamw ? nf_jvalue_get(adamw, "betas") : NULL;
    losses = nf_jvalue_get(root, "losses");
    norms = nf_jvalue_get(root, "grad_norms");
    if (!betas || nf_jvalue_size(betas) != 2 || !losses || !norms || nf_jvalue_size(losses) != nf_jvalue_size(norms) ||
        !nf_jvalue_size(losses) || nf_jvalue_size(losses) > GOLDEN_STEPS_MAX)
        return nf_fail(NF_EDATA, "%s: 'adamw' with two 'betas', and as many 'losses' as 'grad_norms' (1 to %d) are needed",
                       nf_json_name(doc), GOLDEN_STEPS_MAX);
    g->lr = number(adamw, "lr", 0);
    g->eps = number(adamw, "eps", 1e-8);
    g->weight_decay = number(adamw, "weight_decay", 0);
    g->clip = number(adamw, "clip_grad_norm", 0);
    nf_jvalue_number(nf_jvalue_at(betas, 0), &g->beta1);
    nf_jvalue_number(nf_jvalue_at(betas, 1), &g->beta2);
    g->steps = (int)nf_jvalue_size(losses);
    for (int i = 0; i < g->steps; i++) {
        nf_jvalue_number(nf_jvalue_at(losses, (size_t)i), &g->loss[i]);
        nf_jvalue_number(nf_jvalue_at(norms, (size_t)i), &g->norm[i]);
    }
    return NF_OK;
}

static nf_status read_json(const nf_mesh *mesh, const char *dir, struct golden *g)
{
    char *path = nf_path_join(dir, "golden.json"), *text = NULL;
    nf_json *doc = NULL;
    size_t n = 0;
    nf_status s = path ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a path");

    if (!s && nf_mesh_rank(mesh) == 0)
        s = nf_file_read(path, 1 << 24, &text, &n);
    s = nf_agree(mesh, s);
    if (!s)
        s = nf_bcast_blob(nf_mesh_group(mesh, NF_WORLD), 0, (void **)&text, &n);
    if (!s)
        s = nf_json_parse(path, text, n, NF_JSON_PYTHON, NF_EDATA, &doc);
    if (!s)
        s = read_settings(doc, g);
    nf_json_free(doc);
    free(text);
    free(path);
    return s;
}

/* int64 on disk; ids and labels are int32 in memory. */
static nf_status read_tokens(const struct golden *g, const char *name, int64_t count, int32_t **out)
{
    int64_t *wide = NULL, n = 0;
    nf_status s = nf_st_load_i64(g->values, name, &wide, &n);

    if (!s && n != count)
        s = nf_fail(NF_EDATA, "%s/golden.safetensors: '%s' has %" PRId64 " values, %" PRId64 " were expected", g->dir, name, n,
                    count);
    if (!s && !(*out = malloc((size_t)count * sizeof **out + 1)))
        s = nf_fail(NF_ENOMEM, "no memory for tokens");
    for (int64_t i = 0; i < count && !s; i++) {
        if (wide[i] < INT32_MIN || wide[i] > INT32_MAX)
            s = nf_fail(NF_EDATA, "%s/golden.safetensors: '%s'[%" PRId64 "] is %" PRId64, g->dir, name, i, wide[i]);
        (*out)[i] = (int32_t)wide[i];
    }
    free(wide);
    return s;
}

nf_status nf_golden_open(const nf_mesh *mesh, const char *dir, struct golden *g)
{
    const struct nf_st_entry *ids;
    char name[32];

    g->dir = dir;
    NF_TRY(read_json(mesh, dir, g));
    NF_TRY(open_file(mesh, dir, "golden.safetensors", &g->values));
    NF_TRY(open_file(mesh, dir, "grads.safetensors", &g->grads));
    NF_TRY(open_file(mesh, dir, "after6.safetensors", &g->after));
    ids = nf_st_find(g->values, "input_ids");
    if (!ids || ids->nd != 2)
        return nf_fail(NF_EDATA, "%s/golden.safetensors: 'input_ids' [rows, tokens] is missing", dir);
    g->rows = ids->dim[0];
    g->len = ids->dim[1];
    NF_TRY(read_tokens(g, "input_ids", g->rows * g->len, &g->ids));
    NF_TRY(read_tokens(g, "labels", g->rows * g->len, &g->labels));
    if (nf_st_find(g->values, "segment_ids"))
        NF_TRY(read_tokens(g, "segment_ids", g->rows * g->len, &g->segment));
    do
        snprintf(name, sizeof name, "hidden.%d", g->hidden);
    while (nf_st_find(g->values, name) && ++g->hidden < GOLDEN_HIDDEN_MAX);
    return NF_OK;
}

static nf_status in_range(const struct golden *g, const char *name, const int32_t *value, int64_t lo, int64_t hi, int64_t also)
{
    for (int64_t i = 0; value && i < g->rows * g->len; i++)
        if ((value[i] < lo || value[i] > hi) && value[i] != also)
            return nf_fail(NF_EDATA,
                           "%s/golden.safetensors: '%s' of row %" PRId64 ", token %" PRId64 " is %d, not in %" PRId64
                           " .. %" PRId64,
                           g->dir, name, i / g->len, i % g->len, (int)value[i], lo, hi);
    return NF_OK;
}

static bool is_number(const char *dtype)
{
    static const char *const types[] = {"F32", "BF16", "F16", "F64"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(dtype, types[i]))
            return true;
    return false;
}

/* A tensor of so many values that can be read; absent ones are another's affair. */
static nf_status fits(const struct golden *g, const nf_st *st, const char *file, const char *name, int64_t values)
{
    const struct nf_st_entry *e = nf_st_find(st, name);
    int64_t n = 1;

    if (!e)
        return NF_OK;
    for (int i = 0; i < e->nd; i++)
        n *= e->dim[i];
    if (n == values && is_number(e->dtype))
        return NF_OK;
    return nf_fail(NF_EDATA, "%s/%s: '%s' has %" PRId64 " values of type %s, %" PRId64 " of a floating type were expected",
                   g->dir, file, name, n, e->dtype, values);
}

static nf_status fits_map(const struct golden *g, const nf_st *st, const char *file, const nf_weight_map *map)
{
    for (int64_t r = 0; r < map->rows; r++) {
        int64_t n = 1;
        for (int i = 0; i < map->row[r].nd; i++)
            n *= map->row[r].dim[i];
        NF_TRY(fits(g, st, file, map->row[r].name, n));
    }
    return NF_OK;
}

nf_status nf_golden_check(const struct golden *g, const nf_model *model)
{
    const int64_t tokens = g->rows * g->len;
    char name[32];

    NF_TRY(in_range(g, "input_ids", g->ids, 0, model->vocab - 1, 0));
    NF_TRY(in_range(g, "labels", g->labels, 0, model->vocab - 1, -100));
    NF_TRY(in_range(g, "segment_ids", g->segment, 0, INT32_MAX, 0));
    if (!nf_st_find(g->values, "logits"))
        return nf_fail(NF_EDATA, "%s/golden.safetensors: 'logits' is missing", g->dir);
    NF_TRY(fits(g, g->values, "golden.safetensors", "logits", tokens * model->vocab));
    for (int i = 0; i < g->hidden; i++) {
        snprintf(name, sizeof name, "hidden.%d", i);
        NF_TRY(fits(g, g->values, "golden.safetensors", name, tokens * model->hidden));
    }
    NF_TRY(fits_map(g, g->grads, "grads.safetensors", &model->map));
    return fits_map(g, g->after, "after6.safetensors", &model->map);
}

void nf_golden_close(struct golden *g)
{
    nf_st_free(g->values);
    nf_st_free(g->grads);
    nf_st_free(g->after);
    free(g->ids);
    free(g->labels);
    free(g->segment);
    g->values = g->grads = g->after = NULL;
    memset(g->hidden_diff, 0, sizeof g->hidden_diff);
    memset(g->hidden_ref, 0, sizeof g->hidden_ref);
    g->logits_diff = g->logits_ref = 0;
    g->hidden = 0;
    g->ids = g->labels = g->segment = NULL;
}
