/* SPDX-License-Identifier: Apache-2.0 */
#define H5_USE_110_API 1
#include "h5make.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t rows_of(const struct h5_spec *s)
{
    return s->rows < 0 ? 0 : s->rows ? s->rows : H5_ROWS;
}

static int64_t len_of(const struct h5_spec *s)
{
    return s->len ? s->len : H5_LEN;
}

int32_t h5_id(const struct h5_spec *s, int64_t row, int64_t t)
{
    return (int32_t)((s->first + 17 * row + 3 * t + t * t) % H5_VOCAB);
}

int32_t h5_label(const struct h5_spec *s, int64_t row, int64_t t)
{
    if (s->masked || h5_segment(s, row, t) == 0)
        return -100;
    if (s->shifted)
        return t + 1 < len_of(s) ? h5_id(s, row, t + 1) : -100;
    return (row + t) % 3 ? h5_id(s, row, t) : -100;
}

/* Row r: 3 places of segment 1, then 2, the last r % 3 places padding. */
int32_t h5_segment(const struct h5_spec *s, int64_t row, int64_t t)
{
    return !s->segments ? 1 : t >= len_of(s) - row % 3 ? 0 : t < 3 ? 1 : 2;
}

/* ---- arrays ---------------------------------------------------------------------------------------------------------- */

static hid_t type_of(enum h5_type type)
{
    hid_t t;
    switch (type) {
    case H5_I32_BIG: return H5Tcopy(H5T_STD_I32BE);
    case H5_I16: return H5Tcopy(H5T_STD_I16LE);
    case H5_U32: return H5Tcopy(H5T_STD_U32LE);
    case H5_I64: return H5Tcopy(H5T_STD_I64LE);
    case H5_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case H5_RAGGED: return H5Tvlen_create(H5T_STD_I32LE);
    case H5_TEXT:
        t = H5Tcopy(H5T_C_S1);
        H5Tset_size(t, 4);
        return t;
    case H5_PAIR:
        t = H5Tcreate(H5T_COMPOUND, 4);
        H5Tinsert(t, "a", 0, H5T_STD_I16LE);
        H5Tinsert(t, "b", 2, H5T_STD_I16LE);
        return t;
    default: return H5Tcopy(H5T_STD_I32LE);
    }
}

static bool virtual_source(hid_t how, hid_t space)
{
    return H5Pset_virtual(how, space, "elsewhere.h5", "/input_ids", space) >= 0;
}

/* Values, or of types that integers do not convert to, nothing. */
static bool put(hid_t file, const char *name, int rank, const hsize_t *dim, enum h5_type type, enum h5_how layout,
                const int32_t *value)
{
    const hid_t how = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(rank, dim, NULL), disk = type_of(type);
    bool good = how >= 0 && space >= 0 && disk >= 0;
    const hsize_t chunk[2] = {2, dim[1] < 4 ? dim[1] : 4};
    if (layout == H5_CHUNKS || layout == H5_DEFLATE)
        good &= H5Pset_chunk(how, rank, chunk) >= 0;
    if (layout == H5_DEFLATE)
        good &= H5Pset_deflate(how, 1) >= 0;
    if (layout == H5_COMPACT_)
        good &= H5Pset_layout(how, H5D_COMPACT) >= 0;
    if (layout == H5_EXTERNAL)
        good &= H5Pset_external(how, "/etc/os-release", 0, H5F_UNLIMITED) >= 0;
    if (layout == H5_VIRTUAL_)
        good &= virtual_source(how, space);
    const hid_t set = H5Dcreate2(file, name, disk, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set < 0)
        fprintf(stderr, "%s: not made\n", name);
    good &= set >= 0;
    const bool holds = layout == H5_PLAIN || layout == H5_CHUNKS || layout == H5_DEFLATE || layout == H5_COMPACT_;
    if (good && holds && H5Tget_class(disk) <= H5T_FLOAT && H5Sget_simple_extent_npoints(space) > 0)
        good &= H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0;
    H5Dclose(set);
    H5Tclose(disk);
    H5Sclose(space);
    H5Pclose(how);
    return good;
}

