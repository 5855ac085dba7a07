/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ids of an HDF5 data set spell (/pieces, the bytes of all ids behind one another; /piece_offsets, where each begins),
 * and prompts that its tokenizer has turned into ids (/prompts, /prompt_offsets). Text is never turned into ids here: pieces
 * alone do not tell how a tokenizer cuts a text, so a prompt is one that was stored.
 */
#include "stored.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_MAX_MIB = 1024 };

/* Offsets of `count` ranges over an array of `total` elements. */
static nf_status load_offsets(const struct nf_stored_file *file, enum nf_stored_name name, int64_t total, int64_t **offset)
{
    const int64_t n = file->layout.array[name].rows;
    char shown[280];
    nf_str_shown(shown, file->path, strlen(file->path));
    int64_t *o = malloc((size_t)n * sizeof *o);
    if (!o)
        return nf_fail(NF_ENOMEM, "%s: no memory for %" PRId64 " offsets", shown, n);
    nf_status status = nf_stored_elements(file, name, 0, n, o);
    for (int64_t i = 0; i < n && status == NF_OK; i++) {
        const int64_t low = i ? o[i - 1] : 0, high = i ? total : 0;
        if (o[i] < low || o[i] > high)
            status = nf_fail(NF_EDATA, "%s: H5-25: /%s[%" PRId64 "] is %" PRId64 ", expected %" PRId64 " to %" PRId64, shown,
                             nf_stored_name[name], i, o[i], low, high);
    }
    if (status == NF_OK && o[n - 1] != total)
        status = nf_fail(NF_EDATA, "%s: H5-25: the last of /%s is %" PRId64 ", expected %" PRId64 ", the length of /%s", shown,
                         nf_stored_name[name], o[n - 1], total, nf_stored_name[name - 1]);
    if (status != NF_OK) {
        free(o);
        return status;
    }
    *offset = o;
    return NF_OK;
}

static nf_status load_array(const struct nf_stored_file *file, enum nf_stored_name name, void **out)
{
    const int64_t n = file->layout.array[name].rows;
    const size_t bytes = (size_t)n * nf_stored_width(name);
    char shown[280];
    if (bytes > (size_t)PIECES_MAX_MIB << 20)
        return nf_fail(NF_EDATA, "%s: H5-19: /%s: more than %d MiB", nf_str_shown(shown, file->path, strlen(file->path)),
                       nf_stored_name[name], PIECES_MAX_MIB);
    *out = malloc(bytes);
    if (!*out)
        return nf_fail(NF_ENOMEM, "no memory for /%s", nf_stored_name[name]);
    return nf_stored_elements(file, name, 0, n, *out);
}

static nf_status check_prompts(const struct nf_stored_set *set, const struct nf_stored_file *file)
{
    char shown[280];
    nf_str_shown(shown, file->path, strlen(file->path));
    for (int64_t i = 0; i < set->prompts; i++)
        if (set->prompt_offset[i + 1] == set->prompt_offset[i])
            return nf_fail(NF_EDATA, "%s: H5-25: /prompts: prompt %" PRId64 " is empty", shown, i);
    for (int64_t i = 0; i < set->prompt_offset[set->prompts]; i++)
        if (set->prompt[i] < 0 || set->prompt[i] >= set->vocab)
            return nf_fail(NF_EDATA, "%s: H5-14: /prompts[%" PRId64 "] is %d, expected 0 to %" PRId64 " (the vocabulary)",
                           shown, i, (int)set->prompt[i], set->vocab - 1);
    return NF_OK;
}

nf_status nf_stored_pieces_load(struct nf_stored_set *set)
{
    for (int i = 0; i < set->files; i++) {
        const struct nf_stored_file *file = &set->file[i];
        const struct nf_stored_array *a = file->layout.array;
        if (a[H5_PIECES].rows && !set->piece) {
            NF_TRY(load_array(file, H5_PIECES, (void **)&set->piece));
            NF_TRY(load_offsets(file, H5_PIECE_OFFSETS, a[H5_PIECES].rows, &set->piece_offset));
            set->pieces = a[H5_PIECE_OFFSETS].rows - 1;
        }
        if (a[H5_PROMPTS].rows && !set->prompt) {
            NF_TRY(load_array(file, H5_PROMPTS, (void **)&set->prompt));
            NF_TRY(load_offsets(file, H5_PROMPT_OFFSETS, a[H5_PROMPTS].rows, &set->prompt_offset));
            set->prompts = a[H5_PROMPT_OFFSETS].rows - 1;
            NF_TRY(check_prompts(set, file));
        }
    }
    return NF_OK;
}

bool nf_stored_piece(const nf_dataset *data, int32_t id, nf_str *bytes)
{
    const struct nf_stored_set *set = data->h5;
    if (id < 0 || id >= set->pieces)
        return false;
    nf_str_addn(bytes, (const char *)set->piece + set->piece_offset[id],
                (size_t)(set->piece_offset[id + 1] - set->piece_offset[id]));
    return true;
}

/* The bytes of a stored prompt; of ids without a piece, nothing. */
static void spell(const nf_dataset *data, int64_t which, nf_str *bytes)
{
    const struct nf_stored_set *set = data->h5;
    for (int64_t i = set->prompt_offset[which]; i < set->prompt_offset[which + 1]; i++)
        (void)nf_stored_piece(data, set->prompt[i], bytes);
}

/* "#2" is the second prompt. -1: not such a number. */
static int64_t by_number(const char *text, int64_t prompts)
{
    char *end = NULL;
    const long long n = text[0] == '#' && text[1] >= '1' && text[1] <= '9' ? strtoll(text + 1, &end, 10) : 0;
    return end && *end == 0 && n >= 1 && n <= prompts ? n - 1 : -1;
}

int64_t nf_stored_encode(const nf_dataset *data, const char *text, int32_t *ids, int64_t max)
{
    const struct nf_stored_set *set = data->h5;
    int64_t which = by_number(text, set->prompts);
    for (int64_t i = 0; i < set->prompts && which < 0; i++) {
        nf_str bytes = {0};
        spell(data, i, &bytes);
        if (bytes.len == strlen(text) && memcmp(bytes.text, text, bytes.len) == 0)
            which = i;
        nf_str_free(&bytes);
    }
    if (which < 0)
        return -1;
    int64_t n = set->prompt_offset[which + 1] - set->prompt_offset[which];
    n = n < max ? n : max;
    memcpy(ids, set->prompt + set->prompt_offset[which], (size_t)n * sizeof *ids);
    return n;
}

void nf_stored_prompts(const nf_dataset *data, nf_str *out)
{
    const struct nf_stored_set *set = data->h5;
    for (int64_t i = 0; i < set->prompts && i < 8; i++) {
        const int64_t n = set->prompt_offset[i + 1] - set->prompt_offset[i];
        nf_str_addf(out, "%s#%" PRId64 " '", i ? ", " : "", i + 1);
        nf_dataset_decode(data, set->prompt + set->prompt_offset[i], n < 24 ? n : 24, out);
        nf_str_addf(out, "%s'", n < 24 ? "" : "...");
    }
}
