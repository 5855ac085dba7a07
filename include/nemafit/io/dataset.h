/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io/dataset.h: rows of tokens, their order, and the targets, formed here once and nowhere else.
 *
 *   text  id = byte, 256 ends each file; the stream of all files is cut into rows; the last row is padded, unscored
 *   mock  random tokens
 *   hdf5  token ids: files with int32 /input_ids and /labels [rows, seq_len], optional /segment_ids (doc/dataset.md)
 *
 * Target y_t = labels[t+1], y_{S-1} = -100, and -100 across segments. Epoch e is a permutation of the rows keyed by (seed, e);
 * batches cross epoch ends.
 */
#ifndef NEMAFIT_IO_DATASET_H
#define NEMAFIT_IO_DATASET_H

#include "nemafit/choices.h"
#include "nemafit/mesh.h"
#include "nemafit/str.h"
#include "nemafit/tensor.h"

typedef struct nf_dataset nf_dataset;

struct nf_dataset_arg {
    const nf_strings *files;
    int format;               /* nf_data_format */
    int64_t seq_len;          /* hdf5: 0 or what the rows must have */
    const char *seq_len_from; /* for the message if they have not: where seq_len was found; NULL: data.seq_len */
    int64_t vocab;            /* of the model: ids must be below it; text needs 257 */
    const char *model_dir;    /* hdf5: where the model's tokenizer.json may be; NULL: not compared */
    bool shuffle;
    uint64_t seed;
    int64_t mock_rows; /* mock: rows an epoch */
};
/*
 * Rank 0 alone reads text; HDF5 files are read by every rank, all values once at the start (each rank its share of the rows).
 * Collective  world
 * Memory      text: all of it on every rank; hdf5: pieces and prompts
 * Errors      agreed: NF_EMISSING, NF_EUSAGE, NF_EDATA (too short, damaged, ids beyond the vocabulary, ...), NF_EIO, NF_ENOMEM
 */
nf_status nf_dataset_open(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset **data);
void nf_dataset_free(nf_dataset *data);
int64_t nf_dataset_rows(const nf_dataset *data); /* N, of one epoch */
int64_t nf_dataset_seq_len(const nf_dataset *data);
/* A number that stands for the contents (ids, labels, segments, their order) and the same on every mesh. */
uint64_t nf_dataset_digest(const nf_dataset *data);
bool nf_dataset_segmented(const nf_dataset *data); /* some row has padding or several segments */

/* Row of the data that stands at place `at` of the endless order (epoch at / N). */
int64_t nf_dataset_order(const nf_dataset *data, int64_t at);

/* Host buffers for rows [n, S]; mtp arrays [depth][n, S]. segment may be NULL if not segmented. */
struct nf_rows_out {
    int32_t *ids, *target, *segment, *position;
    int32_t *const *mtp_ids;
    int32_t *const *mtp_target;
    int mtp_depth;
};
/* Fill n rows given by number in the data. *scored: targets != -100 of the main loss. Not collective. Errors: local NF_EIO,
 * NF_EDATA (a file of ids has changed since it was opened) */
nf_status nf_dataset_fetch(const nf_dataset *data, const int64_t *rows, int64_t n, const struct nf_rows_out *out,
                           int64_t *scored);
/* Targets and positions of rows made elsewhere (goldens): out->ids and out->segment (may be NULL) are given, labels [n, S] are
 * in transformers' convention. */
void nf_rows_form(int64_t n, int64_t S, const int32_t *labels, const struct nf_rows_out *out, int64_t *scored);

/* Ids for people: append the text of n ids, unprintable bytes escaped. An id of which no spelling is known: "<id>". */
void nf_dataset_decode(const nf_dataset *data, const int32_t *ids, int64_t n, nf_str *out);
/* Ids of a prompt. text: its bytes; hdf5: one of the stored prompts, by its text or as "#1", "#2", ... Returns the number
 * written, at most max, -1: cannot. */
int64_t nf_dataset_encode(const nf_dataset *data, const char *text, int32_t *ids, int64_t max);
/* Append the stored prompts, for a hint; nothing if there are none. */
void nf_dataset_prompts(const nf_dataset *data, nf_str *out);

#endif
