/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MANIFEST as text: one fact a line, in a fixed order, so that people can read it and a reader can be strict. Numbers that
 * must come back bit for bit (losses, which may be NaN) are written as the bits of a double.
 */
#include "private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int64_t nf_h5_tensor_count(const struct nf_h5_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->nd; i++)
        n *= t->dim[i];
    return n;
}

void nf_h5_manifest_free(struct nf_h5_manifest *m)
{
    for (int i = 0; m->file && i < m->files; i++)
        free(m->file[i].name);
    for (int i = 0; m->tensor && i < m->tensors; i++) {
        free(m->tensor[i].field);
        free(m->tensor[i].name);
    }
    free(m->file);
    free(m->tensor);
    free(m->piece);
    free(m->piece_of);
    *m = (struct nf_h5_manifest){0};
}

bool nf_h5_file_name_ok(const char *name)
{
    const size_t n = strlen(name);
    return n > 0 && n < NF_H5_FILE_NAME_MAX && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n &&
           strcmp(name, "MANIFEST") != 0;
}

static uint64_t bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static void print_meta(const struct nf_h5_manifest *m, nf_str *t)
{
    const struct nf_snapshot_meta *a = &m->meta;
    nf_str_addf(t, "nemafit-snapshot %d\n", NF_SNAPSHOT_FORMAT);
    nf_str_addf(t, "program %s\n", a->program);
    nf_str_addf(t, "run %s\n", m->run);
    nf_str_addf(t, "generation %" PRId64 "\n", a->generation);
    nf_str_addf(t, "step %" PRId64 "\n", a->step);
    nf_str_addf(t, "row %" PRId64 "\n", a->row);
    nf_str_addf(t, "updates %" PRId64 "\n", a->updates);
    nf_str_addf(t, "skipped %" PRId64 "\n", a->skipped);
    nf_str_addf(t, "best_step %" PRId64 "\n", a->best_step);
    nf_str_addf(t, "best_loss %016" PRIx64 "\n", bits(a->best_loss));
    nf_str_addf(t, "last_loss %016" PRIx64 "\n", bits(a->last_loss));
    nf_str_addf(t, "train_seed %" PRIu64 "\n", a->train_seed);
    nf_str_addf(t, "data_seed %" PRIu64 "\n", a->data_seed);
    nf_str_addf(t, "csv_bytes %" PRId64 "\n", a->csv_bytes);
    nf_str_addf(t, "jsonl_bytes %" PRId64 "\n", a->jsonl_bytes);
    nf_str_addf(t, "seconds %016" PRIx64 "\n", bits(a->seconds));
    nf_str_addf(t, "finished %d\n", a->finished);
    nf_str_addf(t, "model %s\n", a->model[0] ? a->model : "-");
    nf_str_addf(t, "data %s\n", a->data[0] ? a->data : "-");
    nf_str_addf(t, "ranks %d\n", a->ranks);
    nf_str_addf(t, "ep %d\n", a->ep);
}

nf_status nf_h5_manifest_print(const struct nf_h5_manifest *m, nf_str *t)
{
    struct nf_sha256 sha;
    char hex[65];
    print_meta(m, t);
    nf_str_addf(t, "files %d\n", m->files);
    for (int i = 0; i < m->files; i++)
        nf_str_addf(t, "file %" PRIu64 " %08x %s\n", m->file[i].size, (unsigned)m->file[i].crc, m->file[i].name);
    nf_str_addf(t, "tensors %d\n", m->tensors);
    for (int i = 0; i < m->tensors; i++) {
        const struct nf_h5_tensor *a = &m->tensor[i];
        nf_str_addf(t, "tensor %s %s %d", a->field, nf_dtype_name(a->dtype), a->nd);
        for (int d = 0; d < a->nd; d++)
            nf_str_addf(t, " %" PRId64, a->dim[d]);
        nf_str_addf(t, " %s\n", a->name);
    }
    nf_str_addf(t, "pieces %" PRId64 "\n", m->pieces);
    for (int64_t i = 0; i < m->pieces; i++) {
        const struct nf_h5_piece *p = &m->piece[i];
        nf_str_addf(t, "piece %d %d %" PRId64 " %" PRId64 " %" PRIu64 " %08x\n", p->tensor, p->file, p->first, p->count, p->at,
                    (unsigned)p->crc);
    }
    if (!t->failed) {
        nf_sha256_start(&sha);
        nf_sha256_add(&sha, t->text, t->len);
        nf_sha256_end(&sha, hex);
        nf_str_addf(t, "sha256 %s\n", hex);
    }
    return t->failed ? nf_fail(NF_ENOMEM, "no memory for the MANIFEST of a snapshot") : NF_OK;
}
