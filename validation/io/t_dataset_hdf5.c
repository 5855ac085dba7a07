/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HDF5 datasets that are right, on every number of ranks: values of each byte order and file version come back, files are
 * joined in their order, segments are seen, ids spell what /pieces say, prompts are those stored; and what becomes of a file
 * that changes while it is open. With arguments TEXT LENGTH FILE: make FILE of a text, for tests of whole runs.
 */
#include "h5make.h"
#include "make.h"
#include "tap.h"

#include "nemafit/io/dataset.h"

#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 3, COUNT = H5_ROWS * H5_LEN };

static nf_mesh *mesh;
static int rank;
static char dir[256], path[FILES][300];

static bool make(int file, const struct h5_spec *spec)
{
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    const bool made = rank != 0 || h5_make(path[file], spec);
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    return made;
}

static nf_status open_files(int files, nf_dataset **data)
{
    char *names[] = {path[0], path[1], path[2]};
    const nf_strings list = {names, files};
    const struct nf_dataset_arg arg = {.files = &list, .format = NF_FORMAT_HDF5, .vocab = H5_VOCAB + 14, .seq_len = H5_LEN};
    *data = NULL;
    return nf_dataset_open(mesh, &arg, data);
}

/* Row `at` of the data set is row `row` of such a file. */
static bool row_right(const nf_dataset *data, int64_t at, const struct h5_spec *s, int64_t row)
{
    int32_t ids[H5_LEN], target[H5_LEN], segment[H5_LEN], position[H5_LEN];
    const struct nf_rows_out out = {.ids = ids, .target = target, .segment = segment, .position = position};
    int64_t scored = -1, count = 0;
    if (nf_dataset_fetch(data, &at, 1, &out, &scored) != NF_OK)
        return false;
    for (int64_t t = 0; t < H5_LEN; t++) {
        const int32_t q = h5_segment(s, row, t);
        const bool next = t + 1 < H5_LEN && q != 0 && h5_segment(s, row, t + 1) == q;
        const int32_t wanted = next ? h5_label(s, row, t + 1) : -100;
        if (ids[t] != h5_id(s, row, t) || segment[t] != q || target[t] != wanted)
            return false;
        count += wanted != -100;
    }
    return scored == count;
}

static bool all_right(const nf_dataset *data, int64_t first, const struct h5_spec *s)
{
    bool right = true;
    for (int64_t r = 0; r < (s->rows ? s->rows : H5_ROWS) && right; r++)
        right = row_right(data, first + r, s, r);
    return right;
}

static void kinds(void)
{
    static const struct {
        const char *what;
        struct h5_spec spec;
        bool segmented;
    } kind[] = {
        {"as h5py makes it", .spec = {0}},
        {"big-endian", .spec = {.ids_type = H5_I32_BIG, .labels_type = H5_I32_BIG}},
        {"of the newest file version", .spec = {.latest = true, .segments = true}, .segmented = true},
        {"with packed segments", .spec = {.segments = true}, .segmented = true},
        {"without attributes", .spec = {.vocab_kind = H5_NO_ATTRIBUTE, .tokenizer_kind = H5_NO_ATTRIBUTE}},
        {"with a string of variable length", .spec = {.tokenizer_kind = H5_VARIABLE}},
        {"of one row", .spec = {.rows = 1}},
    };
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++) {
        nf_dataset *data;
        const bool made = make(0, &kind[i].spec);
        bool right = open_files(1, &data) == NF_OK;
        right = right && nf_dataset_segmented(data) == kind[i].segmented && nf_dataset_seq_len(data) == H5_LEN &&
                nf_dataset_rows(data) == (kind[i].spec.rows ? kind[i].spec.rows : H5_ROWS) && all_right(data, 0, &kind[i].spec);
        if (!tap_ok(made && right, "a file %s", kind[i].what))
            tap_note("%s", nf_diagnosis());
        nf_diagnosis_clear();
        nf_dataset_free(data);
    }
}

static void linked_labels(void)
{
    nf_dataset *data;
    const struct h5_spec spec = {.labels_how = H5_LINKED};
    const bool made = make(0, &spec);
    const int64_t row = 4;
    int32_t ids[H5_LEN], target[H5_LEN], segment[H5_LEN];
    const struct nf_rows_out out = {.ids = ids, .target = target, .segment = segment};
    int64_t scored = 0;
    bool right = open_files(1, &data) == NF_OK && nf_dataset_fetch(data, &row, 1, &out, &scored) == NF_OK;
    right =
        right && scored == H5_LEN - 1 && memcmp(target, ids + 1, sizeof ids - sizeof *ids) == 0 && target[H5_LEN - 1] == -100;
    tap_ok(made && right, "labels that are a link to the ids: every token is learnt");
    nf_dataset_free(data);
}

static void joined(void)
{
    const struct h5_spec one = {.first = 3}, two = {.rows = 5, .segments = true, .first = 8},
                         three = {.ids_type = H5_I32_BIG, .rows = 2, .first = 11};
    nf_dataset *data, *again;
    bool right = make(0, &one) && make(1, &two) && make(2, &three);
    right = right && open_files(3, &data) == NF_OK;
    right = right && nf_dataset_rows(data) == 13 && nf_dataset_segmented(data) && all_right(data, 0, &one) &&
            all_right(data, 6, &two) && all_right(data, 11, &three);
    if (!tap_ok(right, "three files are one data set, in the order given"))
        tap_note("%s", nf_diagnosis());
    const uint64_t digest = right ? nf_dataset_digest(data) : 0;
    tap_ok(right && digest != 0 && nf_same(mesh, &digest, sizeof digest, "digest") == NF_OK && digest == 0x4594a0117002a596u,
           "whose digest is the same on any number of ranks");
    tap_note("digest %016llx", (unsigned long long)digest);
    nf_dataset_free(data);
    const struct h5_spec other = {.rows = 5, .segments = true, .first = 8, .label = {true, 3, 7}};
    right = make(1, &other) && open_files(3, &again) == NF_OK;
    tap_ok(right && nf_dataset_digest(again) != digest, "and is another one if a label is another");
    nf_dataset_free(again);
}

