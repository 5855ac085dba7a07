/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Were the ids made with the model's tokenizer? A dataset names its tokenizer by the SHA-256 of tokenizer.json; the model's
 * lies beside its weights, if it has one.
 */
#include "stored.h"

#include "io/hdf5/private.h" /* sha256 */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TOKENIZER_MAX = 1 << 28 };

static nf_status hash_file(const char *path, char hex[65])
{
    char *bytes = NULL;
    size_t n = 0;
    struct nf_sha256 sum;
    NF_TRY(nf_file_read(path, TOKENIZER_MAX, &bytes, &n));
    nf_sha256_start(&sum);
    nf_sha256_add(&sum, bytes, n);
    nf_sha256_end(&sum, hex);
    free(bytes);
    return NF_OK;
}

nf_status nf_stored_tokenizer(const struct nf_stored_set *set, const char *model_dir)
{
    char hex[65], shown[280];
    struct stat st;
    const struct nf_stored_file *file = &set->file[0]; /* the others name the same */
    if (!model_dir || !file->layout.tokenizer[0])
        return NF_OK;
    char *path = nf_path_join(model_dir, "tokenizer.json");
    if (!path)
        return nf_fail(NF_ENOMEM, "no memory for a path");
    const bool there = stat(path, &st) == 0;
    nf_status status = there ? hash_file(path, hex) : NF_OK;
    if (status == NF_OK && there && strcmp(hex, file->layout.tokenizer) != 0)
        status = nf_fail(
            NF_EDATA,
            "%s: H5-24: was made with another tokenizer than the model's: tokenizer_sha256 is %s, expected %s of %s"
            "\n  Hint: make the dataset with this model's tokenizer; if they are known to be alike, remove the attribute",
            nf_str_shown(shown, file->path, strlen(file->path)), file->layout.tokenizer, hex, path);
    free(path);
    return status;
}
