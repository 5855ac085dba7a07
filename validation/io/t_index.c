/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoint directories: the index and its shards against each other, what lies beside them, links, and damaged indices. Each
 * fault with its code and status.
 */
#include "make.h"
#include "tap.h"

#include "nemafit/io/safetensors.h"
#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define S1 "model-00001-of-00002.safetensors"
#define S2 "model-00002-of-00002.safetensors"
#define MAP(a, b) "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"a\":\"" a "\",\"b\":\"" b "\"}}"

static const float values[] = {1, 2, 3};
static char dir[256];
static const nf_mesh *mesh;

static char *in(char out[600], const char *name)
{
    snprintf(out, 600, "%s/%s", dir, name);
    return out;
}

static void shard(const char *name, const char *tensor, int64_t count)
{
    char path[600];
    struct make m = {0};
    make_tensor(&m, tensor, "F32", 1, &count, values, (size_t)count * 4);
    make_write(&m, in(path, name));
}

/* The folder anew: two shards, tensors a [1] and b [2], and their index. */
static void fresh(void)
{
    char path[600];
    make_remove(dir);
    mkdir(dir, 0755);
    shard(S1, "a", 1);
    shard(S2, "b", 2);
    make_text(in(path, "model.safetensors.index.json"), MAP(S1, S2));
}

static void try(nf_status wanted, const char *found, const char *what)
{
    nf_st *st = NULL;
    const nf_status status = nf_st_open(mesh, dir, &st);
    if (wanted == NF_OK) {
        const struct nf_st_entry *b = status == NF_OK ? nf_st_find(st, "b") : NULL;
        tap_ok(b && b->nd == 1 && b->dim[0] == 2 && nf_st_count(st) == 2 && !nf_st_find(st, "c"), "accepted: %s", what);
        if (status != NF_OK)
            tap_note("%s", nf_diagnosis());
        nf_diagnosis_clear();
    } else {
        tap_ok(make_diagnosed(status, wanted, found), "refused: %s", what);
    }
    nf_st_free(st);
}

static void index_text(const char *text, nf_status wanted, const char *found, const char *what)
{
    char path[600];
    fresh();
    make_text(in(path, "model.safetensors.index.json"), text);
    try(wanted, found, what);
}

static void texts(void)
{
    char *longer = malloc(1200);
    index_text(MAP(S1, S2), NF_OK, NULL, "an index and two shards");
    index_text("{", NF_EDATA, "IX-01: not JSON", "01 not JSON");
    index_text("[]", NF_EDATA, "IX-01", "01 an array");
    index_text("{\"metadata\":{}}", NF_EDATA, "IX-01: there is no weight_map", "01 no weight_map");
    index_text("{\"weight_map\":{}}", NF_EDATA, "IX-01: weight_map is empty", "01 nothing in weight_map");
    index_text("{\"weight_map\":[1]}", NF_EDATA, "IX-01: weight_map is not an object", "01 weight_map an array");
    index_text(MAP("/etc/passwd", S2), NF_EDATA, "IX-02: shard name '/etc/passwd' is an absolute path", "02 absolute");
    index_text(MAP("../x.safetensors", S2), NF_EDATA, "IX-03", "03 ..");
    index_text(MAP("a/../../b.safetensors", S2), NF_EDATA, "IX-03", "03 a/../../b");
    index_text(MAP("a/b.safetensors", S2), NF_EDATA, "IX-03: shard name 'a/b.safetensors' leads out of the directory",
               "03 a/b");
    index_text(MAP("", S2), NF_EDATA, "IX-04", "04 empty");
    index_text(MAP(".", S2), NF_EDATA, "IX-04", "04 .");
    index_text(MAP("a\\u0000.safetensors", S2), NF_EDATA, "IX-04", "04 NUL");
    if (longer) {
        snprintf(longer, 1200, "{\"weight_map\":{\"a\":\"%0300d.safetensors\"}}", 1);
        index_text(longer, NF_EDATA, "IX-04", "04 more than 255 bytes");
    }
    index_text(MAP("model.bin", S2), NF_EDATA, "IX-05: shard name 'model.bin' does not end in .safetensors",
               "05 not .safetensors");
    index_text(MAP(S1, "other.safetensors"), NF_EMISSING, "IX-06: shard 'other.safetensors' is missing (1 of 2 are)",
               "06 a shard is missing");
    index_text("{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S2 "\",\"a\":\"" S1 "\"}}", NF_EDATA,
               "IX-11: tensor 'a' stands twice", "11 tensor twice");
    index_text("{\"weight_map\":{\"a\":\"" S1 "\"},\"weight_map\":{\"b\":\"" S2 "\"}}", NF_EDATA,
               "IX-11: key 'weight_map' stands twice", "11 weight_map twice");
    index_text("{\"weight_map\":{\"a\":1}}", NF_EDATA, "IX-12: the shard of tensor 'a' is not a string", "12 a number");
    index_text(MAP(S1, S1), NF_EDATA, "IX-15: '" S1 "' says there are 2 shards, the index names 1", "15 numbering");
    index_text("{\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S2 "\",\"c\":\"" S2 "\"}}", NF_EDATA,
               "IX-08: tensor 'c': the index says '" S2 "', which does not hold it", "08 tensor that no shard has");
    index_text(MAP(S2, S1), NF_EDATA, "IX-08: tensor 'a': the index says '" S2 "', it is in '" S1 "'",
               "08 tensor in another shard");
    index_text("{\"weight_map\":{\"a\":\"" S1 "\",\"x\":\"" S2 "\"}}", NF_EDATA,
               "IX-09: tensor 'b' is in '" S2 "' but not in the index", "09 tensor not in the index");
    index_text("{\"metadata\":{\"total_size\":13},\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S2 "\"}}", NF_OK, NULL,
               "13 total_size wrong (a warning)");
    index_text("{\"metadata\":{\"total_size\":1.2e1},\"weight_map\":{\"a\":\"" S1 "\",\"b\":\"" S2 "\"}}", NF_OK, NULL,
               "total_size as a real number");
    free(longer);
}

