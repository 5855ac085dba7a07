/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data sets of token ids in HDF5 files. Rank 0 looks into each file and tells all ranks where its arrays lie; every rank opens
 * the files and reads its rows itself, so they lie where all ranks can see them.
 */
#include "stored.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hdf5_close(nf_dataset *data)
{
    struct nf_stored_set *set = data->h5;
    for (int i = 0; i < set->files && set->file; i++)
        if (set->file[i].fd >= 0)
            close(set->file[i].fd);
    for (int i = 0; i < set->path.count; i++)
        free(set->path.item[i]);
    free(set->path.item);
    free(set->file);
    free(set->piece);
    free(set->piece_offset);
    free(set->prompt);
    free(set->prompt_offset);
    free(set);
}

static nf_status hdf5_row(const nf_dataset *data, int64_t row, int32_t *ids, int32_t *labels, int32_t *segment)
{
    const struct nf_stored_file *file = nf_stored_find(data->h5, row);
    return nf_stored_rows(data->h5, file, data->seq_len, row - file->first, 1, ids, labels, segment, NULL);
}

static const struct nf_dataset_ops hdf5_ops = {.name = "hdf5",
                                               .row = hdf5_row,
                                               .piece = nf_stored_piece,
                                               .encode = nf_stored_encode,
                                               .prompts = nf_stored_prompts,
                                               .close = hdf5_close};

/* The data set's own list of names, and a place for each file. */
static nf_status make_set(const nf_strings *files, nf_dataset *data)
{
    struct nf_stored_set *set = calloc(1, sizeof *set);
    if (!set)
        return nf_fail(NF_ENOMEM, "no memory for a data set");
    data->h5 = set;
    data->ops = &hdf5_ops;
    set->path.item = calloc((size_t)files->count, sizeof *set->path.item);
    set->file = calloc((size_t)files->count, sizeof *set->file);
    if (!set->path.item || !set->file)
        return nf_fail(NF_ENOMEM, "no memory for %d files", files->count);
    set->files = files->count;
    for (int i = 0; i < files->count; i++)
        set->file[i].fd = -1;
    for (; set->path.count < files->count; set->path.count++) {
        char *name = strdup(files->item[set->path.count]);
        if (!name)
            return nf_fail(NF_ENOMEM, "no memory for %d files", files->count);
        set->path.item[set->path.count] = name;
        set->file[set->path.count].path = name;
    }
    return NF_OK;
}

/* Rank 0: open and look into all files. */
static nf_status look_into(struct nf_stored_set *set)
{
    for (int i = 0; i < set->files; i++) {
        struct nf_stored_file *f = &set->file[i];
        struct nf_file_id id;
        char shown[280];
        NF_TRY(nf_stored_open_file(f->path, &f->fd, &id));
        NF_TRY(nf_stored_superblock(f->fd, f->path, id.size));
        NF_TRY(nf_stored_fenced(f->fd, f->path, id.size, &f->layout));
        f->layout.dev = id.dev;
        f->layout.ino = id.ino;
        for (int k = 0; k < i; k++)
            if (set->file[k].layout.dev == id.dev && set->file[k].layout.ino == id.ino)
                return nf_fail(NF_EDATA,
                               "%s: H5-30: is given twice, as file %d and file %d of the list"
                               "\n  Hint: train.epochs repeats the data; to weigh one file more, give a copy of it",
                               nf_str_shown(shown, f->path, strlen(f->path)), k + 1, i + 1);
    }
    return NF_OK;
}

/* The other ranks: is it the file that rank 0 has seen? */
static nf_status open_as_told(struct nf_stored_set *set)
{
    for (int i = 0; i < set->files; i++) {
        struct nf_stored_file *f = &set->file[i];
        struct nf_file_id id;
        char shown[280];
        NF_TRY(nf_stored_open_file(f->path, &f->fd, &id));
        if (id.size != f->layout.size)
            return nf_fail(NF_EDATA, "%s: H5-38: has %" PRIu64 " bytes here, %" PRIu64 " on rank 0",
                           nf_str_shown(shown, f->path, strlen(f->path)), id.size, f->layout.size);
    }
    return NF_OK;
}

static nf_status share_layouts(const nf_mesh *mesh, struct nf_stored_set *set)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const bool first = nf_mesh_rank(mesh) == 0;
    NF_TRY(nf_agree(mesh, first ? look_into(set) : NF_OK));
    for (int i = 0; i < set->files; i++)
        NF_TRY(nf_bcast(world, 0, &set->file[i].layout, sizeof set->file[i].layout));
    return nf_agree(mesh, first ? NF_OK : open_as_told(set));
}

