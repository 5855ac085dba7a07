/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libhdf5 is asked of a file: where the arrays of a dataset lie, and its attributes. Only called in the child process of
 * fence.c, which ends with the answer: nothing is closed. Every return code is looked at. Plug-ins are off, and once the file
 * is open no further file can be opened, so neither external storage nor a link leads out of it.
 */
#define _GNU_SOURCE
#define H5_USE_110_API 1
#include "stored.h"

#include <hdf5.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <errno.h>

enum { LINKS_MAX = 4096, LISTED_MAX = 12, VOCAB_MAX = INT32_MAX };

struct look {
    const char *path; /* safe to print */
    uint64_t size;
    hid_t file;
    int found[H5_NAMES]; /* links of that name */
    H5L_type_t link[H5_NAMES];
    int64_t links;
    nf_str listed;
};

/* ---- what the library says ------------------------------------------------------------------------------------------- */

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *text)
{
    (void)n;
    snprintf(text, 200, "%s", e->desc ? e->desc : "");
    return 0;
}

/* The library could not do what a whole file allows. */
static nf_status damaged(const struct look *l, const char *object, const char *what)
{
    char text[200] = "", shown[280];
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, innermost, text);
    return nf_fail(NF_EDATA, "%s: H5-34: %s: the HDF5 library cannot read %s: %s\n  Hint: make or copy the file again", l->path,
                   object, what, nf_str_shown(shown, text, strlen(text)));
}

static const char *type_text(char out[96], hid_t type)
{
    static const char *const classes[] = {"integers",     "floats",           "times",     "strings",
                                          "bit fields",   "opaque values",    "compounds", "references",
                                          "enumerations", "variable lengths", "arrays"};
    const H5T_class_t class = H5Tget_class(type);
    const size_t bits = 8 * H5Tget_size(type);
    const char *name =
        class >= 0 && (size_t) class < sizeof classes / sizeof *classes ? classes[class] : "values of an unknown type";
    if (class == H5T_INTEGER)
        snprintf(out, 96, "%s %zu-bit integers%s", H5Tget_sign(type) == H5T_SGN_NONE ? "unsigned" : "signed", bits,
                 H5Tget_precision(type) == bits ? "" : " of lower precision");
    else if (class == H5T_FLOAT)
        snprintf(out, 96, "%zu-bit floats", bits);
    else
        snprintf(out, 96, "%s", name);
    return out;
}

/* ---- links of the root group ----------------------------------------------------------------------------------------- */

static herr_t see_link(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    struct look *l = data;
    char shown[280];
    (void)group;
    for (int i = 0; i < H5_NAMES; i++)
        if (strcmp(name, nf_stored_name[i]) == 0) {
            l->found[i]++;
            l->link[i] = info->type;
        }
    if (l->links < LISTED_MAX)
        nf_str_addf(&l->listed, "%s/%s", l->links ? ", " : "", nf_str_shown(shown, name, strlen(name)));
    else if (l->links == LISTED_MAX)
        nf_str_add(&l->listed, ", ...");
    return ++l->links > LINKS_MAX ? 1 : 0;
}

static nf_status list_links(struct look *l)
{
    const herr_t ended = H5Literate(l->file, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, see_link, l);
    if (ended < 0)
        return damaged(l, "/", "its list of links");
    if (ended > 0)
        return nf_fail(NF_EDATA, "%s: H5-32: more than %d links in /, expected a handful", l->path, LINKS_MAX);
    for (int i = 0; i < H5_NAMES; i++) {
        if (l->found[i] > 1)
            return nf_fail(NF_EDATA, "%s: H5-30: /%s: %d links of that name, expected one", l->path, nf_stored_name[i],
                           l->found[i]);
        if (l->found[i] && l->link[i] != H5L_TYPE_HARD)
            return nf_fail(NF_EDATA,
                           "%s: H5-%s: /%s: is %s link, expected the dataset itself\n  Hint: store the data in this file",
                           l->path, l->link[i] == H5L_TYPE_SOFT ? "07" : "06", nf_stored_name[i],
                           l->link[i] == H5L_TYPE_SOFT ? "a soft" : "an external");
    }
    const char *here = l->listed.text ? l->listed.text : "nothing";
    if (!l->found[H5_IDS])
        return nf_fail(NF_EDATA,
                       "%s: H5-22: /input_ids is missing: found %s"
                       "\n  Hint: scripts/nemafit-tokenize makes such files: int32 /input_ids and /labels, [rows, seq_len]",
                       l->path, here);
    if (!l->found[H5_LABELS])
        return nf_fail(
            NF_EDATA,
            "%s: H5-22: /labels is missing: found %s"
            "\n  Hint: /labels is aligned with /input_ids, -100 where nothing is learnt; to learn from every token, link it:"
            " f['labels'] = f['input_ids'] in h5py",
            l->path, here);
    for (int i = H5_PIECES; i < H5_NAMES; i += 2)
        if (!l->found[i] != !l->found[i + 1])
            return nf_fail(NF_EDATA, "%s: H5-25: /%s is there, but /%s is missing", l->path,
                           nf_stored_name[l->found[i] ? i : i + 1], nf_stored_name[l->found[i] ? i + 1 : i]);
    return NF_OK;
}

