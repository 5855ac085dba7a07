/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data set is a table of rows of token ids and labels; what differs between formats is how a row is made. Everything that
 * follows from a row (targets, positions, MTP) is formed in rows.c for all of them.
 */
#ifndef NEMAFIT_IO_DATASET_PRIVATE_H
#define NEMAFIT_IO_DATASET_PRIVATE_H

#include "nemafit/io/dataset.h"

enum { NF_TEXT_END = 256, NF_TEXT_VOCAB = 257, NF_NOT_SCORED = -100 };

/* Of one format. Rows are numbered 0 .. rows - 1. */
struct nf_dataset_ops {
    const char *name;
    /* ids, labels and segments (1 where there is one only) of a row, seq_len each */
    nf_status (*row)(const nf_dataset *data, int64_t row, int32_t *ids, int32_t *labels, int32_t *segment);
    /* Append what an id spells; false: nothing is known of it. */
    bool (*piece)(const nf_dataset *data, int32_t id, nf_str *bytes);
    int32_t end_id; /* shown as <end>; 0: none */
    int64_t (*encode)(const nf_dataset *data, const char *text, int32_t *ids, int64_t max);
    void (*prompts)(const nf_dataset *data, nf_str *out);
    void (*close)(nf_dataset *data);
};

struct nf_dataset {
    const struct nf_dataset_ops *ops;
    int64_t rows, seq_len, vocab;
    bool segmented, shuffle;
    uint64_t seed;
    uint64_t digest;          /* of the contents */
    struct nf_stored_set *h5; /* hdf5: files, pieces, prompts */
    /* text: the stream of all files, one place a token; end[i] is the place of the i-th file's end */
    unsigned char *stream;
    int64_t tokens;
    int64_t *end;
    int ends;
};

nf_status nf_text_open(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset *data);
nf_status nf_mock_open(const struct nf_dataset_arg *arg, nf_dataset *data);
nf_status nf_hdf5_open(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset *data);

#endif
