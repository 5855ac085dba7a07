/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out anywhere: each allocation of a call fails in turn. Every time the call must answer NF_ENOMEM, leave its
 * outputs alone and lose nothing. The allocator is replaced by the program's own, which counts what is not given back.
 */
#include "nemafit/arena.h"
#include "nemafit/device.h"
#include "nemafit/json.h"
#include "nemafit/model.h"
#include "nemafit/str.h"
#include "validation/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static volatile long countdown = -1; /* allocations that still succeed; -1: all */
static volatile long held, failures;

static bool refuse(void)
{
    if (countdown < 0)
        return false;
    if (countdown > 0) {
        countdown--;
        return false;
    }
    failures++;
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
    void *p = refuse() ? NULL : __libc_calloc(n, each); /* not malloc and memset: a compiler makes that a call of calloc */
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

/* From the one that fails on, all fail. */
static void each_in_turn(const char *name, nf_status (*call)(void))
{
    bool good = true, ended = false;
    int turns = 0;
    long lost = 0;
    char said[256] = "";
    nf_status status = NF_OK;
    nf_diagnosis_clear();
    for (; good && !ended && turns < 10000; turns++) {
        long before = held;
        failures = 0;
        countdown = turns;
        status = call();
        ended = failures == 0;
        countdown = -1;
        lost = held - before;
        snprintf(said, sizeof said, "%s", nf_diagnosis());
        good = lost == 0 && (ended ? status == NF_OK && !nf_diagnosis()[0] : status == NF_ENOMEM && nf_diagnosis()[0]);
        nf_diagnosis_clear();
    }
    tap_ok(good && ended && turns > 1, "%s: %d allocations, each failing in turn", name, turns - 1);
    if (!good)
        tap_note("turn %d: %s, %ld more blocks held: %s", turns - 1, nf_status_name(status), lost, said);
}

static nf_status json(enum nf_json_flags flags, const char *text)
{
    nf_json *untouched = (nf_json *)(uintptr_t)&held, *d = untouched;
    nf_status s = nf_json_parse("f", text, strlen(text), flags, NF_EDATA, &d);
    if (s == NF_OK)
        nf_json_free(d);
    return s == NF_OK || d == untouched ? s : NF_EBUG;
}

static nf_status json_strict(void)
{
    return json(NF_JSON_STRICT,
                "{\"a\": [1, 2.5, \"\\u00e9\", null, true], \"b\": {\"c\": {}}, \"a long key, longer than most\": 0}");
}

static nf_status json_python(void)
{
    return json(NF_JSON_PYTHON,
                "[NaN, Infinity, {\"a\": -Infinity, \"b\": 99999999999999999999999}, 1, 2, 3, 4, 5, 6, 7, 8, 9]");
}

/* From the text of a config.json to a model with every kind of block. */
static nf_status config(void)
{
    static const char text[] =
        "{\"model_type\": \"nemotron_h\", \"architectures\": [\"NemotronHForCausalLM\"], \"hidden_size\": 8, \"vocab_size\": "
        "16, "
        "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 4, \"intermediate_size\": 6, "
        "\"mamba_num_heads\": 2, \"mamba_head_dim\": 4, \"ssm_state_size\": 4, \"n_groups\": 1, \"n_routed_experts\": 4, "
        "\"moe_intermediate_size\": 6, \"hybrid_override_pattern\": \"M*E-\", \"time_step_limit\": [0.0, Infinity]}";
    const struct nf_model_choice choice = {.dtype = NF_F32, .chunks = 1, .recv_factor = 2};
    nf_json *doc = NULL;
    nf_model *untouched = (nf_model *)(uintptr_t)&held, *m = untouched;
    nf_status s = nf_json_parse("config.json", text, strlen(text), NF_JSON_PYTHON, NF_EMODEL, &doc);
    if (s == NF_OK)
        s = nf_model_new(doc, &choice, &m);
    nf_json_free(doc);
    if (s == NF_OK)
        nf_model_free(m);
    return s == NF_OK || m == untouched ? s : NF_EBUG;
}

static nf_status file(void)
{
    char *untouched = (char *)(uintptr_t)&held, *bytes = untouched;
    size_t n;
    nf_status s = nf_file_read("t_nomem.file", 100000, &bytes, &n);
    if (s == NF_OK)
        free(bytes);
    return s == NF_OK || bytes == untouched ? s : NF_EBUG;
}

static nf_status proc_file(void)
{
    char *bytes = NULL;
    size_t n;
    nf_status s = nf_file_read("/proc/self/status", 100000, &bytes, &n);
    free(bytes);
    return s;
}

static nf_status file_write(void)
{
    return nf_file_write("t_nomem.file", "text", 4);
}

static nf_status dir(void)
{
    return nf_dir_make("t_nomem.dir/a/b");
}

static nf_status arena(void)
{
    nf_arena *a = NULL;
    nf_status s = nf_arena_new("a", NULL, 0, &a);
    for (int i = 0; s == NF_OK && i < 1000; i++) {
        void *p;
        s = nf_arena_get(a, i % 2 ? NF_LOW : NF_HIGH, 100, i % 3 ? "x" : "y", &p);
    }
    nf_arena_free(a);
    return s;
}

static nf_status device(void)
{
    nf_device *d = NULL;
    nf_queue *q = NULL;
    nf_status s = nf_device_dry(NF_HOST, &d);
    if (s == NF_OK)
        s = nf_queue_new(d, "q", 0, NULL, &q);
    nf_queue_free(q);
    nf_device_free(d);
    return s;
}

static nf_status strings(void)
{
    nf_str s = {0};
    for (int i = 0; i < 100; i++)
        nf_str_addf(&s, "%d and ", i);
    bool failed = s.failed, whole = s.text && s.text[s.len] == '\0';
    nf_str_free(&s);
    return !whole ? NF_EBUG : failed ? nf_fail(NF_ENOMEM, "text") : NF_OK;
}

int main(void)
{
    tap_open();
    (void)file_write();
    each_in_turn("json", json_strict);
    each_in_turn("json of Python", json_python);
    each_in_turn("config", config);
    each_in_turn("file", file);
    each_in_turn("file that grows", proc_file);
    each_in_turn("arena", arena);
    each_in_turn("device", device);
    each_in_turn("string", strings);
    each_in_turn("directory", dir);
    each_in_turn("writing", file_write);
    tap_ok(unlink("t_nomem.file") == 0 && rmdir("t_nomem.dir/a/b") == 0 && rmdir("t_nomem.dir/a") == 0 &&
               rmdir("t_nomem.dir") == 0,
           "cleaned up");
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
