/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HDF5 datasets that are wrong, one a case: each is refused on all ranks with the same status, and a diagnosis that holds its
 * code, the object, what was expected and what was found. The codes are those that the messages carry.
 */
#define _GNU_SOURCE
#include "h5make.h"
#include "make.h"
#include "tap.h"

#include "nemafit/io/dataset.h"

#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static nf_mesh *mesh;
static int rank;
static char dir[256], path[300];

/* ---- damage to a file that was whole --------------------------------------------------------------------------------- */

static bool patch(const char *from, size_t n, const char *to)
{
    size_t size, hits = 0;
    char *bytes = make_read(path, &size);
    for (char *p = bytes; p && (p = memmem(p, (size_t)(bytes + size - p), from, n)); p += n, hits++)
        memcpy(p, to, n);
    const bool good = hits > 0 && make_file(path, bytes, size);
    free(bytes);
    return good;
}

static bool shortened(void)
{
    struct stat st;
    return stat(path, &st) == 0 && truncate(path, st.st_size - 40) == 0;
}

static bool stump(void)
{
    return truncate(path, 20) == 0;
}

static bool user_block(void)
{
    size_t n;
    char *bytes = make_read(path, &n), *all = calloc(1, n + 512);
    if (bytes && all)
        memcpy(all + 512, bytes, n);
    const bool good = bytes && all && make_file(path, all, n + 512);
    free(bytes);
    free(all);
    return good;
}

static bool poke_byte(long at, int value)
{
    FILE *f = fopen(path, "r+b");
    const bool good = f && fseek(f, at, SEEK_SET) == 0 && fputc(value, f) != EOF;
    return (!f || fclose(f) == 0) && good;
}

static bool open_for_writing(void) /* version 3 of the superblock has the mark of a writer */
{
    return poke_byte(8, 3) && poke_byte(11, 5);
}

static bool new_superblock(void)
{
    return poke_byte(8, 9);
}

static bool small_offsets(void)
{
    return poke_byte(13, 4);
}

static bool two_labels(void) /* the link /segment_ids becomes a second /labels */
{
    return patch("segment_ids\0", 12, "labels\0\0\0\0\0\0");
}

static bool ids_header(void) /* the object header that a link leads to is not one */
{
    size_t n;
    char *bytes = make_read(path, &n);
    char *at = bytes ? memmem(bytes + 200, n - 200, "\1\0\6\0", 4) : NULL;
    while (at && at + 4 < bytes + n) {
        memset(at, 0xee, 4);
        at = memmem(at + 4, (size_t)(bytes + n - at - 4), "\1\0\6\0", 4);
    }
    const bool good = bytes && make_file(path, bytes, n);
    free(bytes);
    return good;
}

static bool is_fifo(void)
{
    return unlink(path) == 0 && mkfifo(path, 0600) == 0;
}

static bool is_directory(void)
{
    return unlink(path) == 0 && mkdir(path, 0700) == 0;
}

static bool is_gone(void)
{
    return unlink(path) == 0;
}

static bool is_empty(void)
{
    return truncate(path, 0) == 0;
}

static bool is_text(void)
{
    return make_text(path, "{\"text\": \"some\"}\n");
}

static int writer = -1;
static bool is_locked(void)
{
    writer = open(path, O_RDWR);
    return writer >= 0 && flock(writer, LOCK_EX) == 0;
}

/* ---- cases ----------------------------------------------------------------------------------------------------------- */

#define AT(place, number)                                                                                                      \
    {                                                                                                                          \
        true, (place), (number)                                                                                                \
    }