/* ---- arrays ---------------------------------------------------------------------------------------------------------- */

static nf_status check_storage(const struct look *l, const char *name, hid_t set)
{
    const hid_t how = H5Dget_create_plist(set);
    const H5D_layout_t layout = how < 0 ? H5D_LAYOUT_ERROR : H5Pget_layout(how);
    const char *hint = "\n  Hint: h5repack -l CONTI -f NONE OLD NEW; in h5py, neither chunks nor compression";
    if (layout == H5D_CHUNKED) {
        unsigned flags, config;
        size_t values = 0;
        char filter[64] = "", shown[280];
        const int filters = H5Pget_nfilters(how);
        if (filters > 0 && H5Pget_filter2(how, 0, &flags, &values, NULL, sizeof filter - 1, filter, &config) < 0)
            return damaged(l, name, "its filters");
        if (filters > 0)
            return nf_fail(NF_EDATA, "%s: H5-10: %s: is stored through the filter '%s', expected plain contiguous values%s",
                           l->path, name, nf_str_shown(shown, filter, strlen(filter)), hint);
        return nf_fail(NF_EDATA, "%s: H5-11: %s: is stored in chunks, expected contiguous values%s", l->path, name, hint);
    }
    if (layout == H5D_VIRTUAL)
        return nf_fail(NF_EDATA, "%s: H5-09: %s: is a virtual dataset of other files, expected the values themselves%s",
                       l->path, name, hint);
    if (layout == H5D_COMPACT)
        return nf_fail(NF_EDATA, "%s: H5-11: %s: is stored within its header (compact), expected contiguous values%s", l->path,
                       name, hint);
    if (layout != H5D_CONTIGUOUS)
        return damaged(l, name, "its layout");
    const int external = H5Pget_external_count(how);
    if (external < 0)
        return damaged(l, name, "its storage");
    if (external > 0)
        return nf_fail(NF_EDATA, "%s: H5-05: %s: is stored in %d other file%s (external storage), expected in this one",
                       l->path, name, external, external == 1 ? "" : "s");
    return NF_OK;
}

static nf_status check_type(const struct look *l, const char *name, hid_t set, enum nf_stored_name which, bool *swapped)
{
    const hid_t type = H5Dget_type(set);
    const size_t width = nf_stored_width(which);
    char found[96];
    if (type < 0)
        return damaged(l, name, "its type");
    const H5T_sign_t sign = width == 1 ? H5T_SGN_NONE : H5T_SGN_2;
    const H5T_order_t order = H5Tget_order(type);
    if (H5Tget_class(type) != H5T_INTEGER || H5Tget_size(type) != width || H5Tget_sign(type) != sign ||
        H5Tget_precision(type) != 8 * width || H5Tget_offset(type) != 0)
        return nf_fail(NF_EDATA, "%s: H5-%s: %s: expected %s, found %s%s", l->path,
                       H5Tget_class(type) == H5T_INTEGER ? "16" : "12", name,
                       width == 1   ? "unsigned 8-bit integers"
                       : width == 4 ? "signed 32-bit integers"
                                    : "signed 64-bit integers",
                       type_text(found, type), width == 4 ? "\n  Hint: in h5py, dtype='int32'" : "");
    if (width > 1 && order != H5T_ORDER_LE && order != H5T_ORDER_BE)
        return nf_fail(NF_EDATA, "%s: H5-15: %s: its byte order is neither little nor big-endian", l->path, name);
    *swapped = width > 1 && order == H5T_ORDER_BE;
    return NF_OK;
}

