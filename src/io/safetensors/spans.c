/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element types of the format, and how the tensors of a file may lie: one after the other, from the first byte of the data to
 * the last, none shared and none unused. Sorting makes this one pass.
 */
#include "private.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int bits;
} dtypes[] = {
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6},     {"F6_E3M2", 6},     {"U8", 8},      {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E8M0", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},       {"I32", 32},        {"U32", 32},    {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},        {"U64", 64},
};

int nf_st_dtype_bits(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(name, dtypes[i].name) == 0)
            return dtypes[i].bits;
    return 0;
}

bool nf_st_dtype_float(const char *name, nf_dtype *t)
{
    for (nf_dtype i = NF_F32; i <= NF_F16; i++)
        if (strcmp(name, nf_st_dtype_disk(i)) == 0) {
            *t = i;
            return true;
        }
    return false;
}

const char *nf_st_dtype_disk(nf_dtype t)
{
    return t == NF_F32 ? "F32" : t == NF_BF16 ? "BF16" : t == NF_F16 ? "F16" : NULL;
}

static int by_place(const void *a, const void *b)
{
    const struct nf_st_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

nf_status nf_st_spans_check(const char *shown, struct nf_st_entry *entries, int64_t count, uint64_t start, uint64_t file_size)
{
    char a[280], b[280];
    if (count > 0)
        qsort(entries, (size_t)count, sizeof *entries, by_place);
    uint64_t end = start;
    for (int64_t i = 0; i < count; i++) {
        const struct nf_st_entry *e = &entries[i];
        nf_str_shown(a, e->name, strlen(e->name));
        if (e->begin < end) {
            const char *other = entries[i - 1].name;
            return nf_fail(NF_EDATA, "%s: ST-019: tensor '%s': its bytes overlap those of tensor '%s'", shown, a,
                           nf_str_shown(b, other, strlen(other)));
        }
        if (e->begin > end)
            return nf_fail(NF_EDATA, "%s: ST-020: tensor '%s': bytes [%llu, %llu) of the data before it belong to no tensor",
                           shown, a, (unsigned long long)(end - start), (unsigned long long)(e->begin - start));
        end = e->begin + e->bytes;
    }
    for (int64_t i = 0; i < count; i++)
        if (entries[i].begin + entries[i].bytes > file_size)
            return nf_fail(NF_EDATA,
                           "%s: ST-018: tensor '%s': the file ends before it does: %llu bytes are missing\n"
                           "  Hint: the file is cut off; download it again.",
                           shown, nf_str_shown(a, entries[i].name, strlen(entries[i].name)),
                           (unsigned long long)(end - file_size));
    if (end < file_size)
        return nf_fail(NF_EDATA, "%s: ST-021: %llu bytes stand behind the last tensor", shown,
                       (unsigned long long)(file_size - end));
    return NF_OK;
}
