/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the MANIFEST. Nothing of it is trusted, not even behind its checksum: places lie inside their files, pieces tile
 * their tensors without gap or overlap, products do not overflow, counts are held to what is really there before memory is
 * taken.
 */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 2048, LEAST_LINE = 8 /* bytes of the shortest file, tensor or piece line */ };

struct scan {
    const char *file; /* for messages */
    const char *text;
    size_t n, at;
    int64_t line; /* number of the line in buffer */
    char buffer[LINE_MAX_BYTES];
    char *word; /* what is left of it */
};

static NF_COLD nf_status bad(const struct scan *s, const char *what)
{
    return nf_fail(NF_EDATA, "%s: line %lld: %s", s->file, (long long)s->line, what);
}

/* The next line, without its end, with its first word checked and taken. */
static nf_status next(struct scan *s, const char *key)
{
    const char *from = s->text + s->at, *end = s->at < s->n ? memchr(from, '\n', s->n - s->at) : NULL;
    const size_t length = strlen(key);
    s->line++;
    if (!end)
        return nf_fail(NF_EDATA, "%s: line %lld: the file ends where '%s' is expected", s->file, (long long)s->line, key);
    const size_t n = (size_t)(end - from);
    if (n >= sizeof s->buffer)
        return bad(s, "is too long");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)from[i] < ' ' || from[i] == 0x7f)
            return bad(s, "has a control byte");
    memcpy(s->buffer, from, n);
    s->buffer[n] = 0;
    s->at += n + 1;
    if (n <= length || memcmp(s->buffer, key, length) != 0 || s->buffer[length] != ' ')
        return nf_fail(NF_EDATA, "%s: line %lld: '%s' is expected", s->file, (long long)s->line, key);
    s->word = s->buffer + length + 1;
    return NF_OK;
}

/* The next word of the line, which ends in a space or is the last. */
static char *word(struct scan *s)
{
    char *w = s->word, *space = w ? strchr(w, ' ') : NULL;
    if (space)
        *space = 0;
    s->word = space ? space + 1 : NULL;
    return w && *w ? w : NULL;
}

/* Decimal, as we print it: no sign but a minus, no leading zeros. */
static nf_status natural(struct scan *s, uint64_t most, uint64_t *out)
{
    const char *w = word(s);
    uint64_t v = 0;
    if (!w || (w[0] == '0' && w[1]))
        return bad(s, "a number is expected");
    for (; *w; w++) {
        if (*w < '0' || *w > '9' || v > (UINT64_MAX - (uint64_t)(*w - '0')) / 10)
            return bad(s, "a number is expected");
        v = v * 10 + (uint64_t)(*w - '0');
    }
    if (v > most)
        return bad(s, "a number is too large");
    *out = v;
    return NF_OK;
}

static nf_status int63(struct scan *s, int64_t *out)
{
    uint64_t v = 0;
    NF_TRY(natural(s, INT64_MAX, &v));
    *out = (int64_t)v;
    return NF_OK;
}

/* As int63, or -1: none. */
static nf_status int63_or_none(struct scan *s, int64_t *out)
{
    if (s->word && strcmp(s->word, "-1") == 0) {
        s->word = NULL;
        *out = -1;
        return NF_OK;
    }
    return int63(s, out);
}

static nf_status small(struct scan *s, int least, int most, int *out)
{
    uint64_t v = 0;
    NF_TRY(natural(s, (uint64_t)most, &v));
    if ((int)v < least)
        return bad(s, "a number is too small");
    *out = (int)v;
    return NF_OK;
}

static nf_status hex(struct scan *s, size_t digits, uint64_t *out)
{
    const char *w = word(s);
    if (!w || strlen(w) != digits || strspn(w, "0123456789abcdef") != digits)
        return bad(s, "hexadecimal digits are expected");
    *out = strtoull(w, NULL, 16);
    return NF_OK;
}

static nf_status crc(struct scan *s, uint32_t *out)
{
    uint64_t v = 0;
    NF_TRY(hex(s, 8, &v));
    *out = (uint32_t)v;
    return NF_OK;
}

static nf_status real(struct scan *s, double *out)
{
    uint64_t v = 0;
    NF_TRY(hex(s, 16, &v));
    memcpy(out, &v, sizeof v);
    return NF_OK;
}

/* The rest of the line. */
static nf_status rest(struct scan *s, char *out, size_t size)
{
    if (!s->word || !*s->word || strlen(s->word) >= size)
        return bad(s, "a name is missing or too long");
    strcpy(out, s->word);
    s->word = NULL;
    return NF_OK;
}

static nf_status done(const struct scan *s)
{
    return s->word ? bad(s, "has more than is expected") : NF_OK;
}

static nf_status fingerprint(struct scan *s, char out[65])
{
    NF_TRY(rest(s, out, 65));
    if (strcmp(out, "-") == 0)
        out[0] = 0;
    return strspn(out, "0123456789abcdef") == strlen(out) ? NF_OK : bad(s, "a fingerprint is expected");
}

/* ---- parts ------------------------------------------------------------------------------------------------------------ */

