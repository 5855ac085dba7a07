/* SPDX-License-Identifier: Apache-2.0 */
/* build.c: declaring the parameters of a model. See build.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"

void nf_build_absent(void *params, size_t bytes)
{
    nf_param *p = params;

    for (size_t i = 0; i < bytes / sizeof *p; i++)
        p[i] = (nf_param){.desc = -1};
}

void nf_build_block(struct nf_build *b, nf_block *block, size_t conf_bytes, size_t weight_bytes)
{
    block->conf = calloc(1, conf_bytes);
    block->w = calloc(1, weight_bytes);
    block->norm.desc = -1;
    if (!block->conf || !block->w)
        b->status = nf_fail(NF_ENOMEM, "no memory for the tables of a block");
    else
        nf_build_absent(block->w, weight_bytes);
}

static void *grown(struct nf_build *b, void *table, size_t item, int64_t need, int64_t *cap)
{
    int64_t more = *cap ? 2 * *cap : 256;
    void *larger;

    if (need <= *cap)
        return table;
    larger = realloc(table, (size_t)more * item);
    if (!larger) {
        b->status = nf_fail(NF_ENOMEM, "no memory for a table of %" PRId64 " tensors", more);
        return table;
    }
    *cap = more;
    return larger;
}

/* Takes the name over, also on failure; so does add_row. */
static int add_param(struct nf_build *b, nf_param *p, const nf_param_desc *desc)
{
    nf_model *m = b->model;
    int64_t cap = b->param_cap, cap2 = b->param_cap;

    m->desc = grown(b, m->desc, sizeof *m->desc, m->params + 1, &cap);
    m->param = grown(b, m->param, sizeof *m->param, m->params + 1, &cap2);
    if (b->status) {
        free((char *)desc->name);
        return -1;
    }
    b->param_cap = (int)cap;
    m->desc[m->params] = *desc;
    m->param[m->params] = p;
    *p = (nf_param){.desc = m->params};
    return m->params++;
}

static void add_row(struct nf_build *b, const nf_map_row *row)
{
    b->rows = grown(b, b->rows, sizeof *b->rows, b->row_count + 1, &b->row_cap);
    if (!b->status)
        b->rows[b->row_count++] = *row;
    else
        free((char *)row->name);
}

static char *copied(struct nf_build *b, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        b->status = nf_fail(NF_ENOMEM, "no memory for a tensor name");
    return copy;
}

static void add_dense(struct nf_build *b, nf_param *p, int unit, int flags, int nd, const int64_t *dim, int disk_nd,
                      const int64_t *disk_dim, const char *name)
{
    nf_param_desc desc = {.nd = nd, .spread = NF_DENSE, .unit = unit, .dim = {1, 1, 1}};
    nf_map_row row = {.kind = NF_MAP_WHOLE, .nd = disk_nd, .dim = {1, 1, 1, 1}};

    if (b->status)
        return;
    desc.dtype = flags & (NF_KEEP_FP32 | NF_BUFFER) ? NF_F32 : b->choice->dtype;
    desc.buffer = desc.frozen = (flags & NF_BUFFER) != 0;
    memcpy(desc.dim, dim, (size_t)nd * sizeof *dim);
    memcpy(row.dim, disk_dim, (size_t)disk_nd * sizeof *disk_dim);
    desc.name = copied(b, name);
    row.name = copied(b, name);
    row.param = add_param(b, p, &desc);
    add_row(b, &row);
}

#define FORMATTED(name, fmt)                                                                                                   \
    char name[512];                                                                                                            \
    va_list ap;                                                                                                                \
    va_start(ap, fmt);                                                                                                         \
    vsnprintf(name, sizeof name, fmt, ap);                                                                                     \
    va_end(ap)

void nf_build_dense(struct nf_build *b, nf_param *p, int unit, int flags, int nd, const int64_t *dim, int disk_nd,
                    const int64_t *disk_dim, const char *fmt, ...)
{
    FORMATTED(name, fmt);
    add_dense(b, p, unit, flags, nd, dim, disk_nd, disk_dim, name);
}

