/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading and writing that must fail: on all ranks with the same status, in time, and with the old checkpoint untouched.
 */
#define _GNU_SOURCE
#include "rig.h"
#include "tap.h"

#include "nemafit/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every rank has this status, and the words. */
static void failed(struct rig *r, nf_status got, nf_status wanted, const char *text, const char *what)
{
    tap_ok(make_diagnosed(got, wanted, text), "ep %d: %s", r->ep, what);
    rig_barrier(r);
}

static bool prepare(struct rig *r, const struct toy_how *how, nf_st **st)
{
    *st = NULL;
    if (r->rank == 0)
        make_remove(r->target);
    const bool ready = toy_make(&r->toy, 77, NF_F32, NF_F32, NF_F32, 5000) && rig_take_memory(r, true) &&
                       rig_write_source(r, how) && rig_load(r, st) == NF_OK;
    return tap_ok(ready, "ep %d: ready for a failure", r->ep);
}

static void finish(struct rig *r, nf_st *st)
{
    nf_st_free(st);
    rig_give_memory(r);
    toy_free(&r->toy);
    nf_diagnosis_clear();
    rig_barrier(r);
}

static nf_status read_again(struct rig *r, nf_st *st)
{
    return nf_st_read(st, r->mesh, &r->toy.map, r->toy.desc, r->named, r->n, r->queue);
}

static void bad_reads(struct rig *r)
{
    const struct toy_how how = {.sharded = true};
    char path[400];
    nf_st *st;
    if (prepare(r, &how, &st)) {
        snprintf(path, sizeof path, "%s/%s", r->source, rig_file_name[2]);
        if (r->rank == 0 && truncate(path, 300) != 0)
            tap_note("cannot truncate");
        rig_barrier(r);
        failed(r, read_again(r, st), NF_EDATA, "IX-18: is not the file that was checked at the start",
               "a shard changes between check and read");
    }
    finish(r, st);
    if (prepare(r, &how, &st)) { /* the last rank has no file descriptors left */
        struct rlimit old, none = {0};
        getrlimit(RLIMIT_NOFILE, &old);
        none.rlim_max = old.rlim_max;
        if (r->rank == r->ranks - 1)
            setrlimit(RLIMIT_NOFILE, &none);
        const nf_status status = read_again(r, st);
        setrlimit(RLIMIT_NOFILE, &old);
        failed(r, status, NF_ENOMEM, "cannot open", "the last rank cannot open a shard");
    }
    finish(r, st);
    if (prepare(r, &how, &st)) { /* the pieces of a rank have a hole */
        if (r->rank == r->ranks - 1)
            r->named[TOY_ONE].piece.count += 1000;
        const nf_status status = read_again(r, st);
        if (r->rank == r->ranks - 1)
            r->named[TOY_ONE].piece.count -= 1000;
        failed(r, status, NF_EBUG, "condition failed", "a piece that is not of its parameter");
    }
    finish(r, st);
}

static void odd_values(struct rig *r)
{
    const struct toy_how how = {0};
    nf_st *st;
    if (prepare(r, &how, &st)) {
        for (int i = 0; i < r->n; i++)
            if (r->named[i].piece.param == TOY_DOWN && r->named[i].piece.first == 0 && r->named[i].piece.count > 1)
                ((float *)r->named[i].data)[1] = -1.0f / 0.0f;
        failed(r, rig_export(r, st, NF_AUTO, 0), NF_ENONFINITE,
               "ST-027: tensor 'backbone.layers.1.experts.0.down_proj.weight': index 1 is not finite as F32",
               "an infinite weight is not written");
        tap_ok(r->rank != 0 || (make_count(r->base, "target*") == 0), "ep %d: and nothing is left of it", r->ep);
    }
    finish(r, st);
    nf_st_free(NULL);
    st = NULL;
    bool ready = toy_make(&r->toy, 78, NF_F32, NF_BF16, NF_F32, 30) && rig_take_memory(r, false);
    if (ready) {
        ((uint16_t *)r->toy.bytes[TOY_EMBED])[1007] = 0x7f80;
        ((uint16_t *)r->toy.bytes[TOY_EMBED])[2999] = 0xffc1;
    }
    ready = ready && rig_write_source(r, &how);
    failed(r, ready ? rig_load(r, &st) : NF_EBUG, NF_ENONFINITE,
           "ST-027: tensor 'backbone.embeddings.weight': 2 values are not finite as fp32, first at index 1007",
           "infinite and NaN on disk are refused");
    finish(r, st);
    st = NULL;
    ready = toy_make(&r->toy, 79, NF_BF16, NF_F32, NF_F32, 30) && rig_take_memory(r, false);
    if (ready)
        ((uint32_t *)r->toy.bytes[TOY_NORM])[3] = 0x7f7fffff; /* finite, but not in bf16 */
    ready = ready && rig_write_source(r, &how);
    failed(r, ready ? rig_load(r, &st) : NF_EBUG, NF_ENONFINITE,
           "ST-027: tensor 'backbone.layers.0.norm.weight': 1 value is not finite as bf16, first at index 3",
           "what narrowing makes infinite is refused");
    finish(r, st);
}

