/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out anywhere: one allocation of a call fails, each in turn. The call must answer NF_ENOMEM, or have done
 * without, and lose nothing: no memory, no file descriptor, no temporary directory. The allocator is replaced by the program's
 * own.
 */
#include "tap.h"
#include "toy.h"

#include "nemafit/io/dataset.h"
#include "nemafit/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static volatile long countdown = -1; /* the allocation that fails, counted down; negative: none */
static volatile long held;

static bool refuse(void)
{
    if (countdown < 0 || countdown-- > 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    void *p = refuse() ? NULL : __libc_malloc(n);
    held += p != NULL;
    return p;
}

void *calloc(size_t n, size_t each)
{
    void *p = refuse() ? NULL : __libc_calloc(n, each);
    held += p != NULL;
    return p;
}

void *realloc(void *old, size_t n)
{
    void *p = refuse() ? NULL : __libc_realloc(old, n);
    held += p && !old;
    return p;
}

void free(void *p)
{
    held -= p != NULL;
    __libc_free(p);
}

static struct toy toy;
static nf_mesh *mesh;
static nf_queue *queue;
static char base[256], source[300], target[300], text[300];
static float *memory[TOY_PARAMS];
static nf_named named[TOY_PARAMS];

static nf_status parse(void)
{
    static const char json[] = "{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                               "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}";
    struct nf_st_entry *entries = NULL;
    int64_t count = 0;
    NF_TRY(nf_st_header_parse("x", json, sizeof json - 1, 8 + sizeof json - 1 + 8, &entries, &count));
    nf_st_entries_free(entries, count);
    return NF_OK;
}

static nf_status load_with(nf_st *st)
{
    NF_TRY(nf_st_check(st, &toy.map, toy.desc, TOY_PARAMS, true));
    return nf_st_read(st, mesh, &toy.map, toy.desc, named, TOY_PARAMS, queue);
}

static nf_status load(void)
{
    nf_st *st = NULL;
    NF_TRY(nf_st_open(mesh, source, &st));
    const nf_status status = load_with(st);
    nf_st_free(st);
    return status;
}

static nf_status export(void)
{
    nf_st *st = NULL;
    const struct nf_st_write_arg arg = {.dir = target, .source_dir = source, .dtype = NF_AUTO};
    NF_TRY(nf_st_open(mesh, source, &st));
    const nf_status status = nf_st_write(st, mesh, &toy.map, toy.desc, TOY_PARAMS, named, TOY_PARAMS, queue, &arg);
    nf_st_free(st);
    return status;
}

static nf_status rows(void)
{
    char *names[] = {text};
    const nf_strings files = {names, 1};
    const struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_TEXT, .seq_len = 4, .vocab = 257};
    int32_t ids[4], target_ids[4], segment[4];
    const struct nf_rows_out out = {.ids = ids, .target = target_ids, .segment = segment};
    nf_dataset *data = NULL;
    int64_t scored;
    NF_TRY(nf_dataset_open(mesh, &arg, &data));
    const nf_status status = nf_dataset_fetch(data, &(int64_t){0}, 1, &out, &scored);
    nf_dataset_free(data);
    return status;
}

static int open_files(void)
{
    return make_count("/proc/self/fd", "*");
}

static void each_in_turn(const char *name, nf_status (*call)(void))
{
    int turns = 0, bad = 0, refused = 0;
    const int files = open_files();
    for (bool ended = false; !ended && turns < 5000; turns++) {
        const long before = held;
        countdown = turns;
        const nf_status status = call();
        ended = countdown >= 0; /* it needed fewer allocations than that */
        countdown = -1;
        const long lost = held - before;
        refused += status == NF_ENOMEM;
        if ((status != NF_OK && status != NF_ENOMEM) || lost || (ended && status != NF_OK) || make_count(base, "*.tmp-*")) {
            if (bad++ < 5)
                tap_note("%s: allocation %d: %s, %ld blocks lost: %.300s", name, turns, nf_status_name(status), lost,
                         nf_diagnosis());
        }
        nf_diagnosis_clear();
    }
    tap_ok(bad == 0 && refused > 0 && turns < 5000 && open_files() == files, "%s: %d allocations, each fails once", name,
           turns - 1);
}

int main(void)
{
    nf_device *device = NULL;
    tap_open();
    bool ready = make_folder(base, "t_nomem") && toy_make(&toy, 5, NF_F32, NF_BF16, NF_F32, 10);
    ready = ready && nf_device_host(1, &device) == NF_OK && nf_mesh_new(NULL, 1, device, &mesh) == NF_OK;
    ready = ready && nf_queue_new(device, "io", 0, NULL, &queue) == NF_OK;
    snprintf(source, sizeof source, "%s/source", base);
    snprintf(target, sizeof target, "%s/target", base);
    snprintf(text, sizeof text, "%s/text", base);
    const struct toy_how how = {.sharded = true, .alias = true, .fused = true};
    ready = ready && mkdir(source, 0755) == 0 && toy_write(&toy, source, &how) && make_text(text, "some text");
    for (int p = 0; p < TOY_PARAMS && ready; p++) {
        const int64_t n = toy_count(&toy, p);
        memory[p] = calloc((size_t)n, sizeof *memory[p]);
        named[p] = (nf_named){.desc = &toy.desc[p], .piece = {.param = p, .count = n}, .data = memory[p]};
        ready = memory[p] != NULL;
    }
    nf_log_open(0, 1, NF_LOG_QUIET, stderr);
    if (tap_ok(ready, "a mesh, a checkpoint and a text")) {
        each_in_turn("header", parse);
        each_in_turn("load", load);
        each_in_turn("export", export);
        each_in_turn("rows of text", rows);
    }
    for (int p = 0; p < TOY_PARAMS; p++)
        free(memory[p]);
    toy_free(&toy);
    nf_queue_free(queue);
    nf_mesh_free(mesh);
    nf_device_free(device);
    make_remove(base);
    return tap_done();
}

#else

int main(void)
{
    tap_open();
    tap_skip("the allocator cannot be replaced here");
    return tap_done();
}

#endif