static const struct wrong {
    const char *text; /* what the diagnosis holds, after the path */
    struct h5_spec spec;
    bool (*damage)(void);
    nf_status status; /* 0: NF_EDATA */
} cases[] = {
    {"H5-01: is not an HDF5 file: expected the signature \\x89HDF, found '{\"text\": \"some\"}", .damage = is_text},
    {"H5-01: is empty", .damage = is_empty},
    {"H5-02: is truncated: ", .damage = shortened},
    {"H5-02: is truncated: ", .spec = {.latest = true}, .damage = shortened},
    {"H5-02: is truncated: 20 bytes are no whole superblock", .damage = stump},
    {"H5-03: was not closed by its writer", .spec = {.latest = true}, .damage = open_for_writing},
    {"H5-04: begins with a user block of 512 bytes", .damage = user_block},
    {"H5-04: superblock of version 9, expected 0 to 3", .damage = new_superblock},
    {"H5-04: offsets of 4 bytes, expected 8", .damage = small_offsets},
    {"H5-05: /input_ids: is stored in 1 other file (external storage)", .spec = {.ids_how = H5_EXTERNAL}},
    {"H5-06: /labels: is an external link", .spec = {.labels_how = H5_OUTSIDE}},
    {"H5-07: /input_ids: is a soft link", .spec = {.ids_how = H5_SOFT}},
    {"H5-07: /labels: is a soft link", .spec = {.labels_how = H5_DANGLING}},
    {"H5-09: /labels: is a virtual dataset", .spec = {.labels_how = H5_VIRTUAL_}},
    {"H5-10: /input_ids: is stored through the filter 'deflate'", .spec = {.ids_how = H5_DEFLATE}},
    {"H5-11: /input_ids: is stored in chunks", .spec = {.ids_how = H5_CHUNKS}},
    {"H5-11: /labels: is stored within its header (compact)", .spec = {.labels_how = H5_COMPACT_}},
    {"H5-12: /input_ids: expected signed 32-bit integers, found 32-bit floats", .spec = {.ids_type = H5_F32}},
    {"H5-12: /labels: expected signed 32-bit integers, found compounds", .spec = {.labels_type = H5_PAIR}},
    {"H5-12: /input_ids: expected signed 32-bit integers, found strings", .spec = {.ids_type = H5_TEXT}},
    {"H5-12: /input_ids: expected signed 32-bit integers, found variable lengths", .spec = {.ids_type = H5_RAGGED}},
    {"H5-13: /input_ids[2, 5] is -1, expected 0 to 49", .spec = {.id = AT(21, -1)}},
    {"H5-14: /input_ids[5, 7] is 50, expected 0 to 49", .spec = {.id = AT(47, 50)}},
    {"H5-14: /input_ids[0, 0] is 2147483647, expected 0 to 49", .spec = {.id = AT(0, INT32_MAX)}},
    {"H5-14: /input_ids[0, 2] is 40, expected 0 to 39", .spec = {.vocab = 40, .first = 30}},
    {"H5-16: /input_ids: expected signed 32-bit integers, found signed 64-bit integers", .spec = {.ids_type = H5_I64}},
    {"H5-16: /input_ids: expected signed 32-bit integers, found unsigned 32-bit integers", .spec = {.ids_type = H5_U32}},
    {"H5-16: /labels: expected signed 32-bit integers, found signed 16-bit integers", .spec = {.labels_type = H5_I16}},
    {"H5-17: /input_ids: expected 2 dimensions [rows, seq_len], found 1", .spec = {.ids_rank = 1}},
    {"H5-17: /input_ids: expected 2 dimensions [rows, seq_len], found 3", .spec = {.ids_rank = 3}},
    {"H5-18: /input_ids: is empty: [0, 8]", .spec = {.rows = -1}},
    {"H5-18: /input_ids: rows of one token", .spec = {.len = 1}},
    {"H5-19: /input_ids: [72057594037927936, 8] values of 4 bytes do not fit", .spec = {.rows = 1ll << 56}},
    {"H5-20: /labels: was never written", .spec = {.labels_how = H5_UNWRITTEN}},
    {"H5-22: /input_ids is missing: found /labels", .spec = {.ids_how = H5_ABSENT}},
    {"H5-22: /input_ids is missing: found /labels, /od\\x1b[31md", .spec = {.ids_how = H5_ABSENT, .odd_name = true}},
    {"H5-22: /labels is missing: found /input_ids", .spec = {.labels_how = H5_ABSENT}},
    {"f['labels'] = f['input_ids']", .spec = {.labels_how = H5_ABSENT}},
    {"H5-22: /labels: expected a dataset, found a group", .spec = {.labels_how = H5_GROUP}},
    {"H5-23: attribute vocab_size: expected an integer, found strings", .spec = {.vocab_kind = H5_VARIABLE}},
    {"H5-23: attribute vocab_size: expected one value, found 2", .spec = {.vocab_kind = H5_TWO}},
    {"H5-23: attribute vocab_size: -3, expected 1 to", .spec = {.vocab = -3}},
    {"H5-23: attribute tokenizer_sha256: expected a string, found signed 64-bit integers",
     .spec = {.tokenizer_kind = H5_AS_INTEGER}},
    {"H5-23: attribute tokenizer_sha256: expected 64 hexadecimal digits, found 'abc'", .spec = {.tokenizer = "abc"}},
    {"found 'zz", .spec = {.tokenizer_kind = H5_VARIABLE, .tokenizer = "zz"}},
    {"H5-24: attribute vocab_size: 51, the model has a vocabulary of 50", .spec = {.vocab = 51}},
    {"H5-25: /piece_offsets[4] is 99, expected 3 to 51", .spec = {.pieces = true, .piece_offset = AT(4, 99)}},
    {"H5-25: /piece_offsets[0] is 1, expected 0 to 0", .spec = {.pieces = true, .piece_offset = AT(0, 1)}},
    {"H5-25: /piece_offsets[7] is -2, expected 6 to", .spec = {.pieces = true, .piece_offset = AT(7, -2)}},
    {"H5-25: the last of /piece_offsets is 50, expected 51", .spec = {.pieces = true, .piece_offset = AT(50, 50)}},
    {"H5-25: /pieces is there, but /piece_offsets is missing", .spec = {.pieces = true, .no_offsets = true}},
    {"H5-25: /prompts: prompt 0 is empty", .spec = {.prompts = true, .prompt_offset = AT(1, 0)}},
    {"H5-14: /prompts[5] is 50, expected 0 to 49", .spec = {.prompts = true, .prompt = AT(5, 50)}},
    {"H5-26: /labels: expected [6, 8] as /input_ids, found [5, 8]", .spec = {.labels_rows = 5}},
    {"H5-26: /labels are shifted", .spec = {.rows = 32, .shifted = true}},
    {"H5-27: /labels[0, 3] is -1, expected -100 or 0 to 49", .spec = {.label = AT(3, -1)}},
    {"H5-27: /labels[5, 0] is 50, expected -100 or 0 to 49", .spec = {.label = AT(40, 50)}},
    {"H5-27: /segment_ids[0, 0] is 2, expected 0 (padding) or the next segment, 1",
     .spec = {.segments = true, .segment = AT(0, 2)}},
    {"H5-27: /segment_ids[2, 1] is 3, expected 0 (padding), the same segment or the next segment, 2",
     .spec = {.segments = true, .segment = AT(17, 3)}},
    {"H5-27: /segment_ids[3, 5] is 1, expected 0 (padding), the same segment or the next segment, 3",
     .spec = {.segments = true, .segment = AT(29, 1)}},
    {"H5-27: /segment_ids[3, 2] is 1, expected 0 (padding) or the next segment, 2",
     .spec = {.segments = true, .segment = AT(25, 0)}},
    {"H5-27: /segment_ids[4, 4] is -1", .spec = {.segments = true, .segment = AT(36, -1)}},
    {"H5-28: /labels: no token is scored", .spec = {.masked = true}},
    {"H5-30: /labels: 2 links of that name, expected one", .spec = {.segments = true}, .damage = two_labels},
    {"H5-31: another program has it open for writing", .damage = is_locked},
    {"H5-32: more than 4096 links in /", .spec = {.many_links = true}},
    {"H5-34: ", .damage = ids_header},
    {"H5-37: expected a regular file, found a FIFO", .damage = is_fifo},
    {"H5-37: expected a regular file, found a directory", .damage = is_directory},
    {"cannot open: No such file", .damage = is_gone, .status = NF_EMISSING},
};