static nf_status check_shape(const struct look *l, const char *name, hid_t set, enum nf_stored_name which,
                             struct nf_stored_array *a)
{
    const int wanted = which <= H5_SEGMENT ? 2 : 1;
    const hid_t space = H5Dget_space(set);
    const int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    hsize_t dim[H5S_MAX_RANK] = {0};
    if (rank < 0)
        return damaged(l, name, "its shape");
    if (rank != wanted)
        return nf_fail(NF_EDATA, "%s: H5-17: %s: expected %s, found %d dimension%s", l->path, name,
                       wanted == 2 ? "2 dimensions [rows, seq_len]" : "1 dimension", rank, rank == 1 ? "" : "s");
    if (H5Sget_simple_extent_dims(space, dim, NULL) < 0)
        return damaged(l, name, "its shape");
    const uint64_t rows = dim[0], cols = wanted == 2 ? dim[1] : 1, width = nf_stored_width(which);
    if (rows == 0 || cols == 0)
        return nf_fail(NF_EDATA, "%s: H5-18: %s: is empty: [%" PRIu64 ", %" PRIu64 "]", l->path, name, rows, cols);
    if (wanted == 2 && cols < 2)
        return nf_fail(NF_EDATA, "%s: H5-18: %s: rows of one token, expected 2 or more: the first has no target of its own",
                       l->path, name);
    if (rows > l->size / width || cols > l->size / width / rows)
        return nf_fail(NF_EDATA,
                       "%s: H5-19: %s: [%" PRIu64 ", %" PRIu64 "] values of %" PRIu64
                       " bytes do not fit into a file of %" PRIu64 " bytes",
                       l->path, name, rows, cols, width, l->size);
    a->rows = (int64_t)rows;
    a->cols = (int64_t)cols;
    return NF_OK;
}

static nf_status check_place(const struct look *l, const char *name, hid_t set, enum nf_stored_name which,
                             struct nf_stored_array *a)
{
    const uint64_t bytes = (uint64_t)a->rows * (uint64_t)a->cols * nf_stored_width(which);
    const haddr_t at = H5Dget_offset(set);
    if (at == HADDR_UNDEF)
        return nf_fail(NF_EDATA, "%s: H5-20: %s: was never written: it has a shape, but no storage", l->path, name);
    if (H5Dget_storage_size(set) != bytes)
        return nf_fail(NF_EDATA, "%s: H5-19: %s: expected %" PRIu64 " bytes of storage, found %" PRIu64, l->path, name, bytes,
                       (uint64_t)H5Dget_storage_size(set));
    if (at > l->size || bytes > l->size - at)
        return nf_fail(NF_EDATA, "%s: H5-02: %s: bytes %" PRIu64 " to %" PRIu64 " of a file of %" PRIu64 " bytes", l->path,
                       name, (uint64_t)at, (uint64_t)at + bytes, l->size);
    a->at = at;
    return NF_OK;
}

static nf_status look_at(const struct look *l, enum nf_stored_name which, struct nf_stored_array *a)
{
    char name[32];
    snprintf(name, sizeof name, "/%s", nf_stored_name[which]);
    if (!l->found[which])
        return NF_OK;
    const hid_t set = H5Oopen(l->file, name, H5P_DEFAULT);
    if (set < 0)
        return damaged(l, name, "its header");
    if (H5Iget_type(set) != H5I_DATASET)
        return nf_fail(NF_EDATA, "%s: H5-22: %s: expected a dataset, found a %s", l->path, name,
                       H5Iget_type(set) == H5I_GROUP ? "group" : "named type");
    NF_TRY(check_storage(l, name, set)); /* first: a virtual dataset looks for its sources when asked for its shape */
    NF_TRY(check_type(l, name, set, which, &a->swapped));
    NF_TRY(check_shape(l, name, set, which, a));
    return check_place(l, name, set, which, a);
}

static nf_status same_shape(const struct look *l, const struct nf_stored_layout *layout, enum nf_stored_name which)
{
    const struct nf_stored_array *ids = &layout->array[H5_IDS], *a = &layout->array[which];
    if (a->rows == 0 || (a->rows == ids->rows && a->cols == ids->cols))
        return NF_OK;
    return nf_fail(NF_EDATA,
                   "%s: H5-26: /%s: expected [%" PRId64 ", %" PRId64 "] as /input_ids, found [%" PRId64 ", %" PRId64 "]",
                   l->path, nf_stored_name[which], ids->rows, ids->cols, a->rows, a->cols);
}

/* ---- attributes ------------------------------------------------------------------------------------------------------ */

static nf_status open_attribute(const struct look *l, const char *name, hid_t *attribute, hid_t *type)
{
    const htri_t there = H5Aexists(l->file, name);
    *attribute = H5I_INVALID_HID;
    if (there < 0)
        return damaged(l, "/", "its attributes");
    if (there == 0)
        return NF_OK;
    *attribute = H5Aopen(l->file, name, H5P_DEFAULT);
    const hid_t space = *attribute < 0 ? H5I_INVALID_HID : H5Aget_space(*attribute);
    *type = *attribute < 0 ? H5I_INVALID_HID : H5Aget_type(*attribute);
    if (space < 0 || *type < 0)
        return damaged(l, "/", name);
    if (H5Sget_simple_extent_npoints(space) != 1)
        return nf_fail(NF_EDATA, "%s: H5-23: attribute %s: expected one value, found %lld", l->path, name,
                       (long long)H5Sget_simple_extent_npoints(space));
    return NF_OK;
}

