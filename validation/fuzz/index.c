/* SPDX-License-Identifier: Apache-2.0 */
/* index.c: model.safetensors.index.json. */
#include "target.h"

#include "io/safetensors/private.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"\"weight_map\":",
                                    "\"metadata\":",
                                    "\"total_size\":",
                                    "\"a\":\"model-00001-of-00002.safetensors\"",
                                    "model-00002-of-00002.safetensors",
                                    ".safetensors",
                                    "-of-",
                                    "../",
                                    "/",
                                    "..",
                                    "\\\\",
                                    "\\u0000",
                                    "\\u002f",
                                    "\\ud800",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "\"",
                                    ",",
                                    ":",
                                    "null",
                                    "1e3",
                                    "-1",
                                    "18446744073709551616",
                                    "\xff",
                                    "\n",
                                    NULL};

static bool is_safe(const char *name)
{
    const size_t n = strlen(name);
    return n >= 13 && n <= 255 && !strchr(name, '/') && !strstr(name, "..") && fuzz_printable(name) && !strchr(name, '\n') &&
           strcmp(name + n - 12, ".safetensors") == 0;
}

static const char *consistent(const struct nf_st_index *index)
{
    if (index->count < 1 || index->shards < 1)
        return "an empty index is accepted";
    for (int i = 0; i < index->shards; i++) {
        if (!is_safe(index->shard[i]))
            return "a shard name that is no plain file name is accepted";
        if (i > 0 && strcmp(index->shard[i - 1], index->shard[i]) >= 0)
            return "shards are not in order, or one is there twice";
    }
    for (int64_t i = 0; i < index->count; i++) {
        if (index->item[i].shard < 0 || index->item[i].shard >= index->shards)
            return "a tensor in no shard";
        if (i > 0 && strcmp(index->item[i - 1].name, index->item[i].name) >= 0)
            return "tensors are not in order, or one is there twice";
    }
    return NULL;
}

static const char *holds(const char *text, size_t n, bool *accepted)
{
    struct nf_st_notes notes = {0};
    struct nf_st_index index;
    const nf_status status = nf_st_index_parse("f", text, n, &notes, &index);
    const char *broken = NULL;
    *accepted = status == NF_OK;
    if (status == NF_OK) {
        broken = consistent(&index);
        nf_st_index_free(&index);
    } else if (status != NF_ENOMEM && (status != NF_EDATA || strncmp(nf_diagnosis(), "f: IX-", 6) != 0)) {
        broken = "refused without a code";
    }
    if (!fuzz_printable(nf_diagnosis()) || (notes.text.text && !fuzz_printable(notes.text.text)))
        broken = "what is said is not printable";
    nf_str_free(&notes.text);
    return broken;
}

static const char *const seeds[] = {"fuzz/seeds/index", NULL};
const struct fuzz_target fuzz_target = {"index", seeds, ".json", words, holds};