/* Do the files fit each other, the model and what was asked for? The same on all ranks. */
static nf_status fit(struct nf_stored_set *set, const struct nf_dataset_arg *arg, nf_dataset *data)
{
    const struct nf_stored_layout *one = &set->file[0].layout;
    set->vocab = arg->vocab;
    data->seq_len = one->array[H5_IDS].cols;
    for (int i = 0; i < set->files; i++) {
        struct nf_stored_file *f = &set->file[i];
        const struct nf_stored_layout *l = &f->layout;
        char shown[280];
        nf_str_shown(shown, f->path, strlen(f->path));
        if (arg->seq_len && l->array[H5_IDS].cols != arg->seq_len)
            return nf_fail(NF_EDATA, "%s: H5-17: /input_ids: rows of %" PRId64 " tokens, expected %" PRId64 ": %s%s", shown,
                           l->array[H5_IDS].cols, arg->seq_len, arg->seq_len_from ? arg->seq_len_from : "data.seq_len",
                           arg->seq_len_from ? "" : "\n  Hint: remove seq_len, the file tells it");
        if (l->array[H5_IDS].cols != data->seq_len)
            return nf_fail(NF_EDATA, "%s: H5-17: /input_ids: rows of %" PRId64 " tokens, expected %" PRId64 " as in %s", shown,
                           l->array[H5_IDS].cols, data->seq_len, set->file[0].path);
        if (l->vocab_size > arg->vocab)
            return nf_fail(NF_EDATA,
                           "%s: H5-24: attribute vocab_size: %" PRId64 ", the model has a vocabulary of %" PRId64
                           "\n  Hint: make the dataset with the tokenizer of this model",
                           shown, l->vocab_size, arg->vocab);
        if (l->vocab_size && l->vocab_size < set->vocab)
            set->vocab = l->vocab_size;
        if (strcmp(l->tokenizer, one->tokenizer) != 0 || l->vocab_size != one->vocab_size)
            return nf_fail(NF_EDATA,
                           "%s: H5-24: was made with another tokenizer than %s: vocab_size %" PRId64 " and %" PRId64
                           ", tokenizer_sha256 '%s' and '%s'",
                           shown, set->file[0].path, l->vocab_size, one->vocab_size, l->tokenizer, one->tokenizer);
        f->first = data->rows;
        data->rows += l->array[H5_IDS].rows; /* each at most 2^60: a file is below 2^63 bytes */
        if (data->rows > INT64_MAX / 4)
            return nf_fail(NF_EDATA, "%s: H5-40: too many rows", shown);
    }
    return NF_OK;
}

static nf_status judge(const struct nf_stored_set *set, const struct nf_stored_sums *sums)
{
    char shown[280];
    nf_str_shown(shown, set->file[0].path, strlen(set->file[0].path));
    const char *more = set->files > 1 ? " and the files after it" : "";
    if (sums->scored == 0)
        return nf_fail(NF_EDATA,
                       "%s%s: H5-28: /labels: no token is scored: there is nothing to learn from"
                       "\n  Hint: a label is the id at its own place, or -100 where nothing is learnt",
                       shown, more);
    if (sums->labels >= 64 && sums->ahead > sums->labels - sums->labels / 50 && sums->same < sums->labels / 2)
        return nf_fail(NF_EDATA,
                       "%s%s: H5-26: /labels are shifted: %" PRId64 " of %" PRId64 " are the id of the next place, %" PRId64
                       " that of their own\n  Hint: store labels aligned with /input_ids; the shift is made here",
                       shown, more, sums->ahead, sums->labels, sums->same);
    return NF_OK;
}

/* A copy of its own on each node may be another one: the first and the last row of each file are compared. */
static nf_status same_on_all(const nf_mesh *mesh, const nf_dataset *data)
{
    struct nf_stored_sums sums = {0};
    const struct nf_stored_set *set = data->h5;
    const int64_t S = data->seq_len;
    int32_t *values = malloc((size_t)(3 * S) * sizeof *values);
    nf_status status = values ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a row of %" PRId64 " tokens", S);
    for (int i = 0; i < 2 * set->files && status == NF_OK; i++) {
        const struct nf_stored_file *f = &set->file[i / 2];
        const int64_t row = i % 2 ? f->layout.array[H5_IDS].rows - 1 : 0;
        status = nf_stored_rows(set, f, S, row, 1, values, values + S, values + 2 * S, &sums);
    }
    free(values);
    NF_TRY(nf_agree(mesh, status));
    return nf_same(mesh, &sums.digest, sizeof sums.digest, "H5-38: the contents of the HDF5 files");
}

nf_status nf_hdf5_open(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset *data)
{
    struct nf_stored_sums sums;
    if (!arg->files || arg->files->count == 0)
        return nf_fail(NF_EUSAGE, "data.format = 'hdf5': no file is given");
    NF_CHECK(arg->vocab > 0 && arg->vocab <= INT32_MAX);
    NF_TRY(nf_agree(mesh, make_set(arg->files, data)));
    NF_TRY(share_layouts(mesh, data->h5));
    NF_TRY(nf_agree(mesh, nf_mesh_rank(mesh) == 0 ? nf_stored_tokenizer(data->h5, arg->model_dir) : NF_OK));
    NF_TRY(fit(data->h5, arg, data));
    NF_TRY(nf_stored_scan(mesh, data->h5, data->rows, data->seq_len, &sums));
    NF_TRY(judge(data->h5, &sums));
    NF_TRY(same_on_all(mesh, data));
    data->segmented = sums.packed > 0;
    data->digest = sums.digest;
    return nf_agree(mesh, nf_stored_pieces_load(data->h5));
}