static nf_status read_vocab_size(const struct look *l, int64_t *vocab)
{
    hid_t attribute, type;
    char found[96];
    long long value = 0;
    NF_TRY(open_attribute(l, "vocab_size", &attribute, &type));
    if (attribute < 0)
        return NF_OK;
    if (H5Tget_class(type) != H5T_INTEGER)
        return nf_fail(NF_EDATA, "%s: H5-23: attribute vocab_size: expected an integer, found %s", l->path,
                       type_text(found, type));
    if (H5Aread(attribute, H5T_NATIVE_LLONG, &value) < 0)
        return damaged(l, "/", "the attribute vocab_size");
    if (value < 1 || value > VOCAB_MAX)
        return nf_fail(NF_EDATA, "%s: H5-23: attribute vocab_size: %lld, expected 1 to %d", l->path, value, VOCAB_MAX);
    *vocab = value;
    return NF_OK;
}

/* The text of a string attribute of fixed or variable length, without padding; "" if it is longer than `size` allows. */
static nf_status read_text(const struct look *l, hid_t attribute, hid_t type, char *text, size_t size)
{
    const htri_t variable = H5Tis_variable_str(type);
    const hid_t memory = H5Tcopy(type);
    char *held = NULL;
    memset(text, 0, size);
    if (variable < 0 || memory < 0)
        return damaged(l, "/", "the attribute tokenizer_sha256");
    if (!variable && H5Tget_size(type) >= size)
        return NF_OK;
    if (H5Aread(attribute, memory, variable ? (void *)&held : (void *)text) < 0)
        return damaged(l, "/", "the attribute tokenizer_sha256");
    if (variable && held && strlen(held) < size)
        snprintf(text, size, "%s", held);
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--) /* Fortran's padding */
        text[n - 1] = 0;
    return NF_OK;
}

static nf_status read_tokenizer(const struct look *l, char out[65])
{
    hid_t attribute, type;
    char found[96], text[256], shown[280];
    NF_TRY(open_attribute(l, "tokenizer_sha256", &attribute, &type));
    if (attribute < 0)
        return NF_OK;
    if (H5Tget_class(type) != H5T_STRING)
        return nf_fail(NF_EDATA, "%s: H5-23: attribute tokenizer_sha256: expected a string, found %s", l->path,
                       type_text(found, type));
    NF_TRY(read_text(l, attribute, type, text, sizeof text));
    if (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64)
        return nf_fail(NF_EDATA, "%s: H5-23: attribute tokenizer_sha256: expected 64 hexadecimal digits, found '%s'", l->path,
                       nf_str_shown(shown, text, strlen(text)));
    for (int i = 0; i < 65; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    return NF_OK;
}

/* ---- the file -------------------------------------------------------------------------------------------------------- */

static nf_status open_quietly(struct look *l, int fd)
{
    char name[64];
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return nf_fail(NF_EDATA, "%s: H5-31: another program has it open for writing\n  Hint: wait until that has ended",
                       l->path);
    (void)flock(fd, LOCK_UN);
    if (setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1) != 0) /* looked at above; some file systems have no locks */
        return nf_fail(NF_ENOMEM, "%s: no memory to open it", l->path);
    (void)H5dont_atexit(); /* refused if the library has been used before; the child ends by _exit in any case */
    if (H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0 || H5PLset_loading_state(0) < 0)
        return nf_fail(NF_EDATA, "%s: the HDF5 library does not start", l->path);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    l->file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (l->file < 0)
        return damaged(l, "/", "the file");
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NOFILE, &none) != 0)
        return nf_fail_errno(errno, l->path, "cannot keep other files out");
    return NF_OK;
}

nf_status nf_stored_inspect(int fd, const char *path, uint64_t size, struct nf_stored_layout *layout)
{
    char shown[280];
    struct look l = {.path = nf_str_shown(shown, path, strlen(path)), .size = size};
    *layout = (struct nf_stored_layout){.size = size};
    NF_TRY(open_quietly(&l, fd));
    NF_TRY(list_links(&l));
    for (int i = 0; i < H5_NAMES; i++)
        NF_TRY(look_at(&l, (enum nf_stored_name)i, &layout->array[i]));
    NF_TRY(same_shape(&l, layout, H5_LABELS));
    NF_TRY(same_shape(&l, layout, H5_SEGMENT));
    NF_TRY(read_vocab_size(&l, &layout->vocab_size));
    return read_tokenizer(&l, layout->tokenizer);
}
