/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 500 damaged copies of whole HDF5 datasets, of the oldest and the newest file version: bits turned, bytes and words replaced,
 * pages zeroed, ends cut off. Whatever the library makes of them in its child process, the program goes on: a refusal has a
 * printable diagnosis and a status for bad data, and what is accepted gives rows within the vocabulary or is refused then.
 */
#include "h5make.h"
#include "make.h"
#include "tap.h"

#include "nemafit/io/dataset.h"
#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS = 500, MANY = 3, LIMIT_S = 240 };

static uint64_t state = 20;

static size_t draw(size_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % below;
}

/* Damage of one kind; returns the new length. Most of it falls on the metadata, which lies in front. */
static size_t damage(char *bytes, size_t n)
{
    static const uint64_t words[] = {0, 1, 0xff, 0xffff, 0x7fffffff, 0xffffffff, 1ull << 62, UINT64_MAX, 48, 96, 4096};
    const int kind = (int)draw(10);
    for (size_t times = 1 + draw(MANY); times > 0; times--) { /* a few: the more, the sooner the library gives up */
        const size_t front = n < 3000 ? n : 3000, at = draw(8) ? 44 + draw(front - 44) : draw(n);
        if (kind < 4) {
            bytes[at] = (char)(bytes[at] ^ (1 << draw(8)));
        } else if (kind < 6) {
            bytes[at] = (char)draw(256);
        } else if (kind < 9 && at + 8 <= n) {
            memcpy(bytes + at, &words[draw(sizeof words / sizeof *words)], (size_t)1 << draw(4));
        } else if (kind == 9) {
            if (draw(2))
                return draw(n + 1);
            const size_t size = draw(n - at + 1) < 512 ? draw(n - at + 1) : 512;
            memset(bytes + at, 0, size < n - at ? size : n - at);
        }
    }
    return n;
}

static bool printable(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 && *p != '\n')
            return false;
    return *text != 0;
}

static bool rows_within(const nf_dataset *data)
{
    const int64_t S = nf_dataset_seq_len(data), N = nf_dataset_rows(data);
    int32_t *v = malloc((size_t)(3 * S) * sizeof *v);
    const struct nf_rows_out out = {.ids = v, .target = v + S, .segment = v + 2 * S};
    bool right = v != NULL;
    for (int64_t row = 0; row < N && right; row++) {
        right = nf_dataset_fetch(data, &row, 1, &out, NULL) == NF_OK;
        for (int64_t t = 0; t < S && right; t++)
            right = v[t] >= 0 && v[t] < H5_VOCAB && v[S + t] < H5_VOCAB && (v[S + t] >= 0 || v[S + t] == -100);
    }
    free(v);
    return right;
}

int main(void)
{
    static const struct h5_spec spec[] = {{.segments = true, .pieces = true, .prompts = true},
                                          {.latest = true, .segments = true, .pieces = true, .prompts = true}};
    char dir[256], path[300], *names[] = {path}, *whole[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    nf_device *device = NULL;
    nf_mesh *mesh = NULL;
    tap_open();
    bool ready = make_folder(dir, "t_dataset_flips") && nf_device_host(1, &device) == NF_OK &&
                 nf_mesh_new(NULL, 1, device, &mesh) == NF_OK;
    snprintf(path, sizeof path, "%s/data.h5", dir);
    for (int i = 0; i < 2 && ready; i++)
        ready = h5_make(path, &spec[i]) && (whole[i] = make_read(path, &n[i])) != NULL;
    const nf_strings files = {names, 1};
    const struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_HDF5, .vocab = H5_VOCAB};
    int refused = 0, accepted = 0, crashed = 0, wrong = 0, done = 0;
    const double start = nf_seconds();
    for (; done < TRIALS && ready && nf_seconds() - start < LIMIT_S; done++) {
        const int which = done % 2;
        char *bytes = malloc(n[which] + 8);
        nf_dataset *data = NULL;
        ready = bytes != NULL;
        if (ready) {
            memcpy(bytes, whole[which], n[which]);
            ready = make_file(path, bytes, damage(bytes, n[which]));
        }
        const nf_status got = nf_dataset_open(mesh, &arg, &data);
        accepted += got == NF_OK;
        refused += got != NF_OK;
        crashed += strstr(nf_diagnosis(), "in a process of its own") != NULL;
        if (got == NF_OK ? !rows_within(data) : got != NF_EDATA || !printable(nf_diagnosis())) {
            wrong++;
            tap_note("trial %d: status %d: %s", done, (int)got, nf_diagnosis());
        }
        nf_diagnosis_clear();
        nf_dataset_free(data);
        free(bytes);
    }
    tap_ok(ready && done == TRIALS, "%d of %d damaged files in %.0f s", done, TRIALS, nf_seconds() - start);
    tap_ok(wrong == 0 && refused > TRIALS / 4, "each is refused with a diagnosis, or gives rows within the vocabulary");
    tap_note("%d refused, of them %d by the death of the child; %d accepted", refused, crashed, accepted);
    free(whole[0]);
    free(whole[1]);
    nf_mesh_free(mesh);
    nf_device_free(device);
    make_remove(dir);
    return tap_done();
}