static void files(void)
{
    char path[600], other[600];
    fresh();
    shard("model-00003-of-00002.safetensors", "c", 1);
    try(NF_EDATA, "IX-07: 'model-00003-of-00002.safetensors' is not in the index", "07 a shard too many");
    fresh();
    shard("unrelated.safetensors", "c", 1);
    try(NF_OK, NULL, "a file of another name beside");
    fresh();
    shard(S2, "a", 1);
    try(NF_EDATA, "IX-10: tensor 'a' is in two shards", "10 a tensor in two shards");
    fresh();
    shard("model.safetensors", "a", 1);
    try(NF_EDATA, "IX-14: both model.safetensors and an index", "14 a single file and an index");
    fresh();
    unlink(in(path, S2));
    mkdir(path, 0755);
    try(NF_EDATA, "IX-17: expected a regular file, found a directory", "17 shard is a directory");
    fresh();
    unlink(in(path, S2));
    mkfifo(path, 0644);
    try(NF_EDATA, "IX-17: expected a regular file, found a FIFO", "17 shard is a FIFO");
    fresh();
    unlink(in(path, S2));
    if (symlink("/dev/zero", path) == 0)
        try(NF_EDATA, "IX-17", "17 shard leads to a device");
    fresh();
    unlink(in(path, S2));
    if (link(in(other, S1), path) == 0)
        try(NF_EDATA, "IX-19: '" S1 "' and '" S2 "' are the same file", "19 two names of one file");
    fresh();
    unlink(in(path, S2));
    make_text(in(path, S2 ".incomplete"), "x");
    try(NF_EMISSING, "IX-21: shard '" S2 "' is missing", "21 an unfinished download");
    fresh();
    make_text(in(path, S2 ".part"), "x");
    try(NF_OK, NULL, "21 what is left of a download (a warning)");
    fresh();
    if (truncate(in(path, S2), 40) == 0)
        try(NF_EDATA, "ST-002", "a shard cut off in its header");
    fresh();
    struct stat info;
    if (stat(in(path, S2), &info) == 0 && truncate(path, info.st_size - 1) == 0)
        try(NF_EDATA, "ST-018: tensor 'b': the file ends before it does: 1 bytes are missing", "a shard cut off in its data");
    fresh();
    if (geteuid() != 0) {
        chmod(in(path, S2), 0);
        try(NF_EPERM, S2, "a shard that may not be read");
    }
    make_remove(dir);
    try(NF_EMISSING, dir, "no directory");
    make_text(dir, "x");
    try(NF_EDATA, "is not a directory", "a file in its place");
    unlink(dir);
    mkdir(dir, 0755);
    try(NF_EMISSING, "there is neither model.safetensors nor", "an empty directory");
}

