/* SPDX-License-Identifier: Apache-2.0 */
/* golden_compare.c: tensor by tensor against the reference. Error = |a - b| / max(|b|, 1e-4 |all|) in the 2-norm. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "nemafit/log.h"

double nf_golden_bound(struct golden *g, enum golden_figure kind, int i, double error, double fp32)
{
    if (g->pass == GOLDEN_ROUNDED)
        g->expected.figure[golden_slot(kind, i)] = error;
    return g->pass == GOLDEN_HALF ? nf_half_figure(g, kind, i) : fp32;
}

void nf_golden_figure(struct golden *g, const char *name, double error, double bound, const char *worst)
{
    bool holds = error <= bound; /* NaN does not */

    if (g->pass == GOLDEN_ROUNDED)
        return;
    g->failed |= !holds;
    nf_note("%-26s %.3e  (bound %.*e)%s%s%s", name, error, g->pass == GOLDEN_HALF ? 1 : 0, bound, *worst ? "  " : "", worst,
            holds ? "" : "  FAIL");
}

/* This rank's rows of a reference [rows, len, width] against a tensor [mine len, width]; padding is not compared. */
static void differences(const struct golden *g, const float *ref, const float *mine, int64_t width, int64_t stride,
                        double *diff, double *size)
{
    for (int64_t t = 0; t < g->mine * g->len; t++) {
        int64_t at = g->first * g->len + t;
        if (g->segment && !g->segment[at])
            continue;
        for (int64_t i = 0; i < width; i++) {
            double b = ref[at * width + i], d = (double)mine[t * stride + i] - b;
            *diff += d * d;
            *size += b * b;
        }
    }
}

/* Device rows, fp32 or bf16, as fp32 on the host. */
static nf_status fetch(struct golden *g, const nf_tensor *x, float **host)
{
    const size_t size = nf_dtype_size(x->dtype), n = (size_t)x->dim[0] * (size_t)x->dim[1];
    const uint16_t *half;

    *host = malloc(n * sizeof **host + 1);
    if (!*host)
        return nf_fail(NF_ENOMEM, "no memory to compare a tensor");
    NF_TRY(nf_copy_2d(g->e->q, *host, (size_t)x->dim[1] * size, x->data, (size_t)x->stride[0] * size, (size_t)x->dim[1] * size,
                      (size_t)x->dim[0]));
    NF_TRY(nf_queue_drain(g->e->q));
    half = (const uint16_t *)*host;
    for (size_t i = n; i-- > 0 && x->dtype == NF_BF16;) /* from the end, where the halves are not yet overwritten */
        (*host)[i] = nf_bf16_to_f32(half[i]);
    return NF_OK;
}

static nf_status compare_rows(struct golden *g, const char *name, const nf_tensor *x, float **kept, double *diff, double *size)
{
    float *ref = NULL, *mine = NULL;
    int64_t n = 0;
    nf_status s = nf_st_load_f32(g->values, name, &ref, &n);

    if (!s && n != g->rows * g->len * x->dim[1])
        s = nf_fail(NF_EDATA, "%s/golden.safetensors: '%s' has %lld values, %lld were expected", g->dir, name, (long long)n,
                    (long long)(g->rows * g->len * x->dim[1]));
    if (!s)
        s = fetch(g, x, &mine);
    if (!s)
        s = nf_half_keep(g, kept, ref + g->first * g->len * x->dim[1], mine, g->mine * g->len * x->dim[1]);
    if (!s)
        differences(g, ref, mine, x->dim[1], x->dim[1], diff, size);
    free(ref);
    free(mine);
    return s;
}

/* In fp32, of what bf16 is to be held to */
static nf_status sizes(struct golden *g, int index, const nf_tensor *hidden)
{
    float *mine = NULL;
    nf_status s = index < GOLDEN_HIDDEN_MAX
                      ? fetch(g, hidden, &mine)
                      : nf_fail(NF_EUSAGE, "more than %d blocks: no comparison in bf16", GOLDEN_HIDDEN_MAX);
    if (!s)
        s = nf_half_observe(g, index, mine, nf_tensor_count(hidden));
    free(mine);
    return s;
}

nf_status nf_golden_hidden(void *golden, int index, const nf_tensor *hidden)
{
    struct golden *g = golden;
    char name[32];

    snprintf(name, sizeof name, "hidden.%d", index);
    if (index == 0) { /* of a forward that is repeated, the last counts */
        memset(g->hidden_diff, 0, sizeof g->hidden_diff);
        memset(g->hidden_ref, 0, sizeof g->hidden_ref);
    }
    if (g->pass == GOLDEN_FIRST)
        NF_TRY(sizes(g, index, hidden));
    if (index >= g->hidden)
        return NF_OK;
    return compare_rows(g, name, hidden, &g->expected.rows[index], &g->hidden_diff[index], &g->hidden_ref[index]);
}

nf_status nf_golden_logits(struct golden *g, const nf_tensor *hidden)
{
    struct engine *e = g->e;
    nf_model *m = e->arg.model;
    size_t bytes = (size_t)hidden->dim[0] * (size_t)m->vocab * sizeof(float) + NF_ALIGN;
    nf_tensor logits;
    void *block;
    nf_status s;

    NF_TRY(nf_device_alloc(e->device, bytes, "logits", &block));
    logits = nf_matrix(block, NF_F32, hidden->dim[0], m->vocab, m->vocab);
    s = nf_head_logits(e->q, &logits, hidden, &m->head.w);
    if (!s)
        s = compare_rows(g, "logits", &logits, &g->expected.rows[GOLDEN_HIDDEN_MAX], &g->logits_diff, &g->logits_ref);
    nf_device_release(e->device, block, bytes);
    return s;
}

