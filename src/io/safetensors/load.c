/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small tensor, whole, as fp32 or int64: reference data of goldens and tests. What it holds is taken as it is.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

static nf_status load(const nf_st *st, const char *name, const struct nf_st_entry **entry, int64_t *count, void **bytes)
{
    char shown[280];
    nf_str_shown(shown, name, strlen(name));
    const struct nf_st_entry *e = nf_st_find(st, name);
    if (!e)
        return nf_fail(NF_EDATA, "%s: there is no tensor '%s'", st->dir, shown);
    void *block = malloc(e->bytes + 1);
    if (!block)
        return nf_fail(NF_ENOMEM, "%s: tensor '%s': no memory for %llu bytes", st->dir, shown, (unsigned long long)e->bytes);
    struct nf_st_reader reader = NF_ST_READER(st);
    const nf_status status = nf_st_reader_get(&reader, e->file, block, (size_t)e->bytes, e->begin);
    nf_st_reader_close(&reader);
    if (status != NF_OK) {
        free(block);
        return status;
    }
    *entry = e;
    *count = nf_st_entry_count(e);
    *bytes = block;
    return NF_OK;
}

nf_status nf_st_load_f32(const nf_st *st, const char *name, float **data, int64_t *count)
{
    const struct nf_st_entry *e;
    struct nf_st_odd odd = {.first = -1};
    void *bytes;
    int64_t n;
    nf_dtype t = NF_F32;
    NF_TRY(load(st, name, &e, &n, &bytes));
    const bool real = nf_st_dtype_float(e->dtype, &t), twice = strcmp(e->dtype, "F64") == 0;
    float *out = real || twice ? malloc((size_t)n * sizeof *out + 1) : NULL;
    if (out && real)
        nf_st_convert(out, NF_F32, bytes, t, n, 0, &odd);
    for (int64_t i = 0; out && twice && i < n; i++)
        out[i] = (float)((const double *)bytes)[i];
    free(bytes);
    if (!real && !twice)
        return nf_fail(NF_EDATA, "%s: tensor '%s': dtype %s cannot be read as fp32", st->dir, name, e->dtype);
    if (!out)
        return nf_fail(NF_ENOMEM, "%s: tensor '%s': no memory", st->dir, name);
    *data = out;
    *count = n;
    return NF_OK;
}

nf_status nf_st_load_i64(const nf_st *st, const char *name, int64_t **data, int64_t *count)
{
    const struct nf_st_entry *e;
    void *bytes;
    int64_t n;
    NF_TRY(load(st, name, &e, &n, &bytes));
    const bool wide = strcmp(e->dtype, "I64") == 0, narrow = strcmp(e->dtype, "I32") == 0;
    const bool byte = strcmp(e->dtype, "U8") == 0 || strcmp(e->dtype, "BOOL") == 0;
    int64_t *out = wide || narrow || byte ? malloc((size_t)n * sizeof *out + 1) : NULL;
    for (int64_t i = 0; out && i < n; i++)
        out[i] = wide ? ((const int64_t *)bytes)[i] : narrow ? ((const int32_t *)bytes)[i] : ((const uint8_t *)bytes)[i];
    free(bytes);
    if (!wide && !narrow && !byte)
        return nf_fail(NF_EDATA, "%s: tensor '%s': dtype %s cannot be read as integers", st->dir, name, e->dtype);
    if (!out)
        return nf_fail(NF_ENOMEM, "%s: tensor '%s': no memory", st->dir, name);
    *data = out;
    *count = n;
    return NF_OK;
}