/* Links: into the hub's cache they are how it works, elsewhere they lead out. */
static void links(void)
{
    char path[600], base[256], target[300];
    fresh();
    snprintf(target, sizeof target, "%s.out.safetensors", dir);
    struct make m = {0};
    const int64_t two = 2;
    make_tensor(&m, "b", "F32", 1, &two, values, 8);
    make_write(&m, target);
    unlink(in(path, S2));
    char relative[304];
    snprintf(relative, sizeof relative, "../%s", target);
    if (symlink(relative, path) == 0)
        try(NF_EDATA, "IX-16: is a link that leads out of the checkpoint", "16 a link that leads out");
    unlink(target);

    snprintf(base, sizeof base, "%s", dir);
    make_remove(dir);
    mkdir(dir, 0755);
    mkdir(in(path, "blobs"), 0755);
    mkdir(in(path, "snapshots"), 0755);
    mkdir(in(path, "snapshots/0123"), 0755);
    shard("blobs/f00", "a", 1);
    shard("blobs/f01", "b", 2);
    make_text(in(path, "blobs/f02"), MAP(S1, S2));
    bool linked = symlink("../../blobs/f00", in(path, "snapshots/0123/" S1)) == 0;
    linked &= symlink("../../blobs/f01", in(path, "snapshots/0123/" S2)) == 0;
    linked &= symlink("../../blobs/f02", in(path, "snapshots/0123/model.safetensors.index.json")) == 0;
    snprintf(dir, sizeof dir, "%.200s/snapshots/0123", base);
    if (linked)
        try(NF_OK, NULL, "a snapshot of the hub's cache");
    snprintf(dir, sizeof dir, "%s", base);
}

/* Damaged indices: opened or refused with a code, never more. */
static void damaged(void)
{
    const char *text = MAP(S1, S2);
    const size_t n = strlen(text);
    char path[600], changed[512];
    int without = 0, opened = 0;
    uint64_t state = 1;
    fresh();
    in(path, "model.safetensors.index.json");
    for (int i = 0; i < 3000; i++) {
        memcpy(changed, text, n + 1);
        state = state * 6364136223846793005u + 1442695040888963407u;
        const size_t at = (size_t)(state >> 33) % n;
        size_t length = n;
        if (i % 3 == 0)
            changed[at] = (char)(state >> 20);
        else if (i % 3 == 1)
            length = at;
        else
            memmove(changed + at, changed + at + 1, n - at);
        make_file(path, changed, length);
        nf_st *st = NULL;
        const nf_status status = nf_st_open(mesh, dir, &st);
        opened += status == NF_OK;
        if (status != NF_OK && !strstr(nf_diagnosis(), "IX-")) {
            without++;
            tap_note("%s", nf_diagnosis());
        }
        nf_diagnosis_clear();
        nf_st_free(st);
    }
    tap_ok(without == 0, "3,000 damaged indices: opened, or refused with a code");
    tap_note("%d opened", opened);
}

int main(void)
{
    nf_device *device = NULL;
    nf_mesh *one = NULL;
    tap_open();
    if (tap_ok(make_folder(dir, "t_index") && nf_device_host(1, &device) == NF_OK &&
                   nf_mesh_new(NULL, 1, device, &one) == NF_OK,
               "a folder and a mesh of one rank")) {
        mesh = one;
        FILE *quiet = fopen("/dev/null", "w"); /* warnings are expected here, and not TAP */
        nf_log_open(0, 1, NF_LOG_QUIET, quiet);
        texts();
        files();
        links();
        damaged();
        make_remove(dir);
        if (quiet)
            fclose(quiet);
    }
    nf_mesh_free(one);
    nf_device_free(device);
    return tap_done();
}