struct worst {
    double error, bound;
    char name[240];
};

struct kind {
    enum nf_kind kind;
    double all, bound; /* all: 2-norm of all reference tensors; bound: in fp32 */
};

/* Of row `row` of the map; also keeps its error in the pass with rounded weights. */
static double bound_of(struct golden *g, const struct kind *k, int64_t row, int unit, int64_t count, double error)
{
    if (g->pass == GOLDEN_ROUNDED)
        g->expected.row[k->kind != NF_GRADIENTS][row] = error;
    return g->pass == GOLDEN_HALF ? nf_half_row(g, k->kind, row, unit, count) : k->bound;
}

/* Range of a disk tensor within this rank's piece of its parameter; false: it lies elsewhere. */
static bool local_range(const nf_named *n, const nf_map_row *row, int64_t count, int64_t *at)
{
    int64_t first = row->kind == NF_MAP_ROW ? row->index * count : 0;

    *at = first - n->piece.first;
    return *at >= 0 && *at + count <= n->piece.count;
}

static nf_status compare_one(struct golden *g, const nf_st *reference, const nf_map_row *row, const nf_named *n, nf_dtype type,
                             const struct kind *k, struct worst *worst)
{
    float *ref = NULL, *mine = NULL;
    const int64_t at_row = row - g->e->arg.model->map.row;
    double diff = 0, size = 0, error, bound;
    int64_t count = 0, at;
    nf_status s = nf_st_load_f32(reference, row->name, &ref, &count);

    if (!s && local_range(n, row, count, &at)) {
        nf_tensor x = nf_matrix((char *)n->data + (size_t)at * nf_dtype_size(type), type, 1, count, count);
        s = fetch(g, &x, &mine);
        if (!s && g->pass != GOLDEN_ALONE)
            s = nf_half_keep(g, &g->expected.tensor[k->kind != NF_GRADIENTS][at_row], ref, mine, count);
        for (int64_t i = 0; i < count && !s; i++) {
            double d = (double)mine[i] - (double)ref[i];
            diff += d * d;
            size += (double)ref[i] * (double)ref[i];
        }
        error = sqrt(diff) / fmax(sqrt(size), 1e-4 * k->all);
        bound = bound_of(g, k, at_row, n->desc->unit, count, error);
        if (size == 0) /* exact zeros want exact zeros; 1e-7 of everything where a sum cancels (bf16: its errors) */
            error = sqrt(diff) <= (g->pass == GOLDEN_HALF ? 1e-4 * bound : 1e-7) * k->all ? 0 : fmax(error, 2 * bound);
        if (!s && !(error * worst->bound <= worst->error * bound)) {
            worst->error = error;
            worst->bound = bound;
            snprintf(worst->name, sizeof worst->name, "%s", row->name);
        }
    }
    free(ref);
    free(mine);
    return s;
}

struct coverage {
    double norm;         /* of all reference tensors: what a single one is held against when it is small */
    int64_t found;       /* tensors of ours that the reference has */
    const char *missing; /* the first that it should have and lacks; NULL: none */
};

static nf_status cover(const struct golden *g, const nf_st *reference, enum nf_kind kind, struct coverage *c)
{
    const nf_model *m = g->e->arg.model;
    double sum = 0;

    *c = (struct coverage){0};
    for (int64_t i = 0; i < m->map.rows; i++) {
        const nf_map_row *row = &m->map.row[i];
        float *ref = NULL;
        int64_t count = 0;
        if (!nf_st_find(reference, row->name)) {
            if (!c->missing && !(kind == NF_GRADIENTS && m->desc[row->param].buffer))
                c->missing = row->name;
            continue;
        }
        NF_TRY(nf_st_load_f32(reference, row->name, &ref, &count));
        for (int64_t j = 0; j < count; j++)
            sum += (double)ref[j] * (double)ref[j];
        free(ref);
        c->found++;
    }
    c->norm = sqrt(sum);
    return NF_OK;
}

nf_status nf_golden_tensors(struct golden *g, const nf_st *reference, enum nf_kind kind, double bound, const char *what)
{
    const nf_weight_map *map = &g->e->arg.model->map;
    const nf_group *world = nf_mesh_group(g->e->mesh, NF_WORLD);
    struct worst mine = {.error = -1, .bound = 1}, *all = calloc((size_t)nf_group_size(world), sizeof *all);
    const nf_dtype *type = nf_residency_types(g->e->res, kind);
    const nf_named *named;
    struct coverage c = {0};
    char name[64], lacks[280];
    nf_status s = all ? cover(g, reference, kind, &c) : nf_fail(NF_ENOMEM, "no memory for a comparison");

    const struct kind k = {kind, c.norm, bound};
    nf_residency_named(g->e->res, kind, &named);
    for (int64_t i = 0; i < map->rows && !s; i++)
        if (named[map->row[i].param].data && nf_st_find(reference, map->row[i].name))
            s = compare_one(g, reference, &map->row[i], &named[map->row[i].param], type[map->row[i].param], &k, &mine);
    s = nf_agree(g->e->mesh, s);
    if (!s)
        s = nf_gather_bytes(world, &mine, sizeof mine, all);
    for (int r = 0; r < nf_group_size(world) && !s; r++)
        if (!(all[r].error * mine.bound <= mine.error * all[r].bound))
            mine = all[r];
    if (!s) {
        snprintf(name, sizeof name, "%s (%lld)", what, (long long)c.found);
        if (c.missing)
            snprintf(lacks, sizeof lacks, "the reference lacks %s", c.missing);
        nf_golden_figure(g, name, c.missing ? INFINITY : mine.error, mine.bound, c.missing ? lacks : mine.name);
    }
    free(all);
    return s;
}
