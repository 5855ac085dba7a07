/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values of HDF5 rows, checked whenever they are read: an id indexes the embedding, a label the logits. At the start every
 * rank reads its share of all rows once, so that a bad token is found before the first step and not in the middle of a run:
 * that costs what reading the files costs, divided by the ranks.
 */
#include "stored.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_VALUES = 1 << 18 }; /* of one array read at once */

const struct nf_stored_file *nf_stored_find(const struct nf_stored_set *set, int64_t row)
{
    int low = 0, high = set->files - 1;
    while (low < high) {
        const int middle = low + (high - low + 1) / 2;
        if (set->file[middle].first <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return &set->file[low];
}

static nf_status outside(const struct nf_stored_set *set, const struct nf_stored_file *file, enum nf_stored_name name,
                         int64_t row, int64_t col, int32_t value)
{
    char shown[280];
    const bool label = name == H5_LABELS;
    return nf_fail(NF_EDATA, "%s: H5-%s: /%s[%" PRId64 ", %" PRId64 "] is %d, expected %s0 to %" PRId64 " (the vocabulary)%s",
                   nf_str_shown(shown, file->path, strlen(file->path)),
                   label       ? "27"
                   : value < 0 ? "13"
                               : "14",
                   nf_stored_name[name], row, col, (int)value, label ? "-100 or " : "", set->vocab - 1,
                   "\n  Hint: make the dataset with the tokenizer of this model");
}

/* The first of n values that is neither below the vocabulary nor, for labels, NF_NOT_SCORED; n: none. */
static int64_t first_outside(const int32_t *value, int64_t n, int64_t vocab, bool labels)
{
    const uint32_t most = (uint32_t)vocab;
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) /* without a branch: vectorised */
        bad |= (uint32_t)((uint32_t)value[i] >= most) & (uint32_t) !(labels & (value[i] == NF_NOT_SCORED));
    for (int64_t i = 0; bad && i < n; i++)
        if ((uint32_t)value[i] >= most && !(labels && value[i] == NF_NOT_SCORED))
            return i;
    return n;
}

/* 0: padding; else 1, 2, ... in order, each in one stretch. */
static nf_status check_segments(const struct nf_stored_file *file, int64_t S, int64_t row, const int32_t *segment)
{
    int32_t last = 0;
    for (int64_t t = 0; t < S; t++) {
        const int32_t q = segment[t];
        const bool goes_on = q == last && t > 0 && segment[t - 1] == q;
        if (q != 0 && !goes_on && (last == INT32_MAX || q != last + 1)) {
            char shown[280];
            return nf_fail(NF_EDATA,
                           "%s: H5-27: /segment_ids[%" PRId64 ", %" PRId64
                           "] is %d, expected 0 (padding)%s or the next segment, %d",
                           nf_str_shown(shown, file->path, strlen(file->path)), row, t, (int)q,
                           t > 0 && segment[t - 1] == last && last > 0 ? ", the same segment" : "", (int)last + 1);
        }
        last = q != 0 ? q : last;
    }
    return NF_OK;
}

/* A number that depends on all values of a row and on its place. */
static uint64_t row_digest(int64_t row, int64_t S, const int32_t *ids, const int32_t *labels, const int32_t *segment)
{
    uint64_t h = (uint64_t)row * 0x9e3779b97f4a7c15u + 1;
    for (int64_t t = 0; t < S; t++) {
        h = (h ^ ((uint64_t)(uint32_t)ids[t] << 32 | (uint32_t)labels[t])) * 0xff51afd7ed558ccdu;
        h = (h ^ h >> 32 ^ (uint32_t)segment[t]) * 0xc4ceb9fe1a85ec53u;
        h ^= h >> 29;
    }
    return h;
}

static void add_row(struct nf_stored_sums *sums, int64_t row, int64_t S, const int32_t *ids, const int32_t *labels,
                    const int32_t *segment)
{
    for (int64_t t = 0; t < S; t++)
        sums->packed += segment[t] != 1;
    for (int64_t t = 1; t < S; t++)
        sums->scored += labels[t] != NF_NOT_SCORED && segment[t] != 0 && segment[t] == segment[t - 1];
    for (int64_t t = 0; t + 1 < S; t++)
        if (labels[t] != NF_NOT_SCORED && segment[t] != 0 && segment[t + 1] == segment[t]) {
            sums->labels++;
            sums->same += labels[t] == ids[t];
            sums->ahead += labels[t] == ids[t + 1];
        }
    sums->digest += row_digest(row, S, ids, labels, segment);
}

nf_status nf_stored_rows(const struct nf_stored_set *set, const struct nf_stored_file *file, int64_t S, int64_t row, int64_t n,
                         int32_t *ids, int32_t *labels, int32_t *segment, struct nf_stored_sums *sums)
{
    const int64_t count = n * S;
    NF_TRY(nf_stored_elements(file, H5_IDS, row * S, count, ids));
    NF_TRY(nf_stored_elements(file, H5_LABELS, row * S, count, labels));
    if (file->layout.array[H5_SEGMENT].rows)
        NF_TRY(nf_stored_elements(file, H5_SEGMENT, row * S, count, segment));
    else
        for (int64_t i = 0; i < count; i++)
            segment[i] = 1;
    const int64_t bad_id = first_outside(ids, count, set->vocab, false);
    if (bad_id < count)
        return outside(set, file, H5_IDS, row + bad_id / S, bad_id % S, ids[bad_id]);
    const int64_t bad_label = first_outside(labels, count, set->vocab, true);
    if (bad_label < count)
        return outside(set, file, H5_LABELS, row + bad_label / S, bad_label % S, labels[bad_label]);
    for (int64_t r = 0; r < n; r++) {
        NF_TRY(check_segments(file, S, row + r, segment + r * S));
        if (sums)
            add_row(sums, file->first + row + r, S, ids + r * S, labels + r * S, segment + r * S);
    }
    return NF_OK;
}

/* Rows [from, to) of the data set. */
static nf_status scan_share(const struct nf_stored_set *set, int64_t from, int64_t to, int64_t S, struct nf_stored_sums *sums)
{
    const int64_t most = S < SCAN_VALUES ? SCAN_VALUES / S : 1;
    int32_t *values = malloc((size_t)(3 * most * S) * sizeof *values);
    nf_status status =
        values ? NF_OK : nf_fail(NF_ENOMEM, "no memory for %lld rows of %lld tokens", (long long)most, (long long)S);
    while (from < to && status == NF_OK) {
        const struct nf_stored_file *file = nf_stored_find(set, from);
        const int64_t row = from - file->first, left = file->layout.array[H5_IDS].rows - row;
        int64_t n = to - from < left ? to - from : left;
        n = n < most ? n : most;
        status = nf_stored_rows(set, file, S, row, n, values, values + n * S, values + 2 * n * S, sums);
        from += n;
    }
    free(values);
    return status;
}

nf_status nf_stored_scan(const nf_mesh *mesh, const struct nf_stored_set *set, int64_t rows, int64_t S,
                         struct nf_stored_sums *sums)
{
    const int64_t ranks = nf_mesh_ranks(mesh), rank = nf_mesh_rank(mesh);
    const int64_t each = rows / ranks, more = rows % ranks;
    const int64_t from = rank * each + (rank < more ? rank : more), to = from + each + (rank < more);
    *sums = (struct nf_stored_sums){0};
    NF_TRY(nf_agree(mesh, scan_share(set, from, to, S, sums)));
    int64_t sum[6] = {sums->scored, sums->same, sums->ahead, sums->labels, sums->packed, (int64_t)sums->digest};
    NF_TRY(nf_reduce_i64(nf_mesh_group(mesh, NF_WORLD), sum, 6, NF_SUM));
    *sums = (struct nf_stored_sums){sum[0], sum[1], sum[2], sum[3], sum[4], (uint64_t)sum[5]};
    return NF_OK;
}
