/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HDF5 files of rows. libhdf5 is asked once a file where its arrays lie, in a process of its own (fence.c), since it is not
 * safe on files of foreign origin; the bytes are then read by pread with checks of our own, and no value is believed.
 */
#ifndef NEMAFIT_IO_DATASET_STORED_H
#define NEMAFIT_IO_DATASET_STORED_H

#include "private.h"

/* One contiguous array of a file. rows = 0: the file has none. */
struct nf_stored_array {
    uint64_t at; /* byte in the file */
    int64_t rows, cols;
    bool swapped; /* big-endian */
};

enum nf_stored_name { H5_IDS, H5_LABELS, H5_SEGMENT, H5_PIECES, H5_PIECE_OFFSETS, H5_PROMPTS, H5_PROMPT_OFFSETS, H5_NAMES };

/* What is known of a file; the same on all ranks. Plain bytes: it travels through a pipe and a broadcast. */
struct nf_stored_layout {
    struct nf_stored_array array[H5_NAMES];
    uint64_t size;      /* of the file */
    uint64_t dev, ino;  /* as rank 0 sees them */
    int64_t vocab_size; /* attribute; 0: none */
    char tokenizer[65]; /* attribute tokenizer_sha256, lower case; "": none */
};

/* A file as a rank has it open. */
struct nf_stored_file {
    const char *path; /* of the list of names that the data set keeps */
    int fd;
    int64_t first; /* number of its first row in the data set */
    struct nf_stored_layout layout;
};

struct nf_stored_set {
    nf_strings path;
    struct nf_stored_file *file;
    int files;
    int64_t vocab;         /* ids and labels are below it */
    unsigned char *piece;  /* bytes of all ids, of the first file that has them */
    int64_t *piece_offset; /* [pieces + 1] */
    int64_t pieces;
    int32_t *prompt;
    int64_t *prompt_offset; /* [prompts + 1] */
    int64_t prompts;
};

/* What the values of some rows add up to. */
struct nf_stored_sums {
    int64_t scored;  /* targets */
    int64_t same;    /* labels that are the id at their place */
    int64_t ahead;   /* labels that are the id at the next place */
    int64_t labels;  /* labels != -100 that have a next place in their segment */
    int64_t packed;  /* places whose segment is not 1 */
    uint64_t digest; /* of all values, whatever ranks read them */
};

extern const char *const nf_stored_name[H5_NAMES]; /* without the slash */
size_t nf_stored_width(enum nf_stored_name name);  /* bytes of an element */

/* fence.c: ask the library in a child process, which may crash, hang or take memory as it likes. Local errors. */
nf_status nf_stored_fenced(int fd, const char *path, uint64_t size, struct nf_stored_layout *layout);
/* inspect.c: the questions; only to be called in the child. */
nf_status nf_stored_inspect(int fd, const char *path, uint64_t size, struct nf_stored_layout *layout);
/* superblock.c: what can be told from the first bytes without the library. */
nf_status nf_stored_superblock(int fd, const char *path, uint64_t size);

/* bytes.c: open; n bytes at a place; `n` elements of an array from element `first` on, in the order of this machine. */
nf_status nf_stored_open_file(const char *path, int *fd, struct nf_file_id *id);
nf_status nf_stored_pread(int fd, const char *path, void *bytes, size_t n, uint64_t at);
nf_status nf_stored_elements(const struct nf_stored_file *file, enum nf_stored_name name, int64_t first, int64_t n, void *out);

/* values.c: n rows of a file from `row` on, read and checked. `sums` may be NULL; else added to. */
nf_status nf_stored_rows(const struct nf_stored_set *set, const struct nf_stored_file *file, int64_t S, int64_t row, int64_t n,
                         int32_t *ids, int32_t *labels, int32_t *segment, struct nf_stored_sums *sums);
/* Every rank its share of all rows. Collective  world */
nf_status nf_stored_scan(const nf_mesh *mesh, const struct nf_stored_set *set, int64_t rows, int64_t S,
                         struct nf_stored_sums *sums);

/* tokenizer.c: is tokenizer_sha256 that of the model's tokenizer.json, if there are both? On rank 0. */
nf_status nf_stored_tokenizer(const struct nf_stored_set *set, const char *model_dir);

/* pieces.c: what ids spell, and stored prompts. */
nf_status nf_stored_pieces_load(struct nf_stored_set *set);
bool nf_stored_piece(const nf_dataset *data, int32_t id, nf_str *bytes);
int64_t nf_stored_encode(const nf_dataset *data, const char *text, int32_t *ids, int64_t max);
void nf_stored_prompts(const nf_dataset *data, nf_str *out);

const struct nf_stored_file *nf_stored_find(const struct nf_stored_set *set,
                                            int64_t row); /* the file of a row of the data set */

#endif