void nf_build_vector(struct nf_build *b, nf_param *p, int unit, int flags, int64_t n, const char *fmt, ...)
{
    FORMATTED(name, fmt);
    add_dense(b, p, unit, flags, 1, &n, 1, &n, name);
}

void nf_build_matrix(struct nf_build *b, nf_param *p, int unit, int flags, int64_t rows, int64_t cols, const char *fmt, ...)
{
    const int64_t dim[2] = {rows, cols};
    FORMATTED(name, fmt);
    add_dense(b, p, unit, flags, 2, dim, 2, dim, name);
}

void nf_build_experts(struct nf_build *b, nf_param *p, int unit, int64_t experts, int64_t rows, int64_t cols,
                      const char *prefix, const char *suffix, const char *fused)
{
    nf_param_desc desc = {.nd = 3, .spread = NF_EXPERT, .unit = unit, .dim = {experts, rows, cols}, .dtype = b->choice->dtype};
    char name[512];
    int param;

    if (b->status)
        return;
    snprintf(name, sizeof name, "%s.%s", prefix, fused);
    desc.name = copied(b, name);
    param = add_param(b, p, &desc);
    for (int64_t e = 0; e < experts && !b->status; e++) {
        nf_map_row row = {.kind = NF_MAP_ROW, .param = param, .index = e, .rows = rows, .nd = 2, .dim = {rows, cols, 1, 1}};
        snprintf(name, sizeof name, "%s.%" PRId64 ".%s", prefix, e, suffix);
        row.name = copied(b, name);
        add_row(b, &row);
    }
}

/* How many of a parameter's disk names the pattern takes; rows of a parameter follow each other. */
static void matches(const struct nf_build *b, const char *pattern, int64_t *hit, int64_t *all)
{
    for (int64_t i = 0; i < b->row_count; i++) {
        const nf_map_row *r = &b->rows[i];
        all[r->param]++;
        hit[r->param] += nf_str_match(pattern, r->name) || nf_str_match(pattern, b->model->desc[r->param].name);
    }
}

static nf_status apply(struct nf_build *b, const nf_strings *patterns, const char *key, bool freeze)
{
    int params = b->model->params;
    int64_t *count = calloc((size_t)params * 2 + 1, sizeof *count);
    nf_status s = NF_OK;

    if (!count)
        return nf_fail(NF_ENOMEM, "no memory for %s patterns", key);
    for (int i = 0; patterns && i < patterns->count && !s; i++) {
        const char *pattern = patterns->item[i];
        int64_t *hit = count, *all = count + params, taken = 0;
        memset(count, 0, (size_t)params * 2 * sizeof *count);
        matches(b, pattern, hit, all);
        for (int p = 0; p < params && !s; p++) {
            if (hit[p] && hit[p] < all[p])
                s = nf_fail(NF_EUSAGE,
                            "%s: pattern '%s' takes %" PRId64 " of the %" PRId64 " experts of '%s', which train as one tensor"
                            "\n  Hint: write a pattern that takes all of them or none",
                            key, pattern, hit[p], all[p], b->model->desc[p].name);
            if (!hit[p])
                continue;
            taken++;
            if (freeze)
                b->model->desc[p].frozen = true;
            else
                b->model->desc[p].decay = false;
        }
        if (!s && !taken && freeze)
            s = nf_fail(NF_EUSAGE,
                        "%s: pattern '%s' matches no tensor of this model\n  Hint: patterns are held against names like '%s'",
                        key, pattern, b->row_count ? b->rows[b->row_count - 1].name : "");
    }
    free(count);
    return s;
}

nf_status nf_build_finish(struct nf_build *b)
{
    nf_model *m = b->model;

    m->map.row = b->rows; /* owned by the model from here on, also on failure */
    m->map.rows = b->row_count;
    NF_TRY(b->status);
    for (int p = 0; p < m->params; p++)
        m->desc[p].decay = !m->desc[p].buffer;
    NF_TRY(apply(b, b->choice->no_decay, "optim.no_decay", false));
    return apply(b, b->choice->freeze, "model.freeze", true);
}
