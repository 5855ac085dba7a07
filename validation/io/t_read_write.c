/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on many ranks and write again: every element where it belongs, and the same tensors byte for byte, for every way the
 * bytes can lie on disk and be split in memory.
 */
#include "rig.h"
#include "tap.h"

#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    const char *what;
    nf_dtype memory, disk, bias;
    struct toy_how how;
    int64_t embed;
    bool split; /* every parameter in uneven 1-D parts over its group, as under full sharding */
    double shard_gb;
    int write; /* nf_dtype or NF_AUTO */
};

static const struct setting settings[] = {
    {"fp32, one file", NF_F32, NF_F32, NF_F32, {.spare = true}, 30, false, 0, NF_AUTO},
    {"fp32 in bf16 memory's type", NF_BF16, NF_BF16, NF_F32, {.spare = true}, 30, false, 0, NF_AUTO},
    {"bf16, sharded", NF_F32, NF_BF16, NF_F32, {.sharded = true}, 30, false, 0, NF_AUTO},
    {"fp16, sharded, shuffled", NF_F32, NF_F16, NF_F16, {.sharded = true, .shuffled = true}, 30, false, 0, NF_AUTO},
    {"bf16 with a bf16 bias", NF_F32, NF_BF16, NF_BF16, {.spare = true, .shuffled = true}, 30, false, 0, NF_AUTO},
    {"other names", NF_F32, NF_F32, NF_F32, {.alias = true, .shuffled = true}, 30, false, 0, NF_AUTO},
    {"fused experts", NF_F32, NF_BF16, NF_F32, {.fused = true, .shuffled = true, .sharded = true}, 30, false, 0, NF_AUTO},
    {"fused experts, other names", NF_BF16, NF_BF16, NF_F32, {.fused = true, .alias = true}, 30, true, 0, NF_AUTO},
    {"split over ranks", NF_F32, NF_F16, NF_F32, {.sharded = true}, 30, true, 0, NF_AUTO},
    {"larger than the staging", NF_F32, NF_BF16, NF_F32, {.spare = true}, 43000, false, 0, NF_AUTO},
    {"larger than the staging, split", NF_F32, NF_F32, NF_F32, {.sharded = true}, 43000, true, 0, NF_AUTO},
    {"small shards", NF_F32, NF_BF16, NF_F32, {.spare = true}, 30, false, 5e-7, NF_AUTO},
    {"one large shard from many", NF_F32, NF_BF16, NF_F32, {.sharded = true}, 30, false, 1, NF_AUTO},
    {"written as bf16", NF_BF16, NF_F32, NF_F32, {.spare = true}, 30, false, 0, NF_BF16},
    {"written as fp32", NF_F32, NF_BF16, NF_BF16, {.shuffled = true}, 30, true, 0, NF_F32},
};

/* Every tensor of the map is there under its published name with the right bytes, and the tensors passed through; nothing else.
 */