#define LINE(key, read)                                                                                                        \
    do {                                                                                                                       \
        NF_TRY(next(s, key));                                                                                                  \
        NF_TRY(read);                                                                                                          \
        NF_TRY(done(s));                                                                                                       \
    } while (0)

static nf_status read_meta(struct scan *s, struct nf_h5_manifest *m)
{
    struct nf_snapshot_meta *a = &m->meta;
    int finished = 0;
    if (next(s, "nemafit-snapshot") != NF_OK) {
        nf_diagnosis_clear();
        return nf_fail(NF_EDATA, "%s: is not the MANIFEST of a snapshot: 'nemafit-snapshot %d' is expected in its first line",
                       s->file, NF_SNAPSHOT_FORMAT);
    }
    NF_TRY(small(s, 1, 1 << 20, &a->format));
    if (a->format != NF_SNAPSHOT_FORMAT)
        return nf_fail(NF_EDATA, "%s: has format %d, this version of the program reads format %d", s->file, a->format,
                       NF_SNAPSHOT_FORMAT);
    NF_TRY(done(s));
    LINE("program", rest(s, a->program, sizeof a->program));
    LINE("run", rest(s, m->run, sizeof m->run));
    LINE("generation", int63(s, &a->generation));
    LINE("step", int63(s, &a->step));
    LINE("row", int63(s, &a->row));
    LINE("updates", int63(s, &a->updates));
    LINE("skipped", int63(s, &a->skipped));
    LINE("best_step", int63_or_none(s, &a->best_step));
    LINE("best_loss", real(s, &a->best_loss));
    LINE("last_loss", real(s, &a->last_loss));
    LINE("train_seed", natural(s, UINT64_MAX, &a->train_seed));
    LINE("data_seed", natural(s, UINT64_MAX, &a->data_seed));
    LINE("csv_bytes", int63_or_none(s, &a->csv_bytes));
    LINE("jsonl_bytes", int63_or_none(s, &a->jsonl_bytes));
    LINE("seconds", real(s, &a->seconds));
    LINE("finished", small(s, 0, 1, &finished));
    a->finished = finished;
    LINE("model", fingerprint(s, a->model));
    LINE("data", fingerprint(s, a->data));
    LINE("ranks", small(s, 1, 1 << 24, &a->ranks));
    LINE("ep", small(s, 1, a->ranks, &a->ep));
    return NF_OK;
}

/* How many lines of a kind follow; never more than there are bytes for. */
static nf_status count(struct scan *s, const char *key, int64_t *n)
{
    LINE(key, int63(s, n));
    return (uint64_t)*n <= (s->n - s->at) / LEAST_LINE ? NF_OK : bad(s, "counts more than follows");
}

static nf_status read_file(struct scan *s, const struct nf_h5_manifest *m, int i, struct nf_h5_file *f)
{
    char name[NF_H5_FILE_NAME_MAX], own[NF_H5_FILE_NAME_MAX];
    NF_TRY(next(s, "file"));
    NF_TRY(natural(s, INT64_MAX, &f->size));
    NF_TRY(crc(s, &f->crc));
    NF_TRY(rest(s, name, sizeof name));
    nf_h5_rank_name(own, i);
    if (i < m->meta.ranks ? strcmp(name, own) != 0 : !nf_h5_file_name_ok(name))
        return bad(s, "is not the name of such a file");
    for (int k = 0; k < i; k++) /* the ranks' files have names of their own: only the few others are compared */
        if ((k >= m->meta.ranks || i >= m->meta.ranks) && strcmp(m->file[k].name, name) == 0)
            return bad(s, "a file is listed twice");
    f->name = strdup(name);
    return f->name ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory", s->file);
}

static nf_status read_files(struct scan *s, struct nf_h5_manifest *m)
{
    int64_t n = 0;
    NF_TRY(count(s, "files", &n));
    if (n < m->meta.ranks || n > m->meta.ranks + 64)
        return bad(s, "is not the number of ranks' files and some others");
    m->file = calloc((size_t)n + 1, sizeof *m->file);
    if (!m->file)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table", s->file);
    for (; m->files < n; m->files++)
        NF_TRY(read_file(s, m, m->files, &m->file[m->files]));
    return NF_OK;
}

static nf_status read_dtype(struct scan *s, nf_dtype *t)
{
    const char *w = word(s);
    for (int i = 0; w && i < NF_DTYPE_COUNT; i++)
        if (strcmp(w, nf_dtype_name((nf_dtype)i)) == 0) {
            *t = (nf_dtype)i;
            return NF_OK;
        }
    return bad(s, "an element type is expected");
}