static void people(void)
{
    nf_dataset *data;
    nf_str text = {0}, known = {0};
    int32_t ids[16];
    const struct h5_spec spec = {.pieces = true, .prompts = true};
    if (!tap_ok(make(0, &spec) && open_files(1, &data) == NF_OK, "a file with pieces and prompts"))
        return;
    nf_dataset_decode(data, (const int32_t[]){7, 8, 30, 31, 49, 60, 2}, 7, &text);
    tap_ok(strcmp(text.text, "hi\xc3\xa9\\nx<60>c") == 0, "ids spell what the pieces say");
    tap_ok(nf_dataset_encode(data, "abc", ids, 16) == 3 && ids[0] == 0 && ids[2] == 2, "a prompt by its text");
    tap_ok(nf_dataset_encode(data, "#2", ids, 16) == 4 && ids[0] == 30 && ids[3] == 49, "a prompt by its number");
    tap_ok(nf_dataset_encode(data, "#2", ids, 2) == 2 && ids[1] == 31, "no more of it than fits");
    tap_ok(nf_dataset_encode(data, "ab", ids, 16) == -1 && nf_dataset_encode(data, "#3", ids, 16) == -1 &&
               nf_dataset_encode(data, "#2x", ids, 16) == -1 && nf_dataset_encode(data, "#0", ids, 16) == -1,
           "a text that is no stored prompt is not guessed at");
    nf_dataset_prompts(data, &known);
    tap_ok(strcmp(known.text, "#1 'abc', #2 '\xc3\xa9\\nfx'") == 0, "the prompts that there are");
    nf_str_free(&text);
    nf_str_free(&known);
    nf_dataset_free(data);

    if (tap_ok(make(0, &(struct h5_spec){0}) && open_files(1, &data) == NF_OK, "a file without them")) {
        nf_dataset_decode(data, (const int32_t[]){7, 8}, 2, &text);
        tap_ok(strcmp(text.text, "<7><8>") == 0 && nf_dataset_encode(data, "abc", ids, 16) == -1,
               "numbers are shown as numbers");
        nf_dataset_prompts(data, &known);
        tap_ok(known.len == 0, "and there are no prompts");
    }
    nf_str_free(&text);
    nf_dataset_free(data);
}

/* Rank 0 overwrites the value of every id that is `was`. */
static bool overwrite(int32_t was, int32_t now)
{
    size_t n;
    nf_barrier(nf_mesh_group(mesh, NF_WORLD)); /* nobody still reads what was */
    char *bytes = rank == 0 ? make_read(path[0], &n) : NULL;
    bool found = rank != 0;
    for (size_t i = 0; bytes && i + 4 <= n; i += 4)
        if (memcmp(bytes + i, &was, 4) == 0) {
            memcpy(bytes + i, &now, 4);
            found = true;
        }
    const int fd = rank == 0 ? open(path[0], O_WRONLY) : -1;
    found = found && (rank != 0 || (fd >= 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n));
    if (fd >= 0)
        close(fd);
    free(bytes);
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    return found;
}

static void changing(void)
{
    nf_dataset *data;
    const struct h5_spec spec = {.id = {true, 20, 33}, .label = {true, 20, -100}, .vocab_kind = H5_NO_ATTRIBUTE};
    const int64_t rows[] = {2, 5};
    int32_t ids[COUNT], target[COUNT], segment[COUNT];
    const struct nf_rows_out out = {.ids = ids, .target = target, .segment = segment};
    bool right = make(0, &spec) && open_files(1, &data) == NF_OK;
    right = right && nf_dataset_fetch(data, rows, 2, &out, NULL) == NF_OK;
    right = overwrite(33, 1 << 20) && right;
    tap_ok(right && make_diagnosed(nf_dataset_fetch(data, rows, 1, &out, NULL), NF_EDATA,
                                   "H5-14: /input_ids[2, 4] is 1048576, expected 0 to 63"),
           "a value that changes while the file is open is found when it is read");
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    if (rank == 0)
        right &= truncate(path[0], 100) == 0;
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    tap_ok(right && make_diagnosed(nf_dataset_fetch(data, rows + 1, 1, &out, NULL), NF_EDATA, "H5-36: became shorter"),
           "a file that becomes shorter too");
    nf_dataset_free(data);
}

int main(int argc, char **argv)
{
    MPI_Comm world = MPI_COMM_WORLD;
    if (argc == 4)
        return h5_from_text(argv[3], argv[1], atoll(argv[2])) ? 0 : 1;
    nf_device *device = NULL;
    tap_open_mpi();
    MPI_Comm_rank(world, &rank);
    bool ready = rank != 0 || make_folder(dir, "t_dataset_hdf5");
    MPI_Bcast(dir, sizeof dir, MPI_BYTE, 0, world);
    for (int i = 0; i < FILES; i++)
        snprintf(path[i], sizeof path[i], "%s/data%d.h5", dir, i);
    ready &= nf_device_host(1, &device) == NF_OK && nf_mesh_new(&world, 1, device, &mesh) == NF_OK;
    if (tap_ok(ready, "a mesh")) {
        kinds();
        linked_labels();
        joined();
        people();
        changing();
        nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    }
    nf_mesh_free(mesh);
    nf_device_free(device);
    if (rank == 0)
        make_remove(dir);
    return tap_done();
}