static bool right_tensors(const struct rig *r, const struct setting *s)
{
    nf_st *st = NULL;
    nf_device *device = NULL;
    nf_mesh *one = NULL;
    int64_t wanted = 2;
    bool right = nf_device_host(1, &device) == NF_OK && nf_mesh_new(NULL, 1, device, &one) == NF_OK &&
                 nf_st_open(one, r->target, &st) == NF_OK;
    for (int row = 0; right && row < (int)r->toy.map.rows; row++) {
        const nf_map_row *m = &r->toy.row[row];
        if (m->param == TOY_SPARE && !s->how.spare)
            continue;
        wanted++;
        int64_t first, count, n = 0;
        float *data = NULL;
        toy_span(&r->toy, row, &first, &count);
        const struct nf_st_entry *e = nf_st_find(st, m->name);
        const nf_dtype t =
            s->write != NF_AUTO && (m->param != TOY_BIAS || s->write == NF_F32) ? (nf_dtype)s->write : r->toy.disk[m->param];
        right = e &&
                strcmp(e->dtype, t == NF_F32    ? "F32"
                                 : t == NF_BF16 ? "BF16"
                                                : "F16") == 0 &&
                e->nd == m->nd && nf_st_load_f32(st, m->name, &data, &n) == NF_OK && n == count;
        for (int64_t k = 0; right && k < n; k++) {
            const uint32_t bits = toy_bits(&r->toy, m->param, first + k); /* in memory */
            const float value = r->toy.desc[m->param].dtype == NF_BF16 ? nf_bf16_to_f32((uint16_t)bits)
                                                                       : ((union {
                                                                             uint32_t u;
                                                                             float f;
                                                                         }){bits})
                                                                             .f;
            right = memcmp(&value, &data[k], 4) == 0;
        }
        if (!right)
            tap_note("tensor %s", m->name);
        free(data);
    }
    const struct nf_st_entry *extra = right ? nf_st_find(st, "extra.x") : NULL,
                             *none = right ? nf_st_find(st, "extra.none") : NULL;
    right = right && extra && strcmp(extra->dtype, "I32") == 0 && extra->dim[0] == 4 && none &&
            strcmp(none->dtype, "F8_E4M3") == 0 && none->nd == 2 && nf_st_count(st) == wanted;
    int64_t *ints = NULL, n = 0;
    right = right && nf_st_load_i64(st, "extra.x", &ints, &n) == NF_OK && n == 4 && ints[0] == 0x33323130;
    free(ints);
    if (!right)
        tap_note("%s", nf_diagnosis());
    nf_st_free(st);
    nf_mesh_free(one);
    nf_device_free(device);
    return right;
}

static void round_trip(struct rig *r, const struct setting *s, int number)
{
    nf_st *st = NULL;
    bool right = toy_make(&r->toy, (uint64_t)number, s->memory, s->disk, s->bias, s->embed) && rig_take_memory(r, s->split) &&
                 rig_write_source(r, &s->how);
    nf_status status = right ? rig_load(r, &st) : NF_EBUG;
    tap_ok(status == NF_OK && rig_memory_right(r, s->how.spare), "ep %d: %s: loaded", r->ep, s->what);
    if (status != NF_OK)
        tap_note("%s", nf_diagnosis());
    status = status == NF_OK ? rig_export(r, st, s->write, s->shard_gb) : status;
    right = status == NF_OK;
    if (r->rank == 0 && right) {
        right = rig_right_rest(r) && right_tensors(r, s);
        if (s->shard_gb == 0 && s->write == NF_AUTO && !s->how.fused)
            right = right && rig_same_files(r, &s->how);
        if (s->shard_gb > 0 && s->shard_gb < 1)
            right = right && make_count(r->target, "model-*-of-*.safetensors") > 3 &&
                    make_count(r->target, "model.safetensors") == 0;
        if (s->shard_gb == 1)
            right = right && make_count(r->target, "*.safetensors*") == 1;
        if (s->shard_gb == 0)
            right = right && make_count(r->target, "*.safetensors") == (s->how.sharded ? 3 : 1);
    }
    tap_ok(right, "ep %d: %s: written", r->ep, s->what);
    if (status != NF_OK)
        tap_note("%s", nf_diagnosis());
    nf_diagnosis_clear();
    nf_st_free(st);
    rig_give_memory(r);
    toy_free(&r->toy);
    rig_barrier(r);
    if (r->rank == 0 && number % 2) /* every other target is there already when the next is written */
        make_remove(r->target);
    rig_barrier(r);
}

int main(void)
{
    struct rig r;
    tap_open_mpi();
    bool ready = rig_open(&r, "t_read_write");
    nf_log_open(r.rank, r.ranks, NF_LOG_QUIET, stderr);
    for (r.ep = 1; r.ep <= r.ranks && ready; r.ep++) {
        if (r.ranks % r.ep)
            continue;
        ready = tap_ok(rig_mesh(&r), "ep %d: a mesh", r.ep);
        for (size_t i = 0; ready && i < sizeof settings / sizeof *settings; i++)
            round_trip(&r, &settings[i], (int)i);
        rig_mesh_free(&r);
    }
    rig_close(&r);
    return tap_done();
}
