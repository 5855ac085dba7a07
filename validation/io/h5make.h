/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h5make.h: HDF5 datasets for tests, made by libhdf5 itself: a whole one by default, and by its fields every way in which one
 * can be wrong.
 */
#ifndef NEMAFIT_VALIDATION_IO_H5MAKE_H
#define NEMAFIT_VALIDATION_IO_H5MAKE_H

#include <stdbool.h>
#include <stdint.h>

enum { H5_ROWS = 6, H5_LEN = 8, H5_VOCAB = 50, H5_VALUES_MAX = 512 };

enum h5_type { H5_I32, H5_I32_BIG, H5_I16, H5_U32, H5_I64, H5_F32, H5_TEXT, H5_RAGGED, H5_PAIR };
enum h5_how {
    H5_PLAIN,
    H5_UNWRITTEN,
    H5_CHUNKS,
    H5_DEFLATE,
    H5_COMPACT_,
    H5_EXTERNAL,
    H5_VIRTUAL_,
    H5_SOFT,
    H5_DANGLING,
    H5_OUTSIDE,
    H5_GROUP,
    H5_ABSENT,
    H5_LINKED
};
enum h5_attribute { H5_FIXED, H5_VARIABLE, H5_AS_INTEGER, H5_TWO, H5_NO_ATTRIBUTE };

struct h5_poke {
    bool set;
    int64_t at; /* element */
    int64_t value;
};

/* Zeros: [H5_ROWS, H5_LEN] little-endian ids and labels, vocab_size and tokenizer_sha256, no segments, pieces, prompts. */
struct h5_spec {
    int64_t rows, len;   /* 0: as above; -1: none */
    int ids_rank;        /* 0: 2 */
    int64_t labels_rows; /* 0: rows */
    enum h5_type ids_type, labels_type;
    enum h5_how ids_how, labels_how; /* of labels, H5_LINKED: the ids themselves */
    bool latest, segments, pieces, prompts;
    bool masked, shifted; /* labels: all -100; those of the next place */
    bool no_offsets, many_links, odd_name;
    struct h5_poke id, label, segment, piece_offset, prompt, prompt_offset;
    enum h5_attribute vocab_kind, tokenizer_kind;
    int64_t vocab;         /* 0: H5_VOCAB */
    const char *tokenizer; /* NULL: a good one */
    int32_t first;         /* added to ids before they are taken modulo H5_VOCAB */
};

/* What a default file holds; padding and segments as under `segments`. */
int32_t h5_id(const struct h5_spec *s, int64_t row, int64_t t);
int32_t h5_label(const struct h5_spec *s, int64_t row, int64_t t);
int32_t h5_segment(const struct h5_spec *s, int64_t row, int64_t t);

bool h5_make(const char *path, const struct h5_spec *spec);

/* The rows that data.format = 'text' makes of one file, as a dataset: ids, labels, segments, no attributes. */
bool h5_from_text(const char *path, const char *text, int64_t len);

#endif