static void try_case(const struct wrong *w)
{
    char *names[] = {path}, wanted[400];
    const nf_strings files = {names, 1};
    const struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_HDF5, .vocab = H5_VOCAB};
    nf_dataset *data = NULL;
    const bool made = rank != 0 || (h5_make(path, &w->spec) && (!w->damage || w->damage()));
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    const nf_status got = nf_dataset_open(mesh, &arg, &data);
    const bool named = strstr(nf_diagnosis(), "malformed.h5: ") != NULL;
    snprintf(wanted, sizeof wanted, "%s", w->text);
    tap_ok(made && named && make_diagnosed(got, w->status ? w->status : NF_EDATA, wanted), "%.60s", w->text);
    if (!named)
        tap_note("made %d, status %d: %s", made, (int)got, nf_diagnosis());
    nf_diagnosis_clear();
    if (got == NF_OK)
        nf_dataset_free(data);
    if (writer >= 0)
        close(writer);
    writer = -1;
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    if (rank == 0)
        make_remove(path);
}

/* What needs two files, or an argument. */
static void try_lists(void)
{
    char other[300], tokenizer[300], *names[] = {path, other};
    nf_strings files = {names, 2};
    struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_HDF5, .vocab = H5_VOCAB};
    nf_dataset *data = NULL;
    bool made = true;
    snprintf(other, sizeof other, "%s/other.h5", dir);
    if (rank == 0)
        made = h5_make(path, &(struct h5_spec){0}) && h5_make(other, &(struct h5_spec){.len = 9});
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    tap_ok(made && make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA,
                                  "other.h5: H5-17: /input_ids: rows of 9 tokens, expected 8 as in "),
           "files of unequal rows");
    files.count = 1;
    arg.seq_len = 16;
    tap_ok(make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA, "rows of 8 tokens, expected 16: data.seq_len"),
           "another seq_len asked for");
    arg.seq_len = 1;
    tap_ok(make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EUSAGE, "data.seq_len is 1"), "a seq_len of 1");
    arg.seq_len = 0;
    files.count = 0;
    tap_ok(make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EUSAGE, "no file is given"), "no file");
    files.count = 1;
    arg.model_dir = dir;
    snprintf(tokenizer, sizeof tokenizer, "%.250s/tokenizer.json", dir);
    made = rank != 0 || make_text(tokenizer, "abc");
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    tap_ok(made && make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA,
                                  "cdef, expected ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad of "),
           "the tokenizer of another model");
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    made = rank != 0 ||
           h5_make(path, &(struct h5_spec){.tokenizer = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"});
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    tap_ok(made && nf_dataset_open(mesh, &arg, &data) == NF_OK, "the tokenizer of the model");
    nf_dataset_free(data);
    data = NULL;
    arg.model_dir = NULL;
    files.count = 2;
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    if (rank == 0)
        made = unlink(tokenizer) == 0 && h5_make(path, &(struct h5_spec){0}) && h5_make(other, &(struct h5_spec){.vocab = 49});
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    tap_ok(made && make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA, "H5-24: was made with another tokenizer"),
           "files of unequal tokenizers");
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    if (rank == 0)
        made = unlink(other) == 0 && link(path, other) == 0;
    nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    tap_ok(made && make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA,
                                  "H5-30: is given twice, as file 1 and file 2 of the list"),
           "one file under two names");
}

int main(void)
{
    MPI_Comm world = MPI_COMM_WORLD;
    nf_device *device = NULL;
    tap_open_mpi();
    MPI_Comm_rank(world, &rank);
    bool ready = rank != 0 || make_folder(dir, "t_dataset_malformed");
    MPI_Bcast(dir, sizeof dir, MPI_BYTE, 0, world);
    snprintf(path, sizeof path, "%s/malformed.h5", dir);
    ready &= nf_device_host(1, &device) == NF_OK && nf_mesh_new(&world, 1, device, &mesh) == NF_OK;
    if (tap_ok(ready, "a mesh")) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            try_case(&cases[i]);
        try_lists();
        nf_barrier(nf_mesh_group(mesh, NF_WORLD));
    }
    nf_mesh_free(mesh);
    nf_device_free(device);
    if (rank == 0)
        make_remove(dir);
    return tap_done();
}