static nf_status read_tensor(struct scan *s, struct nf_h5_tensor *t)
{
    char name[NF_H5_NAME_MAX];
    int64_t n = 1;
    NF_TRY(next(s, "tensor"));
    const char *field = word(s);
    if (!field || strlen(field) > 32 || strspn(field, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(field))
        return bad(s, "the name of a field is expected");
    t->field = strdup(field);
    NF_TRY(read_dtype(s, &t->dtype));
    NF_TRY(small(s, 1, 3, &t->nd));
    for (int d = 0; d < t->nd; d++) {
        NF_TRY(int63(s, &t->dim[d]));
        if (t->dim[d] == 0 || n > (INT64_MAX / 16) / t->dim[d])
            return bad(s, "a shape is impossible");
        n *= t->dim[d];
    }
    NF_TRY(rest(s, name, sizeof name));
    t->name = strdup(name);
    return t->field && t->name ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory", s->file);
}

static nf_status read_tensors(struct scan *s, struct nf_h5_manifest *m)
{
    int64_t n = 0;
    NF_TRY(count(s, "tensors", &n));
    if (n > 1 << 24)
        return bad(s, "counts too many tensors");
    m->tensor = calloc((size_t)n + 1, sizeof *m->tensor);
    if (!m->tensor)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table", s->file);
    while (m->tensors < n)
        NF_TRY(read_tensor(s, &m->tensor[m->tensors++]));
    return NF_OK;
}

static nf_status read_piece(struct scan *s, const struct nf_h5_manifest *m, struct nf_h5_piece *p)
{
    NF_TRY(next(s, "piece"));
    NF_TRY(small(s, 0, m->tensors - 1, &p->tensor));
    NF_TRY(small(s, 0, m->meta.ranks - 1, &p->file));
    NF_TRY(int63(s, &p->first));
    NF_TRY(int63(s, &p->count));
    NF_TRY(natural(s, INT64_MAX, &p->at));
    NF_TRY(crc(s, &p->crc));
    NF_TRY(done(s));
    const struct nf_h5_tensor *t = &m->tensor[p->tensor];
    const int64_t n = nf_h5_tensor_count(t);
    const uint64_t size = m->file[p->file].size;
    if (p->count == 0 || p->first > n || p->count > n - p->first)
        return bad(s, "a piece reaches beyond its tensor");
    if (p->at > size || (uint64_t)p->count * nf_dtype_size(t->dtype) > size - p->at)
        return bad(s, "a piece reaches beyond its file");
    return NF_OK;
}

/* In order, each where the one before it ends, from the first element of the first tensor to the last of the last. */
static nf_status read_pieces(struct scan *s, struct nf_h5_manifest *m)
{
    int64_t n = 0, at = 0;
    int tensor = 0;
    NF_TRY(count(s, "pieces", &n));
    m->piece = calloc((size_t)n + 1, sizeof *m->piece);
    m->piece_of = calloc((size_t)m->tensors + 1, sizeof *m->piece_of);
    if (!m->piece || !m->piece_of)
        return nf_fail(NF_ENOMEM, "%s: no memory for its table", s->file);
    if (n > 0 && m->tensors == 0)
        return bad(s, "pieces of no tensor");
    for (; m->pieces < n; m->pieces++) {
        struct nf_h5_piece *p = &m->piece[m->pieces];
        NF_TRY(read_piece(s, m, p));
        if (p->tensor != tensor || p->first != at)
            return bad(s, "elements of a tensor are in no piece, or in two");
        at += p->count;
        if (at == nf_h5_tensor_count(&m->tensor[tensor])) {
            m->piece_of[++tensor] = m->pieces + 1;
            at = 0;
        }
    }
    return tensor == m->tensors ? NF_OK : bad(s, "elements of a tensor are in no piece");
}

static nf_status read_all(struct scan *s, struct nf_h5_manifest *m)
{
    NF_TRY(read_meta(s, m));
    NF_TRY(read_files(s, m));
    NF_TRY(read_tensors(s, m));
    NF_TRY(read_pieces(s, m));
    s->line++;
    return s->at == s->n ? NF_OK : bad(s, "nothing more is expected");
}

nf_status nf_h5_manifest_body(const char *file, const char *text, size_t n, struct nf_h5_manifest *m)
{
    struct scan s = {.file = file, .text = text, .n = n};
    struct nf_h5_manifest read = {0};
    const nf_status status = read_all(&s, &read);
    if (status == NF_OK)
        *m = read;
    else
        nf_h5_manifest_free(&read);
    return status;
}

nf_status nf_h5_manifest_parse(const char *file, const char *text, size_t n, struct nf_h5_manifest *m)
{
    static const char mark[] = "nemafit-snapshot ";
    enum { LAST = 7 + 64 + 1 };
    struct nf_sha256 sha;
    char last[LAST + 1], found[65];
    if (n < sizeof mark - 1 || memcmp(text, mark, sizeof mark - 1) != 0 || n < LAST)
        return nf_fail(NF_EDATA, "%s: is not the MANIFEST of a snapshot: it has %zu bytes%s", file, n,
                       n < LAST ? "" : " and begins with something else");
    nf_sha256_start(&sha);
    nf_sha256_add(&sha, text, n - LAST);
    nf_sha256_end(&sha, found);
    snprintf(last, sizeof last, "sha256 %s\n", found);
    if (memcmp(text + n - LAST, last, LAST) != 0)
        return nf_fail(NF_EDATA, "%s: is damaged: its SHA-256 is %s, another one stands in its last line, or none", file,
                       found);
    return nf_h5_manifest_body(file, text, n - LAST, m);
}