static void bad_targets(struct rig *r)
{
    const struct toy_how how = {.sharded = true};
    char path[400], kept[310];
    nf_st *st;
    const bool first = r->rank == 0;
    snprintf(kept, sizeof kept, "%s", r->target);
    if (prepare(r, &how, &st)) {
        snprintf(path, sizeof path, "%s/thesis.txt", r->target);
        if (first && (mkdir(r->target, 0755) != 0 || !make_text(path, "my only copy")))
            tap_note("cannot make a foreign directory");
        failed(r, rig_export(r, st, NF_AUTO, 0), NF_EEXISTS, "exists and is not a checkpoint",
               "a foreign directory is not replaced");
        tap_ok(!first || (make_count(r->target, "*") == 1 && make_count(r->base, "*.tmp-*") == 0), "ep %d: and it is untouched",
               r->ep);
        if (first) {
            make_remove(r->target);
            make_text(r->target, "a file");
        }
        failed(r, rig_export(r, st, NF_AUTO, 0), NF_EEXISTS, "exists and is not a directory", "a file is not replaced");
        if (first && (unlink(r->target) != 0 || symlink("source", r->target) != 0))
            tap_note("cannot make a link");
        failed(r, rig_export(r, st, NF_AUTO, 0), NF_EEXISTS, "exists and is a link", "a link is not replaced");
        if (first)
            unlink(r->target);
        snprintf(r->target, sizeof r->target, "%s/", r->source);
        failed(r, rig_export(r, st, NF_AUTO, 0), NF_EEXISTS, "is the checkpoint that this run reads",
               "the source is not replaced");
        snprintf(r->target, sizeof r->target, "%s", kept);
        tap_ok(rig_export(r, st, NF_AUTO, 0) == NF_OK, "ep %d: a checkpoint is written", r->ep);
        snprintf(path, sizeof path, "%s/folder", r->target);
        if (first)
            mkdir(path, 0755);
        failed(r, rig_export(r, st, NF_AUTO, 0), NF_EEXISTS, "has a folder 'folder' in it",
               "a checkpoint with a folder in it is not replaced");
        if (first)
            rmdir(path);
        snprintf(path, sizeof path, "%s/stale.txt", r->target);
        if (first)
            make_text(path, "of the old one");
        rig_barrier(r);
        const bool replaced = rig_export(r, st, NF_AUTO, 0) == NF_OK;
        tap_ok(replaced && (!first || (make_count(r->target, "stale.txt") == 0 && rig_right_rest(r))),
               "ep %d: a checkpoint is replaced as a whole", r->ep);
    }
    finish(r, st);
}

/* The last rank cannot write beyond a few KiB: all ranks fail, the old checkpoint stays, nothing else does. */
static void failing_writer(struct rig *r)
{
    const struct toy_how how = {.sharded = true, .spare = true};
    nf_st *st;
    if (prepare(r, &how, &st)) {
        tap_ok(rig_export(r, st, NF_AUTO, 0) == NF_OK, "ep %d: a checkpoint to be replaced", r->ep);
        struct rlimit old, little;
        getrlimit(RLIMIT_FSIZE, &old);
        little = (struct rlimit){.rlim_cur = 2000, .rlim_max = old.rlim_max};
        signal(SIGXFSZ, SIG_IGN);
        for (int i = 0; i < r->n; i++)
            if (r->named[i].desc->dtype == NF_F32 && r->named[i].piece.count)
                ((float *)r->named[i].data)[0] = 1;
        if (r->rank == r->ranks - 1)
            setrlimit(RLIMIT_FSIZE, &little);
        const nf_status status = rig_export(r, st, NF_AUTO, 0);
        setrlimit(RLIMIT_FSIZE, &old);
        failed(r, status, NF_EIO, "File too large", "the last rank cannot write");
        bool kept = true;
        if (r->rank == 0) {
            kept = rig_same_files(r, &how) && make_count(r->base, "*.tmp-*") == 0;
        }
        tap_ok(kept, "ep %d: and the old one is as it was", r->ep);
    }
    finish(r, st);
}

/* A model that comes from no checkpoint. */
static void from_nothing(struct rig *r)
{
    char path[400];
    const struct toy_how how = {.spare = true};
    nf_st *st;
    if (prepare(r, &how, &st)) {
        snprintf(path, sizeof path, "%s/model.safetensors", r->source);
        if (r->rank == 0)
            unlink(path);
        rig_barrier(r);
        bool right = rig_export(r, NULL, NF_AUTO, 0) == NF_OK;
        if (r->rank == 0) {
            struct rig_file o = {0};
            snprintf(path, sizeof path, "%s/model.safetensors", r->target);
            right = right && rig_open_file(&o, path) && o.count == r->toy.map.rows && rig_right_rest(r);
            rig_close_file(&o);
        }
        tap_ok(right, "ep %d: without a source: all tensors of the model", r->ep);
        if (!right)
            tap_note("%s", nf_diagnosis());
    }
    finish(r, st);
}

int main(void)
{
    struct rig r;
    tap_open_mpi();
    bool ready = rig_open(&r, "t_refusals");
    nf_log_open(r.rank, r.ranks, NF_LOG_QUIET, stderr);
    for (r.ep = 1; r.ep <= r.ranks && ready; r.ep += r.ranks > 1 ? r.ranks - 1 : 1) {
        ready = tap_ok(rig_mesh(&r), "ep %d: a mesh", r.ep);
        if (ready) {
            bad_reads(&r);
            odd_values(&r);
            bad_targets(&r);
            failing_writer(&r);
            from_nothing(&r);
        }
        rig_mesh_free(&r);
    }
    rig_close(&r);
    return tap_done();
}
