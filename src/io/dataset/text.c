/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as bytes: an id is a byte, 256 ends each file. The files are one stream in the order given, cut into rows; what the last
 * row lacks is padding, which belongs to no segment and is not scored. Rank 0 reads the files, so all ranks see the same bytes.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_MIB = 64 * 1024 };

static void text_close(nf_dataset *data)
{
    free(data->stream);
    free(data->end);
}

/* Is the token at this place the end of a file? */
static bool is_end(const nf_dataset *data, int64_t at)
{
    int low = 0, high = data->ends;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (data->end[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low < data->ends && data->end[low] == at;
}

static nf_status text_row(const nf_dataset *data, int64_t row, int32_t *ids, int32_t *labels, int32_t *segment)
{
    const int64_t S = data->seq_len, first = row * S;
    for (int64_t t = 0; t < S; t++) {
        const bool padding = first + t >= data->tokens;
        ids[t] = padding || is_end(data, first + t) ? NF_TEXT_END : data->stream[first + t];
        labels[t] = padding ? NF_NOT_SCORED : ids[t];
        segment[t] = padding ? 0 : 1;
    }
    return NF_OK;
}

static bool text_piece(const nf_dataset *data, int32_t id, nf_str *bytes)
{
    const char byte = (char)id;
    (void)data;
    if (id < 0 || id >= NF_TEXT_END)
        return false;
    nf_str_addn(bytes, &byte, 1);
    return true;
}

static int64_t text_encode(const nf_dataset *data, const char *text, int32_t *ids, int64_t max)
{
    int64_t n = 0;
    (void)data;
    for (const char *p = text; *p && n < max; p++)
        ids[n++] = (unsigned char)*p;
    return n;
}

static const struct nf_dataset_ops text_ops = {
    .name = "text", .row = text_row, .piece = text_piece, .end_id = NF_TEXT_END, .encode = text_encode, .close = text_close};

/* All files behind one another, a placeholder for each end; the ends after them. */
static nf_status read_files(const nf_strings *files, nf_str *all)
{
    int64_t *end = calloc((size_t)files->count + 1, sizeof *end);
    nf_status status = end ? NF_OK : nf_fail(NF_ENOMEM, "no memory for %d files", files->count);
    for (int i = 0; i < files->count && status == NF_OK; i++) {
        char *bytes = NULL, shown[280];
        size_t n = 0;
        status = nf_file_read(files->item[i], (size_t)FILE_MAX_MIB << 20, &bytes, &n);
        if (status == NF_OK && n == 0)
            status = nf_fail(NF_EDATA, "%s: is empty", nf_str_shown(shown, files->item[i], strlen(files->item[i])));
        if (status == NF_OK) {
            nf_str_addn(all, bytes, n);
            end[i] = (int64_t)all->len;
            nf_str_addn(all, "\0", 1);
        }
        free(bytes);
    }
    if (status == NF_OK)
        nf_str_addn(all, (const char *)end, (size_t)files->count * sizeof *end);
    free(end);
    if (status == NF_OK && all->failed)
        status = nf_fail(NF_ENOMEM, "no memory for the text: %zu bytes so far", all->len);
    return status;
}

nf_status nf_text_open(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset *data)
{
    if (arg->vocab < NF_TEXT_VOCAB)
        return nf_fail(NF_EDATA, "data.format = 'text' needs a vocabulary of %d ids, the model has %lld", NF_TEXT_VOCAB,
                       (long long)arg->vocab);
    if (!arg->files || arg->files->count == 0)
        return nf_fail(NF_EUSAGE, "data.format = 'text': no file is given");
    const int files = arg->files->count;
    nf_str all = {0};
    const bool first = nf_mesh_rank(mesh) == 0;
    nf_status status = nf_agree(mesh, first ? read_files(arg->files, &all) : NF_OK);
    void *bytes = all.text;
    size_t n = all.len;
    if (status == NF_OK)
        status = nf_bcast_blob(nf_mesh_group(mesh, NF_WORLD), 0, &bytes, &n);
    if (status != NF_OK) {
        nf_str_free(&all);
        return status;
    }
    data->ops = &text_ops;
    data->stream = bytes;
    data->ends = files;
    data->end = malloc((size_t)files * sizeof *data->end);
    if (!data->end)
        return nf_fail(NF_ENOMEM, "no memory for %d files", files);
    data->tokens = (int64_t)(n - (size_t)files * sizeof *data->end);
    memcpy(data->end, data->stream + data->tokens, (size_t)files * sizeof *data->end);
    data->rows = (data->tokens + data->seq_len - 1) / data->seq_len;
    data->segmented = data->tokens % data->seq_len != 0;
    for (size_t i = 0; i < n; i++)
        data->digest = (data->digest ^ ((unsigned char *)bytes)[i]) * 0x100000001b3u + 1;
    return NF_OK;
}