static bool put_or_link(hid_t file, const char *name, int rank, const hsize_t *dim, enum h5_type type, enum h5_how how,
                        const int32_t *value)
{
    char other[64];
    snprintf(other, sizeof other, "real_%s", name);
    switch (how) {
    case H5_ABSENT: return true;
    case H5_DANGLING: return H5Lcreate_soft("/nowhere", file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    case H5_OUTSIDE: return H5Lcreate_external("elsewhere.h5", "/x", file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    case H5_GROUP: return H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0;
    case H5_LINKED: return H5Lcreate_hard(file, "input_ids", file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    case H5_SOFT:
        return put(file, other, rank, dim, type, H5_PLAIN, value) &&
               H5Lcreate_soft(other, file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    default: return put(file, name, rank, dim, type, how, value);
    }
}

static bool put_flat(hid_t file, const char *name, hid_t disk, hid_t memory, hsize_t n, const void *value)
{
    const hid_t space = H5Screate_simple(1, &n, NULL);
    const hid_t set = H5Dcreate2(file, name, disk, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = set >= 0 && H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0;
    H5Dclose(set);
    H5Sclose(space);
    return good;
}

/* Id i spells one letter, from 'a' on; id 30 two bytes of an e with acute, id 31 a line end. Two prompts: "abc" and 4 ids. */
static bool put_pieces(hid_t file, const struct h5_spec *s)
{
    uint8_t bytes[H5_VOCAB + 1];
    int64_t offset[H5_VOCAB + 1], n = 0;
    for (int i = 0; i < H5_VOCAB; i++) {
        offset[i] = n;
        if (i == 30)
            bytes[n++] = 0xc3;
        bytes[n++] = i == 30 ? 0xa9 : i == 31 ? '\n' : (uint8_t)('a' + i % 26);
    }
    offset[H5_VOCAB] = n;
    if (s->piece_offset.set)
        offset[s->piece_offset.at] = s->piece_offset.value;
    return put_flat(file, "pieces", H5T_STD_U8LE, H5T_NATIVE_UINT8, (hsize_t)n, bytes) &&
           (s->no_offsets || put_flat(file, "piece_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, H5_VOCAB + 1, offset));
}

static bool put_prompts(hid_t file, const struct h5_spec *s)
{
    int32_t id[] = {0, 1, 2, 30, 31, 5, 49};
    int64_t offset[] = {0, 3, 7};
    if (s->prompt.set)
        id[s->prompt.at] = (int32_t)s->prompt.value;
    if (s->prompt_offset.set)
        offset[s->prompt_offset.at] = s->prompt_offset.value;
    return put_flat(file, "prompts", H5T_STD_I32LE, H5T_NATIVE_INT32, 7, id) &&
           put_flat(file, "prompt_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 3, offset);
}

/* ---- attributes ------------------------------------------------------------------------------------------------------ */

static bool attribute(hid_t file, const char *name, hid_t disk, hid_t memory, hsize_t n, const void *value)
{
    const hid_t space = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &n, NULL);
    const hid_t a = H5Acreate2(file, name, disk, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = a >= 0 && H5Awrite(a, memory, value) >= 0;
    H5Aclose(a);
    H5Sclose(space);
    return good;
}

static bool text_attribute(hid_t file, const char *name, enum h5_attribute kind, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, kind == H5_VARIABLE ? H5T_VARIABLE : strlen(text) + 1);
    const bool good = attribute(file, name, type, type, 1, kind == H5_VARIABLE ? (const void *)&text : (const void *)text);
    H5Tclose(type);
    return good;
}

static bool put_attributes(hid_t file, const struct h5_spec *s)
{
    static const char good_one[] = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef";
    const int64_t vocab[2] = {s->vocab ? s->vocab : H5_VOCAB, 1};
    const char *tokenizer = s->tokenizer ? s->tokenizer : good_one;
    bool good = true;
    if (s->vocab_kind == H5_VARIABLE)
        good &= text_attribute(file, "vocab_size", H5_VARIABLE, "50");
    else if (s->vocab_kind != H5_NO_ATTRIBUTE)
        good &= attribute(file, "vocab_size", H5T_STD_I64LE, H5T_NATIVE_INT64, s->vocab_kind == H5_TWO ? 2 : 1, vocab);
    if (s->tokenizer_kind == H5_AS_INTEGER)
        good &= attribute(file, "tokenizer_sha256", H5T_STD_I64LE, H5T_NATIVE_INT64, 1, vocab);
    else if (s->tokenizer_kind != H5_NO_ATTRIBUTE)
        good &= text_attribute(file, "tokenizer_sha256", s->tokenizer_kind, tokenizer);
    return good;
}

/* ---- the file -------------------------------------------------------------------------------------------------------- */

static bool more_links(hid_t file, const struct h5_spec *s)
{
    bool good = true;
    char name[32];
    for (int i = 0; i < 5000 && s->many_links && good; i++) {
        snprintf(name, sizeof name, "link%d", i);
        good = H5Lcreate_soft("/x", file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0;
    }
    if (s->odd_name)
        good &= H5Lcreate_soft("/x", file, "od\x1b[31md", H5P_DEFAULT, H5P_DEFAULT) >= 0;
    return good;
}

bool h5_make(const char *path, const struct h5_spec *s)
{
    const int64_t rows = rows_of(s), len = len_of(s);
    static int32_t ids[H5_VALUES_MAX], labels[H5_VALUES_MAX], segment[H5_VALUES_MAX];
    const bool filled = rows * len <= H5_VALUES_MAX; /* else a shape without storage */
    for (int64_t i = 0; filled && i < rows * len; i++) {
        ids[i] = h5_id(s, i / len, i % len);
        labels[i] = h5_label(s, i / len, i % len);
        segment[i] = h5_segment(s, i / len, i % len);
    }
    if (s->id.set)
        ids[s->id.at] = (int32_t)s->id.value;
    if (s->label.set)
        labels[s->label.at] = (int32_t)s->label.value;
    if (s->segment.set)
        segment[s->segment.at] = (int32_t)s->segment.value;
    const hsize_t dim[3] = {(hsize_t)rows, (hsize_t)len, 1}, dim_flat[2] = {(hsize_t)(rows * len), 1};
    const hsize_t dim_labels[2] = {(hsize_t)(s->labels_rows ? s->labels_rows : rows), (hsize_t)len};
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (s->latest)
        H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    bool good = file >= 0;
    good &= put_or_link(file, "input_ids", s->ids_rank ? s->ids_rank : 2, s->ids_rank == 1 ? dim_flat : dim, s->ids_type,
                        filled || s->ids_how ? s->ids_how : H5_UNWRITTEN, ids);
    good &= put_or_link(file, "labels", 2, dim_labels, s->labels_type, filled || s->labels_how ? s->labels_how : H5_UNWRITTEN,
                        labels);
    if (s->segments)
        good &= put(file, "segment_ids", 2, dim, H5_I32, H5_PLAIN, segment);
    if (s->pieces)
        good &= put_pieces(file, s);
    if (s->prompts)
        good &= put_prompts(file, s);
    good &= put_attributes(file, s) && more_links(file, s);
    good &= H5Fclose(file) >= 0;
    H5Pclose(access);
    return good;
}

bool h5_from_text(const char *path, const char *text, int64_t len)
{
    FILE *f = fopen(text, "rb");
    int64_t n = 0, c = 0;
    if (!f || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 1)
        return false;
    rewind(f);
    const int64_t rows = (n + 1 + len - 1) / len, count = rows * len;
    int32_t *ids = malloc((size_t)(3 * count) * sizeof *ids), *labels = ids + count, *segment = labels + count;
    for (int64_t i = 0; ids && i < count; i++) {
        c = i < n ? fgetc(f) : 256;
        ids[i] = (int32_t)c;
        labels[i] = i <= n ? ids[i] : -100;
        segment[i] = i <= n;
    }
    fclose(f);
    const hsize_t dim[2] = {(hsize_t)rows, (hsize_t)len};
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    bool good = ids && file >= 0 && put(file, "input_ids", 2, dim, H5_I32, H5_PLAIN, ids) &&
                put(file, "labels", 2, dim, H5_I32, H5_PLAIN, labels) &&
                put(file, "segment_ids", 2, dim, H5_I32, H5_PLAIN, segment);
    good &= H5Fclose(file) >= 0;
    free(ids);
    return good;
}
