/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of one file: JSON text in, entries out. No byte of it is trusted: products and sums are checked for overflow
 * before they are used, and every entry that is returned lies whole inside the file. The first fault is told, with the byte
 * where it stands.
 */
#include "private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nf_st_codes codes = {.syntax = "ST-006", .utf8 = "ST-005", .depth = "ST-022"};

struct item {
    struct nf_st_entry e; /* begin is relative to the data until the end */
    size_t at;            /* of its name */
};

struct reading {
    struct nf_st_scan s;
    uint64_t file_size;
    struct nf_st_notes *notes;
    struct item *item;
    int64_t count, cap;
    size_t meta_at;
    bool has_meta;
};

/* A tensor being read. */
struct field {
    const char *name; /* escaped */
    size_t at;
    char dtype[12];
    int nd;
    uint64_t dim[NF_ST_RANK_MAX], offset[2];
    bool has[3];
    size_t seen[3]; /* where each field stands */
};
enum { DTYPE, SHAPE, OFFSETS };
static const char *const field_name[3] = {"dtype", "shape", "data_offsets"};

void nf_st_note(struct nf_st_notes *notes, const char *fmt, ...)
{
    if (!notes)
        return;
    if (notes->lines >= 5) {
        notes->dropped++;
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    nf_str_addf(&notes->text, "%s%s", notes->lines++ ? "\n" : "", line);
}

NF_COLD static nf_status fail(const struct reading *r, const struct field *t, const char *code, size_t at, const char *fmt, ...)
    NF_PRINTF(5, 6);
static nf_status fail(const struct reading *r, const struct field *t, const char *code, size_t at, const char *fmt, ...)
{
    char what[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return nf_fail(NF_EDATA, "%s: %s: tensor '%s': %s (header byte %zu)", r->s.file, code, t->name, what, at);
}

static nf_status duplicate(const struct reading *r, const char *key, size_t first, size_t second)
{
    char shown[280];
    return nf_fail(NF_EDATA, "%s: ST-008: key '%s' stands twice (header bytes %zu and %zu)", r->s.file,
                   nf_str_shown(shown, key, strlen(key)), first, second);
}

/* ---- one tensor --------------------------------------------------------------------------------------------------------- */

static nf_status read_dtype(struct reading *r, struct field *t)
{
    struct nf_st_text text;
    char shown[280];
    if (nf_st_scan_peek(&r->s) != '"')
        return fail(r, t, "ST-010", r->s.at, "dtype is not a string");
    NF_TRY(nf_st_scan_string(&r->s, &text));
    if (strlen(text.text) != text.n || nf_st_dtype_bits(text.text) == 0)
        return fail(r, t, "ST-010", text.at,
                    "unknown dtype '%s'; known are BOOL, U8, I8, U16, I16, U32, I32, U64, I64, F16, BF16, F32, F64, C64, F4, "
                    "F6_*, F8_*",
                    nf_str_shown(shown, text.text, text.n));
    memcpy(t->dtype, text.text, text.n + 1);
    return NF_OK;
}

static nf_status read_shape(struct reading *r, struct field *t)
{
    bool first = true, more;
    struct nf_st_number number;
    if (nf_st_scan_peek(&r->s) != '[')
        return fail(r, t, "ST-013", r->s.at, "shape is not an array");
    NF_TRY(nf_st_scan_enter(&r->s, '['));
    for (t->nd = 0;; t->nd++) {
        NF_TRY(nf_st_scan_element(&r->s, &first, &more));
        if (!more)
            return NF_OK;
        if (t->nd == NF_ST_RANK_MAX)
            return fail(r, t, "ST-024", r->s.at, "more than %d dimensions", NF_ST_RANK_MAX);
        const int c = nf_st_scan_peek(&r->s);
        if (c != '-' && (c < '0' || c > '9'))
            return fail(r, t, "ST-013", r->s.at, "dimension %d is not an integer", t->nd);
        NF_TRY(nf_st_scan_number(&r->s, &number));
        const char *why = number.kind == NF_ST_NEGATIVE ? "is negative"
                          : number.kind == NF_ST_REAL   ? "is not an integer"
                          : number.kind == NF_ST_HUGE   ? "does not fit in 64 bits"
                                                        : NULL;
        if (why)
            return fail(r, t, "ST-013", number.at, "dimension %d (%.*s%s) %s", t->nd, (int)(number.n > 24 ? 24 : number.n),
                        r->s.text + number.at, number.n > 24 ? "..." : "", why);
        t->dim[t->nd] = number.value;
    }
}

static nf_status read_offsets(struct reading *r, struct field *t)
{
    bool first = true, more;
    struct nf_st_number number;
    if (nf_st_scan_peek(&r->s) != '[')
        return fail(r, t, "ST-016", r->s.at, "data_offsets is not an array");
    NF_TRY(nf_st_scan_enter(&r->s, '['));
    for (int i = 0;; i++) {
        NF_TRY(nf_st_scan_element(&r->s, &first, &more));
        if (more ? i >= 2 : i != 2)
            return fail(r, t, "ST-016", r->s.at, "data_offsets has %s, not two",
                        more ? "more than two numbers"
                        : i  ? "one number"
                             : "none");
        if (!more)
            return NF_OK;
        const int c = nf_st_scan_peek(&r->s);
        if (c != '-' && (c < '0' || c > '9'))
            return fail(r, t, "ST-016", r->s.at, "data_offsets holds something that is not a number");
        NF_TRY(nf_st_scan_number(&r->s, &number));
        if (number.kind != NF_ST_NATURAL || number.value > INT64_MAX / 2)
            return fail(r, t, "ST-016", number.at, "offset %.*s%s is %s", (int)(number.n > 24 ? 24 : number.n),
                        r->s.text + number.at, number.n > 24 ? "..." : "",
                        number.kind == NF_ST_NEGATIVE ? "negative"
                        : number.kind == NF_ST_REAL   ? "not an integer"
                                                      : "beyond the end of any file");
        t->offset[i] = number.value;
    }
}

/* Bytes that shape and dtype ask for. Zeros are left out of the product first: 0 x 2^70 overflows in either order. */
static nf_status shape_bytes(struct reading *r, const struct field *t, uint64_t *bytes)
{
    uint64_t count = 1, bits;
    bool empty = false, over = false;
    for (int i = 0; i < t->nd; i++) {
        empty |= t->dim[i] == 0;
        over |= t->dim[i] > INT64_MAX;
        if (t->dim[i])
            over |= __builtin_mul_overflow(count, t->dim[i], &count);
    }
    over |= __builtin_mul_overflow(count, (uint64_t)nf_st_dtype_bits(t->dtype), &bits) || count > INT64_MAX;
    if (over)
        return fail(r, t, "ST-014", t->seen[SHAPE], "the size of its shape overflows 64 bits");
    if (empty)
        bits = 0;
    if (bits % 8)
        return fail(r, t, "ST-025", t->seen[SHAPE], "%llu elements of %s do not fill whole bytes", (unsigned long long)count,
                    t->dtype);
    *bytes = bits / 8;
    return NF_OK;
}

static nf_status take(struct reading *r, const struct field *t, const char *name)
{
    for (int i = 0; i < 3; i++)
        if (!t->has[i])
            return fail(r, t, "ST-011", t->at, "'%s' is missing", field_name[i]);
    uint64_t bytes = 0;
    NF_TRY(shape_bytes(r, t, &bytes));
    if (t->offset[1] < t->offset[0])
        return fail(r, t, "ST-017", t->seen[OFFSETS], "data_offsets [%llu, %llu] end before they begin",
                    (unsigned long long)t->offset[0], (unsigned long long)t->offset[1]);
    const uint64_t span = t->offset[1] - t->offset[0];
    if (span != bytes)
        return fail(r, t, "ST-015", t->seen[SHAPE], "shape and dtype need %llu bytes, data_offsets give %llu",
                    (unsigned long long)bytes, (unsigned long long)span);
    if (r->count == NF_ST_TENSORS_MAX)
        return fail(r, t, "ST-028", t->at, "more than %d tensors in one file", NF_ST_TENSORS_MAX);
    if (r->count == r->cap) {
        const int64_t cap = r->cap ? 2 * r->cap : 64;
        struct item *grown = realloc(r->item, (size_t)cap * sizeof *grown);
        if (!grown)
            return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", r->s.file);
        r->item = grown;
        r->cap = cap;
    }
    struct item *item = &r->item[r->count];
    *item = (struct item){.at = t->at, .e = {.name = strdup(name), .nd = t->nd, .begin = t->offset[0], .bytes = bytes}};
    if (!item->e.name)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", r->s.file);
    r->count++;
    memcpy(item->e.dtype, t->dtype, sizeof item->e.dtype);
    for (int i = 0; i < t->nd; i++)
        item->e.dim[i] = (int64_t)t->dim[i];
    return NF_OK;
}

static nf_status read_tensor(struct reading *r, const char *name, size_t at)
{
    char shown[280], key_shown[280];
    struct field t = {.name = nf_str_shown(shown, name, strlen(name)), .at = at};
    struct nf_st_text key;
    bool first = true, more;
    if (nf_st_scan_peek(&r->s) != '{')
        return fail(r, &t, "ST-011", r->s.at, "is not an object with dtype, shape and data_offsets");
    NF_TRY(nf_st_scan_enter(&r->s, '{'));
    for (;;) {
        NF_TRY(nf_st_scan_member(&r->s, &first, &more, &key));
        if (!more)
            return take(r, &t, name);
        int f = 0;
        while (f < 3 && (strlen(field_name[f]) != key.n || memcmp(field_name[f], key.text, key.n) != 0))
            f++;
        if (f == 3) {
            nf_st_note(r->notes, "%s: ST-012: tensor '%s': unknown field '%s' (header byte %zu)", r->s.file, t.name,
                       nf_str_shown(key_shown, key.text, key.n), key.at);
            NF_TRY(nf_st_scan_skip(&r->s));
            continue;
        }
        if (t.has[f])
            return fail(r, &t, "ST-008", key.at, "'%s' stands twice, first at header byte %zu", field_name[f], t.seen[f]);
        t.has[f] = true;
        t.seen[f] = key.at;
        NF_TRY(f == DTYPE ? read_dtype(r, &t) : f == SHAPE ? read_shape(r, &t) : read_offsets(r, &t));
    }
}

/* ---- the whole header --------------------------------------------------------------------------------------------------- */

static nf_status read_metadata(struct reading *r, size_t at)
{
    if (r->has_meta)
        return duplicate(r, "__metadata__", r->meta_at, at);
    r->has_meta = true;
    r->meta_at = at;
    const int c = nf_st_scan_peek(&r->s);
    if (c == 'n') {
        nf_st_note(r->notes, "%s: __metadata__ is null (header byte %zu)", r->s.file, r->s.at);
        return nf_st_scan_skip(&r->s);
    }
    if (c != '{')
        return nf_fail(NF_EDATA, "%s: ST-009: __metadata__ is not an object of strings (header byte %zu)", r->s.file, r->s.at);
    bool first = true, more;
    struct nf_st_text key;
    NF_TRY(nf_st_scan_enter(&r->s, '{'));
    for (;;) {
        NF_TRY(nf_st_scan_member(&r->s, &first, &more, &key));
        if (!more)
            return NF_OK;
        if (nf_st_scan_peek(&r->s) != '"') {
            char shown[280];
            return nf_fail(NF_EDATA, "%s: ST-009: __metadata__: the value of '%s' is not a string (header byte %zu)", r->s.file,
                           nf_str_shown(shown, key.text, key.n), r->s.at);
        }
        NF_TRY(nf_st_scan_skip(&r->s));
    }
}

static nf_status check_name(const struct reading *r, const struct nf_st_text *key)
{
    char shown[280];
    const char *why = key->n == 0 ? "is empty" : key->n > NF_ST_NAME_MAX ? "is longer than 1024 bytes" : NULL;
    for (size_t i = 0; i < key->n && !why; i++)
        if ((unsigned char)key->text[i] < 0x20 || key->text[i] == 0x7f)
            why = "holds a control byte";
    return why ? nf_fail(NF_EDATA, "%s: ST-023: tensor '%s': the name %s (header byte %zu)", r->s.file,
                         nf_str_shown(shown, key->text, key->n), why, key->at)
               : NF_OK;
}

static nf_status read_all(struct reading *r)
{
    struct nf_st_text key;
    bool first = true, more;
    const int c = nf_st_scan_peek(&r->s);
    if (c == '[' || c == '"' || c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n')
        return nf_fail(NF_EDATA, "%s: ST-007: the header must be a JSON object (header byte %zu)", r->s.file, r->s.at);
    NF_TRY(nf_st_scan_enter(&r->s, '{'));
    for (;;) {
        NF_TRY(nf_st_scan_member(&r->s, &first, &more, &key));
        if (!more)
            return nf_st_scan_end(&r->s);
        if (key.n == 12 && memcmp(key.text, "__metadata__", 12) == 0) {
            NF_TRY(read_metadata(r, key.at));
            continue;
        }
        NF_TRY(check_name(r, &key));
        char name[NF_ST_NAME_MAX + 1]; /* the scanner's buffer holds the next string soon */
        memcpy(name, key.text, key.n + 1);
        NF_TRY(read_tensor(r, name, key.at));
    }
}

static int by_name(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    const int order = strcmp(x->e.name, y->e.name);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static nf_status finish(struct reading *r, struct nf_st_entry **entries, int64_t *count)
{
    if (r->count)
        qsort(r->item, (size_t)r->count, sizeof *r->item, by_name);
    for (int64_t i = 1; i < r->count; i++)
        if (strcmp(r->item[i - 1].e.name, r->item[i].e.name) == 0)
            return duplicate(r, r->item[i].e.name, r->item[i - 1].at, r->item[i].at);
    struct nf_st_entry *list = malloc((size_t)(r->count + 1) * sizeof *list);
    if (!list)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table of tensors", r->s.file);
    const uint64_t start = 8 + (uint64_t)r->s.n;
    for (int64_t i = 0; i < r->count; i++) {
        list[i] = r->item[i].e;
        list[i].begin += start;
    }
    const nf_status status = nf_st_spans_check(r->s.file, list, r->count, start, r->file_size);
    if (status != NF_OK) {
        free(list);
        return status;
    }
    *entries = list;
    *count = r->count;
    r->count = 0; /* the names are the list's now */
    return NF_OK;
}

nf_status nf_st_header_read(const char *file, const char *bytes, size_t n, uint64_t file_size, struct nf_st_notes *notes,
                            struct nf_st_entry **entries, int64_t *count)
{
    char shown[280];
    nf_str_shown(shown, file, strlen(file));
    if (n == 0)
        return nf_fail(NF_EDATA, "%s: ST-004: empty header", shown);
    if (n > NF_ST_HEADER_MAX)
        return nf_fail(NF_EDATA, "%s: ST-003: header of %zu bytes is above the format's limit of %d", shown, n,
                       NF_ST_HEADER_MAX);
    if (file_size < 8 || n > file_size - 8)
        return nf_fail(NF_EDATA, "%s: ST-002: header says %zu bytes, file has %llu bytes", shown, n,
                       (unsigned long long)file_size);
    struct reading r = {.file_size = file_size, .notes = notes};
    nf_status status = nf_st_scan_open(&r.s, shown, bytes, n, &codes);
    if (status == NF_OK)
        status = read_all(&r);
    if (status == NF_OK)
        status = finish(&r, entries, count);
    for (int64_t i = 0; i < r.count; i++)
        free(r.item[i].e.name);
    free(r.item);
    nf_st_scan_close(&r.s);
    return status;
}

nf_status nf_st_header_parse(const char *file, const char *bytes, size_t n, uint64_t file_size, struct nf_st_entry **entries,
                             int64_t *count)
{
    return nf_st_header_read(file, bytes, n, file_size, NULL, entries, count);
}

void nf_st_entries_free(struct nf_st_entry *entries, int64_t count)
{
    for (int64_t i = 0; entries && i < count; i++)
        free(entries[i].name);
    free(entries);
}
