/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.c: the MANIFEST of a snapshot, without its last line, whose checksum would hide everything else from mutations. */
#include "target.h"

#include "io/hdf5/private.h"

#include <string.h>

static const char *const words[] = {"nemafit-snapshot 1\n",
                                    "ranks 1\n",
                                    "ranks 16777216\n",
                                    "files 2\n",
                                    "tensors 1\n",
                                    "pieces 1\n",
                                    "pieces 1152921504606846976\n",
                                    "file 8 00000000 checksums\n",
                                    "file 1000 00000001 rank-00000.h5\n",
                                    "tensor weights fp32 1 6 a\n",
                                    "tensor m bf16 3 2 2 2 b\n",
                                    "tensor v int16 2 9223372036854775807 9223372036854775807 c\n",
                                    "piece 0 0 0 6 0 00000000\n",
                                    "piece 0 0 9223372036854775807 1 0 00000000\n",
                                    "piece 0 0 0 1 9223372036854775807 00000000\n",
                                    "rank-00001.h5",
                                    "../x",
                                    "-1",
                                    "18446744073709551615",
                                    "18446744073709551616",
                                    "00",
                                    " ",
                                    "\n",
                                    "\xff",
                                    NULL};

/* What the reader promises of anything it accepts: plain file names, pieces that tile every tensor and lie inside their files.
 */
static const char *consistent(const struct nf_h5_manifest *m)
{
    int64_t i = 0;
    if (m->meta.ranks < 1 || m->files < m->meta.ranks || m->meta.step < 0 || m->meta.ep < 1)
        return "numbers that cannot be are accepted";
    for (int f = 0; f < m->files; f++)
        if (!nf_h5_file_name_ok(m->file[f].name))
            return "a name that is no plain file name is accepted";
    for (int t = 0; t < m->tensors; t++) {
        const int64_t size = (int64_t)nf_dtype_size(m->tensor[t].dtype), n = nf_h5_tensor_count(&m->tensor[t]);
        int64_t at = 0;
        if (m->piece_of[t] != i)
            return "the table of pieces is wrong";
        for (; i < m->pieces && m->piece[i].tensor == t; i++) {
            const struct nf_h5_piece *p = &m->piece[i];
            if (p->first != at || p->count < 1 || p->count > n - at)
                return "a hole or an overlap is accepted";
            if (p->file < 0 || p->file >= m->meta.ranks || p->at > m->file[p->file].size ||
                (uint64_t)(p->count * size) > m->file[p->file].size - p->at)
                return "a piece beyond its file is accepted";
            at += p->count;
        }
        if (at != n)
            return "a tensor that is not whole is accepted";
    }
    return i == m->pieces && m->piece_of[m->tensors] == i ? NULL : "pieces of no tensor are accepted";
}

static const char *holds(const char *text, size_t n, bool *accepted)
{
    struct nf_h5_manifest m = {0};
    const nf_status status = nf_h5_manifest_body("f", text, n, &m);
    const char *broken = NULL;
    *accepted = status == NF_OK;
    if (status == NF_OK)
        broken = consistent(&m);
    else if (status != NF_ENOMEM && (status != NF_EDATA || strncmp(nf_diagnosis(), "f: ", 3) != 0))
        broken = "refused without words";
    if (!fuzz_printable(nf_diagnosis()))
        broken = "what is said is not printable";
    nf_h5_manifest_free(&m);
    return broken;
}

static const char *const seeds[] = {"fuzz/seeds/manifest", NULL};
const struct fuzz_target fuzz_target = {"manifest", seeds, ".txt", words, holds};
